"""What a task may ask about itself while it runs.

The slot that runs the task answers. Outside a task there is nobody to ask: `current` and `rng` raise, `lend`
and `note` do nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

from taskflow.errors import UsageError
from taskflow.ids import NodeId, RunId

if TYPE_CHECKING:
    import numpy

__all__ = [
    "Place",
    "Request",
    "add_to_chord",
    "current",
    "enter",
    "inside",
    "lend",
    "note",
    "place",
    "replace",
    "rng",
]


@dataclass(frozen=True, slots=True)
class Request:
    """The item that runs here.

    Args:
        id: Its node.
        run: The run the node belongs to.
        index: Which item of the node; 0 for a call.
        attempt: From 1; failures that are retried count.
        delivery: From 1; crashes count too.
        fence: The number of the lease.
        label: What a person reads.
        queue: Where it waited.
        worker: Who runs it, as far as it has a name.
        url: The store it came from.
        width: How many items the node has.
        seed: The seed of the run for this node, when it has one.
    """

    id: NodeId
    run: RunId
    index: int
    attempt: int
    delivery: int
    fence: int
    label: str
    queue: str
    worker: str = ""
    url: str = ""
    width: int = 1
    seed: int | str | None = None

    @property
    def retries(self) -> int:
        """How often it was retried."""
        return self.attempt - 1


class Place(Protocol):
    """Where an item runs."""

    def request(self) -> Request | None:
        """The item that runs, if one does."""
        ...

    def lend(self) -> None:
        """The item only waits from here on."""
        ...

    def resume(self) -> None:
        """It goes on."""
        ...

    def note(self, kind: str, data: Mapping[str, Any]) -> None:
        """Say something of it."""
        ...

    def print(self, data: bytes) -> None:
        """Keep what it printed."""
        ...

    def add(self, sig: Any) -> None:
        """Let what waits for the item wait for this too."""
        ...


_place: ContextVar[Place | None] = ContextVar("taskflow_place", default=None)
_only: Place | None = None


def enter(here: Place | None, *, alone: bool = False) -> None:
    """Say who answers in this context; `alone`: in the whole process, so in threads of the task too."""
    global _only  # noqa: PLW0603 - one per process, on purpose
    _place.set(here)
    if alone:
        _only = here


def place() -> Place | None:
    """Where this code runs, if it is in a pool."""
    return _place.get() or _only


def inside() -> bool:
    """Whether this code runs in a task."""
    here = place()
    return here is not None and here.request() is not None


def current() -> Request:
    """The item that runs here.

    Raises:
        UsageError: This is no task.
    """
    here = place()
    request = here.request() if here is not None else None
    if request is None:
        raise UsageError(
            "There is no current task here: current, rng, replace and add_to_chord work inside a task only."
        )
    return request


def replace(by: Any) -> NoReturn:
    """End this task here, and let something else give its result: a signature, or any canvas.

    The new tasks belong to the same run, and are added in the step in which this one ends. What waits for
    this task waits for them. They have its queue and priority unless they say otherwise, and when one of them
    fails, it is to the run as when this task does (`on_failure`).

    Args:
        by: A `Signature`, or a task; of a group the result is the list.

    Raises:
        UsageError: This is no task.
        GraphError: It cannot run: the task fails with it.
    """
    current()
    from taskflow.pools.growing import Replaced

    raise Replaced(by)


def add_to_chord(sig: Any) -> None:
    """Let what waits for this task wait for a signature too: the body of its chord gets one more result.

    Nothing happens unless this task succeeds. Its results go behind those of the header.

    Raises:
        UsageError: This is no task.
        GraphError: It has no steps, or cannot run.
    """
    current()
    here = place()
    if here is not None:
        here.add(sig)


def rng() -> numpy.random.Generator:
    """A generator of this item alone: seeded by run, node and index.

    The same numbers come however items are grouped, retried or resumed. Each call begins anew.

    Raises:
        UsageError: This is no task.
    """
    from numpy.random import default_rng

    from taskflow.canvas.shape import split_id

    request = current()
    # A call that was an item, and is retried by itself, has the name of the item for a seed.
    named, index = (request.id, None) if request.seed is None else split_id(str(request.seed))
    entropy = int.from_bytes(hashlib.blake2b(named.encode(), digest_size=16).digest(), "big")
    return default_rng([entropy, request.index if index is None else index])


def note(kind: str, data: Mapping[str, Any]) -> None:
    """Tell those who watch something of this item; `data` is small and JSON."""
    here = place()
    if here is not None and here.request() is not None:
        here.note(kind, data)


@contextmanager
def lend() -> Iterator[None]:
    """Wait for other tasks inside a ``with`` block: meanwhile the slot runs something else."""
    here = place()
    if here is None or here.request() is None:
        yield
        return
    here.lend()
    try:
        yield
    finally:
        here.resume()
