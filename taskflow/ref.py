"""`Ref`: a large object that was stored once, to be named in the arguments of many tasks."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

from taskflow.codec import Codec, Kept

__all__ = ["Ref"]

R = TypeVar("R")


class Ref(Kept, Generic[R]):
    """An object that is in the store; see `Client.scatter`.

    Anywhere among the arguments of a task, or among the items of a map, it stands for the object: the
    task is given that, read from the store where it runs. It is kept while a run that names it is, and
    for an hour after it was last used.

    Attributes:
        id: The digest of its content: equal objects have the same.
        nbytes: Bytes it takes in the store.
        type: Name of the object's class.
    """

    __slots__ = ("_codec", "blob", "type")

    def __init__(self, codec: Codec, data: R) -> None:
        kind = type(data)
        self.type = (
            kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
        )
        self.blob = codec.keep(data)
        self._codec = codec

    @property
    def id(self) -> str:
        """The digest of its content: equal objects have the same."""
        return self.blob.name  # type: ignore[no-any-return]

    @property
    def nbytes(self) -> int:
        """Bytes it takes in the store."""
        return self.blob.size  # type: ignore[no-any-return]

    def get(self) -> R:
        """The object, read anew; arrays are mapped, and writing to them changes no one else's.

        Raises:
            ResultExpired: It was removed from the store.
        """
        return self._codec.kept(self.blob)  # type: ignore[no-any-return]

    def __reduce__(self) -> Any:
        raise TypeError("a Ref travels only as an argument of a task; elsewhere take what its get() gives")

    def __repr__(self) -> str:
        return f"<Ref {self.type} {self.nbytes:,} bytes {self.id[:8]}>"
