"""Which client work goes to when none is named: the one thing that rooms below the client know of it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Protocol
from weakref import WeakSet

from taskflow.errors import UsageError

__all__ = [
    "Runner", "client_of", "current_client", "eager_client", "engines", "opened", "promised", "provide",
    "using",
]  # fmt: skip


class Runner(Protocol):
    """What a client offers to canvas, workflow and map-reduce."""

    def submit_canvas(self, sig: Any, /) -> Any:
        """Send a `Signature`; the handle of its result."""
        ...

    def apply_canvas(self, sig: Any, /) -> Any:
        """Run a `Signature` to its end; the handle of its result."""
        ...

    def async_result(self, id: str, /) -> Any:  # noqa: A002 - what the attribute is called
        """The handle of a result by its id."""
        ...

    def submit_workflow(
        self,
        workflow: Any,
        inputs: dict[str, Any],
        /,
        *,
        only: Any = None,
        resume: Any = None,
        memo: Any = None,
    ) -> Any:
        """Send a `Workflow`; the handle of its run."""
        ...

    def run_map_reduce(self, job: Any, /) -> Any:
        """Send a `MapReduceJob` and wait for its `MapReduceRun`."""
        ...


app: Any = None
"""The current application, if there is one: what names no client goes to its store."""

_chosen: ContextVar[Runner | None] = ContextVar("taskflow_client", default=None)
_provider: Callable[[], Runner] | None = None
_eager_provider: Callable[[], Runner] | None = None
_promise: Callable[[Any, str], Any] | None = None
_looked = False


def provide(
    make: Callable[[], Runner] | None,
    eager: Callable[[], Runner] | None = None,
    promise: Callable[[Any, str], Any] | None = None,
) -> None:
    """Say who answers where no client was chosen.

    Args:
        make: Gives the client of the process, for `current_client`; it may create one.
        eager: Gives the one that runs everything in the calling thread, for `eager_client`.
        promise: Makes the handle of a result that was not sent yet, for `promised`.
    """
    global _provider, _eager_provider, _promise
    _provider, _eager_provider, _promise = make, eager or _eager_provider, promise or _promise


@contextmanager
def using(client: Runner) -> Iterator[Runner]:
    """Make `client` the current one inside a ``with`` block, for this thread and its tasks only."""
    token = _chosen.set(client)
    try:
        yield client
    finally:
        _chosen.reset(token)


def current_client() -> Runner:
    """The client that work goes to when none is named.

    Where none was chosen it is that of the current application, if there is one; else that of the process,
    which the first call makes.

    Raises:
        UsageError: There is none, and nobody provides one.
    """
    chosen = _chosen.get()
    if chosen is not None:
        return chosen
    if app is not None:
        return app.client()  # type: ignore[no-any-return]
    if _provider is None:
        _look()
    if _provider is None:
        raise UsageError("There is no client to send this to: create one first, client = taskflow.Client().")
    return _provider()


def client_of(client: Any = None, named: Any = None) -> Any:
    """The client that was named: by itself, or as that of an application; else the current one."""
    if client is not None:
        return client
    return current_client() if named is None or _chosen.get() is not None else named.client()


_engines: WeakSet[Any] = WeakSet()


def opened(engine: Any) -> None:
    """Remember what is open on a store, for `engines`."""
    _engines.add(engine)


def engines(url: str = "") -> list[Any]:
    """What is open in this process, on one store or on any: for handles that come from elsewhere."""
    here = os.getpid()
    known = [engine for engine in _engines if not engine.closed and engine.pid == here]
    return [engine for engine in known if not url or engine.url == url]


def eager_client() -> Runner:
    """The client that runs everything in the calling thread, whatever client was chosen.

    Raises:
        UsageError: Nobody provides one.
    """
    if _eager_provider is None:
        _look()
    if _eager_provider is None:
        raise UsageError("Nothing can be run here at once: import taskflow.client first.")
    return _eager_provider()


def promised(shape: Any, url: str = "") -> Any:
    """The handle of a result of which only the ids are known: it was not sent yet, or by another process.

    Args:
        shape: Where it will be; as a `Shape`, or as its JSON.
        url: The store; by default any that is open in this process.

    Raises:
        UsageError: Nobody provides any.
    """
    if _promise is None:
        _look()
    if _promise is None:
        raise UsageError("Nothing is known of results here: import taskflow.client first.")
    return _promise(shape, url)


def _look() -> None:
    """Load the client, which provides itself."""
    global _looked  # noqa: PLW0603 - one per process, on purpose
    if not _looked:
        import taskflow

        _looked = True
        _ = taskflow.Client
