"""`Field`: an entry of a signature's dict as an attribute, which can be set as in Celery."""

from __future__ import annotations

from typing import Any, Generic, TypeVar, overload

__all__ = ["Field"]

T = TypeVar("T")


class Field(Generic[T]):
    """An attribute that is kept under its own name in the dict.

    Example:
        >>> class Sized(dict):
        ...     size = Field()
        >>> sized = Sized(size=3)
        >>> sized.size += 1
        >>> sized
        {'size': 4}
    """

    __slots__ = ("_name",)

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, sig: None, owner: type) -> Field[T]: ...
    @overload
    def __get__(self, sig: Any, owner: type) -> T: ...
    def __get__(self, sig: Any, owner: type) -> Any:
        """The entry; of the class, the field itself."""
        return self if sig is None else sig[self._name]

    def __set__(self, sig: Any, value: T) -> None:
        """Change the entry."""
        sig[self._name] = value
