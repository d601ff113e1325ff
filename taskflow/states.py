"""The states of a node and of an item, and the moves between them.

::

    blocked ─┬─► queued ◄──► waiting          blocked   needs predecessors
             │     │  ▲         │             waiting   needs a time (delay, backoff)
             │     ▼  │         │             queued    may be claimed
             │   running ───────┤             running   held under a lease
             │     │            │
             └─────┴────────────┴──► succeeded · failed · cancelled · expired · skipped · dead
"""

from __future__ import annotations

from enum import StrEnum

__all__ = [
    "EXCEPTION_STATES",
    "FAILURE",
    "FAILURES",
    "IGNORED",
    "LIVE",
    "MOVES",
    "PENDING",
    "PROPAGATE_STATES",
    "READY_STATES",
    "RECEIVED",
    "REJECTED",
    "RETRY",
    "REVOKED",
    "STARTED",
    "SUCCESS",
    "TERMINAL",
    "UNREADY_STATES",
    "State",
]


class State(StrEnum):
    """Where a node or an item stands; the values are the words shown everywhere."""

    BLOCKED = "blocked"
    WAITING = "waiting"
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    SKIPPED = "skipped"
    DEAD = "dead"


_S = State
TERMINAL = frozenset({_S.SUCCEEDED, _S.FAILED, _S.CANCELLED, _S.EXPIRED, _S.SKIPPED, _S.DEAD})
LIVE = frozenset(State) - TERMINAL
FAILURES = frozenset({_S.FAILED, _S.DEAD, _S.EXPIRED})

MOVES: dict[State, frozenset[State]] = {
    _S.BLOCKED: frozenset(
        {_S.QUEUED, _S.WAITING, _S.SUCCEEDED, _S.FAILED, _S.SKIPPED, _S.CANCELLED, _S.EXPIRED}
    ),
    _S.WAITING: frozenset({_S.QUEUED, _S.CANCELLED, _S.EXPIRED}),
    _S.QUEUED: frozenset({_S.RUNNING, _S.WAITING, _S.CANCELLED, _S.EXPIRED}) | TERMINAL,
    _S.RUNNING: frozenset({_S.QUEUED, _S.WAITING, _S.BLOCKED}) | TERMINAL,
} | {state: frozenset() for state in TERMINAL}
"""Legal moves. A queued node may end at once: a late settle by the newest fence is accepted,
and an array node stays queued until its last item ends. `running → blocked` is a replacement."""

# ── Celery's words, as `AsyncResult.state` says them ─────────────────────────────────

PENDING, RECEIVED, STARTED, RETRY = "PENDING", "RECEIVED", "STARTED", "RETRY"
SUCCESS, FAILURE, REVOKED, IGNORED, REJECTED = "SUCCESS", "FAILURE", "REVOKED", "IGNORED", "REJECTED"
UNREADY_STATES = frozenset({PENDING, RECEIVED, STARTED, RETRY})
READY_STATES = frozenset({SUCCESS, FAILURE, REVOKED, IGNORED, REJECTED})
"""Those in which `AsyncResult.ready` is true: here also what a task itself ended."""
EXCEPTION_STATES = frozenset({RETRY, FAILURE, REVOKED})
PROPAGATE_STATES = frozenset({FAILURE, REVOKED})
