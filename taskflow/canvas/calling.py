"""The options of a call in Celery's words: what they are here, and what of them travels with the call."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

__all__ = ["DIFFERENT", "HEADERS", "OF_MESSAGES", "ours", "told_of"]

HEADERS = "**headers"
"""The keyword under which a call takes along what is said of it; no function of Python's can have it."""

OF_MESSAGES = (
    *("routing_key", "exchange", "exchange_type", "delivery_mode", "mandatory", "immediate", "reply_to"),
    *("correlation_id", "serializer", "compression", "retry_policy", "connection", "producer", "publisher"),
    *("add_to_parent", "root_id", "parent_id", "argsrepr", "kwargsrepr", "headers", "stamps", "told"),
    *("stamped_headers", "replaced_task_nesting"),
)
"""What Celery says of a message. None is sent here: what is said goes into the store."""

DIFFERENT = frozenset({"retry", "queue", "eta", "expires"})
"""Options whose values may be Celery's."""


def ours(changes: Mapping[str, Any]) -> dict[str, Any]:
    """Options of a call, with values as `Options` takes them.

    ``retry=True`` is about sending again in Celery, and is left out: that is done in any case. An instant
    without a time zone is in UTC, and text an ISO 8601 instant. A queue may be an object with a name.
    """
    made = dict(changes)
    if isinstance(made.get("retry"), bool):
        del made["retry"]
    for name in ("eta", "expires"):
        if name in made:
            made[name] = _instant(made[name])
    queue = made.get("queue")
    if queue is None:
        made.pop("queue", None)
    elif not isinstance(queue, str):
        made["queue"] = str(getattr(queue, "name", queue))
    return made


def told_of(options: Mapping[str, Any]) -> dict[str, Any]:
    """What travels with a call, for the task to ask for: only what was said."""
    told = dict(options.get("told") or {})
    told |= {name: options[name] for name in _TOLD if options.get(name)}
    for name in ("eta", "expires"):
        at = _instant(options.get(name))
        if isinstance(at, datetime):
            told[name] = at.isoformat()
    return told


_TOLD = (
    "headers",
    "stamps",
    "priority",
    "time_limit",
    "soft_time_limit",
    "replaced_task_nesting",
    "ignore_result",
)


def _instant(value: Any) -> Any:
    if isinstance(value, str):
        value = datetime.fromisoformat(value)
    if isinstance(value, datetime) and value.tzinfo is None:
        return value.replace(tzinfo=UTC)
    return value
