"""What failed in a run, grouped by why: three thousand failures of one cause are one line."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from taskflow.ports import WatchPort
from taskflow.records import Failure, ItemView, NodeView
from taskflow.states import FAILURES

__all__ = ["Reason", "failures_of", "reasons"]

GROUPS_MOST, ITEMS_MOST = 10, 5
_MESSAGE_CHARS, _TRACE_CHARS, _NAME_CHARS = 500, 2_500, 120
_VARIES = re.compile(r"0x[0-9a-fA-F]+|\d+|'[^']*'|\"[^\"]*\"")


@dataclass
class Reason:
    """Failures with one cause.

    Attributes:
        type, message, traceback: Of the first of them.
        count: How many there are.
        items: Some of them: label of the node, and index.
    """

    type: str
    message: str
    traceback: str
    count: int = 0
    items: list[tuple[str, int]] = field(default_factory=list)

    def to_json(self, *, trace_chars: int = _TRACE_CHARS, chars: int = _MESSAGE_CHARS) -> dict[str, Any]:
        """As it is drawn: the end of the traceback, the beginning of all else."""
        name_chars = min(chars, _NAME_CHARS)
        return {
            "type": self.type[:name_chars],
            "message": self.message[:chars],
            "count": self.count,
            "traceback": _end_of(self.traceback, trace_chars),
            "items": [[label[:name_chars], index] for label, index in self.items],
        }


def reasons(store: WatchPort, nodes: Iterable[NodeView], *, most: int = GROUPS_MOST) -> list[Reason]:
    """Why items of some nodes failed, the most frequent first.

    Failures have one cause when the same class was raised in the same line, and what it said differs only in
    numbers and in what is quoted.
    """
    found: dict[tuple[str, str, str], Reason] = {}
    for node, item in failures_of(store, nodes):
        failure = Failure.from_json(item.error) if item.error else Failure(item.state)
        kind = failure.type or str(item.state)
        key = kind, _VARIES.sub("…", failure.message[:_MESSAGE_CHARS]), _place(failure.traceback)
        reason = found.setdefault(key, Reason(kind, failure.message, failure.traceback))
        reason.count += item.hi - item.lo
        room = ITEMS_MOST - len(reason.items)
        reason.items += [(node.label, index) for index in range(item.lo, min(item.hi, item.lo + room))]
    return sorted(found.values(), key=lambda reason: -reason.count)[:most]


def failures_of(store: WatchPort, nodes: Iterable[NodeView]) -> Iterator[tuple[NodeView, ItemView]]:
    """The items of some nodes that failed."""
    for node in nodes:
        if node.state in FAILURES or any(node.counts.get(state) for state in FAILURES):
            for item in store.items(node.id):
                if item.state in FAILURES:
                    yield node, item


def _place(traceback: str) -> str:
    """The line in which it was raised."""
    return next((line for line in reversed(traceback.splitlines()) if line.startswith('  File "')), "")


def _end_of(text: str, room: int) -> str:
    return text if len(text) <= room else "…" + text[-room:]
