"""Celery's words for looking at workers and telling them what to be: ``app.control``, and its `Inspect`.

They stand on `taskflow.control` and on what the store knows: what runs is read from the leases, not asked of
workers, and what is told is kept, for workers that start later too.
"""

from __future__ import annotations

from taskflow.steering.appcontrol import AppControl
from taskflow.steering.desk import Desk
from taskflow.steering.inspect import Inspect

__all__ = ["AppControl", "Desk", "Inspect"]
