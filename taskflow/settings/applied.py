"""What settings make of calls and of workers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, tzinfo
from typing import Any

from taskflow.errors import ConfigError
from taskflow.limits import RateLimit
from taskflow.policy import Options
from taskflow.settings.named import named
from taskflow.settings.of_workers import POOLS
from taskflow.settings.routing import queues
from taskflow.settings.values import Settings

__all__ = [
    "max_deliveries",
    "task_attributes",
    "task_defaults",
    "time_zone",
    "worker_defaults",
    "worker_flags",
]

_START_WAIT_S = 60.0
_NEVER_DAYS = 36_500.0
_OF_WORKERS = {
    "worker_autoscale": "autoscale",
    "worker_grace": "grace",
    "worker_strict_queues": "strict",
    "worker_idle_exit": "idle_exit",
    "worker_lease": "lease",
    "worker_keep_gb": "keep_gb",
    "worker_threads": "threads",
    "worker_preload": "preload",
    "worker_wait_for_store": "wait_for_store",
    "worker_accept": "accept",
    "worker_allow": "allow",
    "worker_max_tasks_per_child": "recycle_calls",
}


def task_defaults(conf: Settings) -> dict[str, Any]:
    """The options of every call of an app, where nothing nearer says otherwise.

    Returns:
        Values for `Options`, only those that settings speak of. The budget of deliveries is for a call
        without retries: `max_deliveries` gives that of others.

    Raises:
        ConfigError: They do not go together, such as a soft time limit that is not the shorter one.

    Example:
        >>> task_defaults(Settings({"task_time_limit": 60, "task_default_queue": "web"}, discover=False))
        {'queue': 'web', 'time_limit': 60.0, 'max_pending': 100000, 'when_full': 'wait'}
    """
    rate = None if conf.worker_disable_rate_limits else conf.task_default_rate_limit
    if rate is not None and conf.compat == "celery" and not isinstance(rate, RateLimit):
        rate = RateLimit(rate, per_worker=True)
    said = {
        "queue": conf.task_default_queue,
        "priority": conf.task_default_priority,
        "time_limit": conf.task_time_limit,
        "soft_time_limit": conf.task_soft_time_limit,
        "memory_limit": conf.task_memory_limit,
        "ignore_result": conf.task_ignore_result or None,
        "rate_limit": rate,
        "max_deliveries": max_deliveries(conf),
    }
    known = {name: value for name, value in said.items() if value is not None}
    known |= {"max_pending": conf.task_max_pending, "when_full": conf.task_when_full}
    Options(**known)
    return known


def max_deliveries(
    conf: Settings,
    retries: int = 0,
    *,
    acks_late: bool | None = None,
    reject_on_worker_lost: bool | None = None,
) -> int | None:
    """How often a call may be handed out; `None` leaves it at three more than its retries.

    Args:
        conf: The settings of the app.
        retries: How often the call may be retried.
        acks_late: What the task says; the setting when it says nothing.
        reject_on_worker_lost: The same.

    Example:
        >>> max_deliveries(Settings(discover=False)), max_deliveries(Settings(compat="celery"), retries=3)
        (None, 4)
    """
    if conf.task_max_deliveries:
        return int(conf.task_max_deliveries)
    late = conf.task_acks_late if acks_late is None else acks_late
    again = conf.task_reject_on_worker_lost if reject_on_worker_lost is None else reject_on_worker_lost
    return None if late and again is not False else retries + 1


def task_attributes(conf: Settings, task: Any) -> dict[str, Any]:
    """The attributes that `task_annotations` gives a task; what names it comes before ``"*"``.

    Args:
        conf: The settings of the app.
        task: A task, or its name.

    Raises:
        ConfigError: A value of `task_annotations` is neither a dictionary nor has `annotate`; or an attribute
            begins with ``@``.

    Example:
        >>> conf = Settings({"task_annotations": {"*": {"rate_limit": "10/s"}}}, discover=False)
        >>> task_attributes(conf, "shop.add")
        {'rate_limit': '10/s'}
    """
    given = conf.task_annotations
    if not given:
        return {}
    listed = [named(one) for one in (given if isinstance(given, (list, tuple)) else [given])]
    attributes = next((found for one in listed if (found := _of_any(one))), {})
    attributes |= next((found for one in listed if (found := _of_task(one, task))), {})
    for name in attributes:
        if name.startswith("@"):
            raise ConfigError(
                f"task_annotations sets {name}, and nothing is wrapped around a task here: use a base class."
            )
    return attributes


def _of_any(one: Any) -> dict[str, Any]:
    if isinstance(one, Mapping):
        return dict(one.get("*") or {})
    return dict(one.annotate_any() or {}) if hasattr(one, "annotate_any") else {}


def _of_task(one: Any, task: Any) -> dict[str, Any]:
    if isinstance(one, Mapping):
        return dict(one.get(getattr(task, "name", task)) or {})
    if not hasattr(one, "annotate"):
        raise ConfigError(f"task_annotations={one!r} is not possible: use a dictionary by names of tasks.")
    return dict(one.annotate(task) or {})


def time_zone(conf: Settings) -> tzinfo:
    """The zone in which the times of schedules are meant.

    Example:
        >>> str(time_zone(Settings({"timezone": "Asia/Tokyo"}, discover=False)))
        'Asia/Tokyo'
    """
    from zoneinfo import ZoneInfo

    zone = conf.timezone
    if zone is None:
        return UTC if conf.enable_utc else _local()
    return ZoneInfo(zone) if isinstance(zone, str) else zone


def _local() -> tzinfo:
    """That of this machine, with its changes in summer where they are known."""
    import os
    from pathlib import Path
    from zoneinfo import ZoneInfo

    name = (
        os.environ.get("TZ", "").lstrip(":")
        or str(Path("/etc/localtime").resolve()).partition("zoneinfo/")[2]
    )
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        return datetime.now().astimezone().tzinfo or UTC


def worker_defaults(conf: Settings) -> dict[str, Any]:
    """What a worker of the app is started with unless it is told otherwise.

    Returns:
        Values by the names of the flags of ``taskflow worker``, with ``_`` for ``-``; only those that
        settings speak of.

    Example:
        >>> worker_defaults(Settings({"worker_concurrency": 4, "worker_pool": "threads"}, discover=False))
        {'queues': ('default',), 'slots': 4, 'pool': 'thread'}
    """
    found: dict[str, Any] = {"queues": queues(conf)}
    pool = conf.worker_pool
    if "worker_concurrency" in conf and conf.worker_concurrency is not None:
        found["slots"] = conf.worker_concurrency
    if "worker_pool" in conf:
        found["pool"] = POOLS.get(pool, pool)
        found |= {"slots": 1} if pool == "solo" else {}
    if conf.worker_max_memory_per_child:
        found["recycle_mb"] = math.ceil(conf.worker_max_memory_per_child / 1024)
    if _differs(conf, "result_expires"):
        found["keep_days"] = conf.result_expires / 86_400 if conf.result_expires else _NEVER_DAYS
    if conf.worker_soft_shutdown_timeout:
        found["soft_shutdown"] = conf.worker_soft_shutdown_timeout
    if conf.broker_connection_retry_on_startup:
        found["wait_for_store"] = _START_WAIT_S
    for name, flag in _OF_WORKERS.items():
        if _differs(conf, name) and conf[name] is not None:
            found[flag] = conf[name]
    if "autoscale" in found:
        found.pop("slots", None)
    return found


def worker_flags(conf: Settings) -> list[str]:
    """`worker_defaults` as flags of the command.

    Example:
        >>> worker_flags(Settings({"worker_autoscale": (10, 3)}, discover=False))
        ['--queues=default', '--autoscale=10,3']
    """
    flags = []
    for name, value in worker_defaults(conf).items():
        flag = f"--{name.replace('_', '-')}"
        if isinstance(value, bool):
            flags += [flag] if value else []
        else:
            flags.append(f"{flag}={_joined(value) if isinstance(value, (tuple, list)) else value}")
    return flags


def _joined(values: Iterable[Any] | Sequence[Any]) -> str:
    return ",".join(map(str, values))


def _differs(conf: Settings, name: str) -> bool:
    """Whether somebody has to be told: our defaults are there anyway."""
    from taskflow.settings.table import OPTIONS

    return bool(conf[name] != OPTIONS[name].default)
