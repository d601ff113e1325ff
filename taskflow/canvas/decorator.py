"""The `task` decorator: a function that can be called here, or sent."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Generic, ParamSpec, TypeVar, overload

from taskflow.canvas.registry import tasks
from taskflow.canvas.serial import chunks, xmap, xstarmap
from taskflow.canvas.sheet import node_options
from taskflow.canvas.signatures import Signature
from taskflow.policy import Options

__all__ = ["Task", "task"]

P = ParamSpec("P")
R = TypeVar("R")


class Task(Generic[P, R]):
    """A function with a name under which signatures find it; calling it calls the function.

    Args:
        fn: The function.
        name: Its name; module and qualified name by default. The newest definition of a name counts.
        options: How its calls are treated unless a signature says otherwise.

    Raises:
        ConfigError: There is no such option (the nearest is named).
    """

    __qualname__: str

    def __init__(self, fn: Callable[P, R], *, name: str | None = None, **options: Any) -> None:
        inner: Any = fn
        while isinstance(inner, functools.partial):
            inner = inner.func
        functools.update_wrapper(self, inner)
        node_options(options, Options())
        self.func = fn
        self.options = options
        self.name = name or f"{inner.__module__}.{getattr(inner, '__qualname__', type(inner).__qualname__)}"
        self._named = name is not None or "<" not in self.name
        if self._named:
            tasks[self.name] = self

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function here and now."""
        return self.func(*args, **kwargs)

    @property
    def handle(self) -> Any:
        """What a signature keeps: the name; of a function made in another one, the task itself."""
        return self.name if self._named else self

    @property
    def target(self) -> Callable[..., Any]:
        """What is sent: the task where a worker can import it, else the bare function."""
        return self if self._is_importable() else self.func

    def s(self, *args: Any, **kwargs: Any) -> Signature:
        """A signature with these arguments."""
        return Signature(self, args, kwargs)

    def si(self, *args: Any, **kwargs: Any) -> Signature:
        """An immutable signature: in a chain, the result before it is left out."""
        return Signature(self, args, kwargs, immutable=True)

    def signature(
        self, args: Iterable[Any] = (), kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> Signature:
        """A signature with these arguments and options."""
        immutable = options.pop("immutable", False)
        return Signature(self, args, kwargs, options, immutable=immutable)

    subtask = signature

    def apply_async(
        self,
        args: Iterable[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        *,
        client: Any = None,
        **options: Any,
    ) -> Any:
        """Send a call; what the client gives for it."""
        return Signature(self, args, kwargs).set(**options).apply_async(client=client)

    def delay(self, *args: P.args, **kwargs: P.kwargs) -> Any:
        """Send a call with these arguments."""
        return Signature(self, args, kwargs).apply_async()

    def apply(
        self,
        args: Iterable[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        *,
        throw: bool = False,
        **options: Any,
    ) -> Any:
        """Run a call in this thread, by the engine that runs it elsewhere; see `Signature.apply`."""
        return Signature(self, args, kwargs).apply(throw=throw, **options)

    def map(self, it: Iterable[Any]) -> xmap:
        """One task that makes a call with each item in turn; `Client.map` is the one that is parallel."""
        return xmap(self, it)

    def starmap(self, it: Iterable[Any]) -> xstarmap:
        """One task that makes a call with each tuple of arguments in turn."""
        return xstarmap(self, it)

    def chunks(self, it: Iterable[Any], n: int) -> chunks:
        """A group of tasks that make `n` of these calls each."""
        return chunks(self, it, n)

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        """In a class body, the decorated function is a method."""
        return self if instance is None else functools.partial(self, instance)

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.__qualname__ if self._is_importable() else super().__reduce_ex__(protocol)

    def __fingerprint__(self) -> Callable[P, R]:
        """For what is remembered it is its function; see `taskflow.codec.fingerprint`."""
        return self.func

    def __setstate__(self, state: dict[str, Any]) -> None:
        # It came from another process, by value: there too, signatures find it by its name.
        self.__dict__.update(state)
        if self._named:
            tasks[self.name] = self

    def __repr__(self) -> str:
        return f"<task {self.name}>"

    def _is_importable(self) -> bool:
        if self.__module__ == "__main__":
            return False
        found: Any = sys.modules.get(self.__module__)
        for part in self.__qualname__.split("."):
            found = getattr(found, part, None)
        return found is self


@overload
def task(fn: Callable[P, R], /) -> Task[P, R]: ...
@overload
def task(*, name: str | None = None, **options: Any) -> Callable[[Callable[P, R]], Task[P, R]]: ...
def task(fn: Callable[..., Any] | None = None, /, *, name: str | None = None, **options: Any) -> Any:
    """Decorate a function so that it can be sent: ``@task`` or ``@task(retry=3, queue="gpu")``.

    Example:
        >>> @task
        ... def add(x, y):
        ...     return x + y
        >>> add(2, 2), (add.s(2) | add.s(3))
        (4, taskflow.canvas.decorator.add(2) | taskflow.canvas.decorator.add(3))
    """
    if fn is None:
        return lambda fn: Task(fn, name=name, **options)
    return Task(fn, name=name, **options)
