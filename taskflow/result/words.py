"""Celery's words for the states."""

from __future__ import annotations

from taskflow.records import Failure, ItemView, NodeView, Said
from taskflow.states import State

__all__ = ["READY", "UNREADY", "WORDS", "said_of", "word"]

WORDS = {
    State.BLOCKED: "PENDING",
    State.QUEUED: "PENDING",
    State.WAITING: "PENDING",
    State.RUNNING: "STARTED",
    State.SUCCEEDED: "SUCCESS",
    State.FAILED: "FAILURE",
    State.DEAD: "FAILURE",
    State.SKIPPED: "FAILURE",
    State.CANCELLED: "REVOKED",
    State.EXPIRED: "REVOKED",
}
"""What Celery calls the states; an item that waits for its next attempt is ``RETRY``."""

UNREADY = ("PENDING", "STARTED", "RETRY")
"""Words for what has not ended."""

_BY_WISH = {"Skip": "IGNORED", "Reject": "REJECTED"}
"""Words for what ended as the task itself wanted it."""

READY = frozenset({*WORDS.values(), *_BY_WISH.values()}.difference(UNREADY))
"""Words for what has ended."""


def word(view: ItemView | NodeView) -> str:
    """Celery's word for the state of an item, or of a call."""
    if view.state is State.WAITING and view.attempts:
        return "RETRY"
    if view.state in (State.SKIPPED, State.DEAD) and view.error:
        return _BY_WISH.get(Failure.from_json(view.error).type, "FAILURE")
    return WORDS[view.state]


def said_of(item: ItemView | None) -> Said | None:
    """What a running item has said of its state, in a word of its own."""
    return item.said.get("state") if item is not None and item.state is State.RUNNING else None
