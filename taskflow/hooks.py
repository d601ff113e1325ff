"""Which client work goes to when none is named: the one thing that rooms below the client know of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Protocol

from taskflow.errors import UsageError

__all__ = ["Runner", "client_of", "current_client", "eager_client", "provide", "using"]


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


_chosen: ContextVar[Runner | None] = ContextVar("taskflow_client", default=None)
_provider: Callable[[], Runner] | None = None
_eager_provider: Callable[[], Runner] | None = None
_looked = False


def provide(make: Callable[[], Runner] | None, eager: Callable[[], Runner] | None = None) -> None:
    """Say who answers where no client was chosen.

    Args:
        make: Gives the client of the process, for `current_client`; it may create one.
        eager: Gives the one that runs everything in the calling thread, for `eager_client`.
    """
    global _provider, _eager_provider
    _provider, _eager_provider = make, eager or _eager_provider


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

    Where none was chosen it is that of the process: the first call makes it.

    Raises:
        UsageError: There is none, and nobody provides one.
    """
    chosen = _chosen.get()
    if chosen is not None:
        return chosen
    if _provider is None:
        _look()
    if _provider is None:
        raise UsageError("There is no client to send this to: create one first, client = taskflow.Client().")
    return _provider()


def client_of(client: Any = None, app: Any = None) -> Any:
    """The client that was named: by itself, or as that of an app; else the current one."""
    if client is not None:
        return client
    return current_client() if app is None else app.client()


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


def _look() -> None:
    """Load the client, which provides itself."""
    global _looked  # noqa: PLW0603 - one per process, on purpose
    if not _looked:
        import taskflow

        _looked = True
        _ = taskflow.Client
