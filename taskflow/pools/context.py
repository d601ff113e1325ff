"""What a task may ask about itself while it runs, and say of itself.

The slot that runs the task answers. Outside a task there is nobody to ask: `current` and `rng` raise, `lend`
and `note` do nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from math import isfinite
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
    "lend_once",
    "note",
    "place",
    "replace",
    "report_state",
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
        age_s: Seconds since it was submitted, as it was handed out.
        array: It is an item of a map or of a group, not a call of its own.
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
    age_s: float = 0.0
    array: bool = False

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

    def say(self, said: Mapping[str, Mapping[str, Any]], meta: Any = None) -> None:
        """Have the last that it says of each kind known, name by name; `meta` is the value of its state,
        which only clients open."""
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
    here = _place.get() or _only
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
            "There is no current task here: current, rng, replace, add_to_chord work inside a task only."
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


def report_state(state: str, meta: Any = None, task_id: str | None = None) -> None:
    """Say where this task stands, in a word of its own; ``AsyncResult.state`` and ``.info`` tell it.

    It is shown while the task runs; how it ends is told in the store's own words. Who watches is told within
    a fifth of a second. A task may say it as often as it likes: it is passed on ten times a second, the last
    always. Of a `meta` with ``current`` and ``total`` (or ``done``) a bar is drawn. Outside of a task nobody
    listens.

    Args:
        state: The word, such as ``"PROGRESS"``.
        meta: Any value, up to 256 KiB; only clients open it.
        task_id: Of this task, or `None`: no other can be spoken for.

    Raises:
        UsageError: `task_id` is that of another task.
        CannotPickle: `meta` cannot travel, or is too large.
    """
    here = place()
    request = here.request() if here is not None else None
    if here is None or request is None:
        return
    if task_id not in (None, request.id, f"{request.id}[{request.index}]"):
        raise UsageError(
            f"Task {request.id} cannot say where task {task_id} stands: each task speaks for itself."
        )
    bar = _bar(meta)
    here.say({"state": {"state": str(state)}} | ({"progress": bar} if bar else {}), meta)


def _bar(meta: Any) -> dict[str, Any] | None:
    """How far it is, if that is what a `meta` tells."""
    if not isinstance(meta, Mapping):
        return None
    done, total = meta.get("current", meta.get("done")), meta.get("total")
    numbers = all(isinstance(n, (int, float)) and isfinite(n) for n in (done, total))
    return {"done": done, "total": total} if numbers else None


def lend() -> AbstractContextManager[None]:
    """Wait for other tasks inside a ``with`` block: meanwhile the slot runs something else."""
    here = place()
    return _NO_SLOT if here is None or here.request() is None else _lent(here)


_NO_SLOT = nullcontext()


@contextmanager
def _lent(here: Place) -> Iterator[None]:
    here.lend()
    try:
        yield
    finally:
        here.resume()


_awaits: dict[Place, int] = {}


@contextmanager
def lend_once() -> Iterator[None]:
    """The same for waits of an event loop, of which many go on at once: they lend the one slot together."""
    here = place()
    if here is None or here.request() is None:
        yield
        return
    if not _awaits.get(here):
        here.lend()
    _awaits[here] = _awaits.get(here, 0) + 1
    try:
        yield
    finally:
        _awaits[here] -= 1
        if not _awaits[here]:
            del _awaits[here]
            here.resume()
