"""Settings: one table of all options, where values come from, and what they make of calls and workers.

::

    conf = Settings()
    conf.load("django.conf:settings", namespace="CELERY")
    conf.task_time_limit = 60
    conf.explain()

`task_defaults`, `route`, `task_attributes` and `worker_defaults` say what they mean for the engine. The names
are those of Celery; docs/settings.md is made of the table.
"""

from __future__ import annotations

from taskflow.settings.applied import (
    max_deliveries,
    task_attributes,
    task_defaults,
    time_zone,
    worker_defaults,
    worker_flags,
)
from taskflow.settings.option import Option, Status
from taskflow.settings.routing import queues, route
from taskflow.settings.table import OPTIONS, PROFILES
from taskflow.settings.values import Given, Settings

__all__ = [
    "OPTIONS",
    "PROFILES",
    "Given",
    "Option",
    "Settings",
    "Status",
    "max_deliveries",
    "queues",
    "route",
    "task_attributes",
    "task_defaults",
    "time_zone",
    "worker_defaults",
    "worker_flags",
]
