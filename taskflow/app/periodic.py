"""The schedules of an application: those of its settings, and those that its code has added."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from taskflow.app.registry import elsewhere
from taskflow.beat import Wanted, entries_from
from taskflow.canvas import Signature, maybe_signature, registry
from taskflow.schedules import zone_name

if TYPE_CHECKING:
    from taskflow.app.application import Taskflow

__all__ = ["entry", "wanted"]

_BEHAVIOUR = ("tz", "enabled", "start", "end", "missed", "jitter", "overlap", "relative")


def entry(
    schedule: Any,
    sig: Signature,
    args: Iterable[Any],
    kwargs: Mapping[str, Any] | None,
    name: str | None,
    options: Mapping[str, Any],
) -> tuple[str, dict[str, Any]]:
    """The name and the entry, as in ``beat_schedule``, of what `add_periodic_task` is given."""
    more = {word: value for word, value in options.items() if word in _BEHAVIOUR}
    own = {word: value for word, value in options.items() if word not in _BEHAVIOUR}
    made = maybe_signature(sig).clone(tuple(args), kwargs, **own)
    return name or repr(made), {"task": made, "schedule": schedule, **more}


def wanted(app: Taskflow, added: Mapping[str, Mapping[str, Any]]) -> dict[str, Wanted]:
    """The schedules of an application, each with the queue that its routes say.

    Raises:
        ConfigError: An entry is impossible.
    """
    zone = zone_name(app.timezone)
    found = entries_from({**(app.conf.beat_schedule or {}), **added}, zone)
    return {name: _routed(app, one) for name, one in found.items()}


def _routed(app: Taskflow, one: Wanted) -> Wanted:
    sig = maybe_signature(one.task)
    if sig.subtask_type is not None or not isinstance(sig.task, str):
        return one
    args, kwargs = (*one.args, *sig.args), {**sig.kwargs, **one.kwargs}
    options = {**sig.options, **one.options}
    options = {**app.router.of(sig.task, args, kwargs, options), **options}
    if sig.task in registry.tasks:
        return replace(one, options=options)
    return replace(one, task=elsewhere(sig.task), args=args, kwargs=kwargs, options=options)
