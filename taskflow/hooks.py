"""Which client work goes to when none is named: the one thing that rooms below the client know of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Protocol

from taskflow.errors import UsageError

__all__ = ["Runner", "current_client", "provide", "using"]


class Runner(Protocol):
    """What a client offers to canvas, workflow and map-reduce."""

    def submit_canvas(self, sig: Any, /) -> Any:
        """Send a `Signature`; the handle of its result."""
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
_looked = False


def provide(make: Callable[[], Runner] | None) -> None:
    """Say who answers `current_client` where no client was chosen: a function that may create one."""
    global _provider  # noqa: PLW0603 - one per process, on purpose
    _provider = make


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
    global _looked  # noqa: PLW0603 - one per process, on purpose
    chosen = _chosen.get()
    if chosen is not None:
        return chosen
    if _provider is None and not _looked:
        import taskflow

        _looked = True
        _ = taskflow.Client  # Naming it loads it, and it provides itself.
    if _provider is None:
        raise UsageError("There is no client to send this to: create one first, client = taskflow.Client().")
    return _provider()
