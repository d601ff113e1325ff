"""What failed once more, with an edited function: a new run that is given what had gone well.

A rerun keeps the function of the old run. This is a new plan of one node: its items and arguments are those
of the old one, sealed anew for the function that takes the place of its own; nothing of them is opened.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from taskflow.codec import Codec
from taskflow.codec.fingerprint import fingerprint
from taskflow.errors import UsageError
from taskflow.ids import NodeId, RunId, new_id
from taskflow.plan import Filled
from taskflow.ports import Store
from taskflow.records import Given, Node, NodeView, Page, Plan, RunView, Segment
from taskflow.states import TERMINAL, State

__all__ = ["mended"]

_OF_THE_OLD = ("cached", "rerun_of")


def mended(store: Store, codec: Codec, run: RunId, node: NodeId, fn: Callable[..., Any]) -> Plan | None:
    """A call or map again, with another function for what has no value; it is given the results it has.

    Items draw the random numbers that they drew before, and the retry rules are those of the old run.

    Returns:
        A plan of one node; `None` when nothing failed.

    Raises:
        UsageError: It has not ended, or is a step of a larger graph.
        NoSuchRun: It was forgotten; ResultExpired: a part of it was.
    """
    view = store.snapshot(run)[0]
    old = next(one for one in view.nodes if one.id == node)
    if old.state is State.SUCCEEDED:
        return None
    if old.state not in TERMINAL or old.width is None:
        raise UsageError(f"{old.label} has not ended: wait for it, or cancel it, and retry then.")
    if {one.id for one in view.nodes} - {node, *(edge.parent for edge in old.parents)}:
        raise UsageError(
            f"{old.label} is a step of a larger run, where others follow: send that again, with the edited"
            " function; memo=True keeps the results of the steps that did not change."
        )
    return _plan(store, codec, view, old, fn)


def _plan(store: Store, codec: Codec, view: RunView, old: NodeView, fn: Callable[..., Any]) -> Plan:
    call, loaded = store.call(old.id), codec.load_function(old.fn)
    new = Filled(fn) if isinstance(loaded.fn, Filled) else fn
    digest = codec.function(new, retry=loaded.retry, breaker=loaded.breaker)
    name, width = NodeId(new_id()), old.width or 0
    found = store.pages(old.id, 0, width) if old.array else []
    pages = [Page(lo, hi, codec.items_for(digest, old.fn, lo, items)) for lo, hi, items in found]
    segments = store.values([old.id])[old.id] if old.array else []
    node = Node(
        name,
        digest,
        codec.args_for(digest, old.fn, call.args),
        call.inputs,
        width,
        old.array,
        tuple(pages),
        old.queue,
        old.priority,
        call.policy if call.policy.seed is not None else replace(call.policy, seed=old.id),
        label=old.label,
        given=tuple(_given(codec, name, segments)),
    )
    run = RunId(new_id()) if old.array else RunId(name)
    return Plan(run, (node,), view.name, _meta(view.meta, loaded.fn, fn))


def _given(codec: Codec, node: NodeId, segments: list[Segment]) -> Iterator[Given]:
    for segment in segments:
        if segment.state is State.SUCCEEDED:
            lo, hi = segment.lo, segment.hi
            if segment.single:  # a call took the place of this item
                yield Given(lo, hi, codec.dump_result(node, lo, hi, 0, codec.load_segment(segment)))
            else:
                yield Given(lo, hi, codec.result_for(node, lo, hi, segment))


def _meta(old: Mapping[str, Any], before: Any, fn: Callable[..., Any]) -> dict[str, Any]:
    """What the new run says of itself; it is remembered as the old one, under its own function."""
    meta = {name: value for name, value in old.items() if name not in _OF_THE_OLD}
    if "memo" in meta:
        if fingerprint(before, by_name=True) == fingerprint(fn, by_name=True):
            meta["memo"] = {**meta["memo"], "fn": fingerprint(fn), "edited": True}
        else:
            del meta["memo"]
    return meta
