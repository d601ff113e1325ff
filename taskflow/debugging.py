"""Running a call that was sent once more, here, with what it was given; and a debugger where it raises."""

from __future__ import annotations

import bdb
from collections.abc import Callable, Coroutine
from functools import partial
from types import CoroutineType
from typing import TYPE_CHECKING, Any

from taskflow.codec.failure import message_of, type_name, users_frames
from taskflow.errors import UsageError
from taskflow.ids import NodeId
from taskflow.plan import Replaced
from taskflow.pools import context
from taskflow.pools.outcomes import Reports
from taskflow.pools.packing import Work, packet
from taskflow.pools.slot import Slot
from taskflow.pools.stash import Stash
from taskflow.pools.wire import LANE_BYTES, Lane
from taskflow.ports import Store
from taskflow.records import Call, Lease, LeaseKey, NodeView
from taskflow.shells import shell
from taskflow.states import State
from taskflow.worker.inputs import Inputs

if TYPE_CHECKING:
    from taskflow.codec import Codec

__all__ = ["debug"]


def debug(
    store: Store,
    codec: Codec,
    node: NodeId,
    index: int | None = None,
    fn: Callable[..., Any] | None = None,
    *,
    post_mortem: bool = True,
) -> Any:
    """Run a call, or one item of an array node, in this thread. Nothing is written to the store.

    Args:
        store: Has what the call was given.
        codec: Opens that.
        node: What to run.
        index: Which item of it.
        fn: What to call in place of its function.
        post_mortem: Open a debugger where it raises: that of IPython, or `pdb`.

    Returns:
        What the call gave; what a task wants in its place, when it asks to be replaced.

    Raises:
        UsageError: What it needs is not there.
        Exception: What the call raised, after the debugger was left.
    """
    __tracebackhide__ = True
    lease = _lease(store, node, index or 0)
    try:
        return _run(store, codec, lease, fn)
    except bdb.BdbQuit:
        raise  # somebody has just left a debugger
    except (Exception, SystemExit) as error:
        if post_mortem and (frames := users_frames(error.__traceback__)):
            print(f"{type_name(error)}: {message_of(error)}")
            _open_debugger(frames[0])
        raise


def _open_debugger(trace: Any) -> None:
    here = shell()
    if here is None:
        import pdb

        pdb.post_mortem(trace)
        return
    debugger = here.debugger_cls()
    debugger.reset()
    debugger.interaction(None, trace)


# ── what to run ──────────────────────────────────────────────────────────────────────


def _lease(store: Store, node: NodeId, index: int) -> Lease:
    """What a worker would be given to run this item."""
    run, _ = store.find(node)
    view = next(one for one in store.snapshot(run)[0].nodes if one.id == node)
    call = store.call(node)
    _check(view, call, index)
    key = LeaseKey(node, index, index + 1, 0)
    return Lease(
        key, run, call.fn, call.args, call.array, view.width or 1, call.inputs, call.policy, view.queue,
        view.label, 1, 1, 0.0, view.priority,
    )  # fmt: skip


def _check(view: NodeView, call: Call, index: int) -> None:
    if index >= (view.width or 0):
        raise UsageError(f"{view.label} has no item {index}: there is nothing to run.")
    if call.inputs and view.state is State.BLOCKED:
        raise UsageError(f"{view.label} waits for others still: what it is to be given is not there yet.")
    if call.inputs and view.state is State.SKIPPED:
        first = f" Debug what failed first, {view.root}." if view.root else ""
        raise UsageError(f"{view.label} was skipped: what it needs has no value.{first}")


class _Place(Slot):
    """Where it runs: nobody hears of its outcome, and what it wants to add is left out."""

    def add(self, sig: Any) -> None:
        """Nothing waits for it."""

    def note(self, kind: str, data: Any) -> None:
        """Nobody listens."""

    def say(self, said: Any, meta: Any = None) -> None:
        """Nobody listens."""

    def _fail_rest(self, at: int, entries: list[tuple[Any, ...]], first: int, error: BaseException) -> None:
        raise error

    def _expand(self, at: int, loaded: Any, entry: tuple[Any, ...], args: Any, kwargs: Any) -> None:
        raise UsageError("This call makes the items of a map: debug one of those, or the function by itself.")


def _run(store: Store, codec: Codec, lease: Lease, fn: Callable[..., Any] | None) -> Any:
    __tracebackhide__ = True
    (ready,) = Inputs(store).read([lease])
    lane = Lane(memoryview(bytearray(LANE_BYTES)))
    slot = _Place(codec, lane, Reports(lambda records: None), Stash(), url=store.url)
    before = context.place()
    context.enter(slot)
    try:
        with slot.message(packet(1, [Work.of(ready.lease, ready.inputs, ready.pages)])) as groups:
            ((head, (entry,)),) = groups
            for step in slot.steps(0, head, entry):
                call = step.call
                if fn is not None and isinstance(call, partial):
                    call = partial(fn, *call.args, **call.keywords)
                return _finished(call())
    except Replaced as wanted:
        return wanted.by
    finally:
        context.enter(before)
    raise UsageError(f"What item {lease.key.lo} of {lease.label} was to be given is not stored any more.")


def _finished(result: Any) -> Any:
    __tracebackhide__ = True
    return _awaited(result) if isinstance(result, CoroutineType) else result


def _awaited(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine to its end; the event loop of a notebook, which is in this thread, rests meanwhile."""
    __tracebackhide__ = True
    import asyncio

    outer = asyncio._get_running_loop()
    asyncio._set_running_loop(None)
    loop = asyncio.new_event_loop()
    try:
        return loop.run_until_complete(coroutine)
    finally:
        loop.close()
        asyncio._set_running_loop(outer)
