"""Alerts: a condition on what happens in a store, and whom to tell when it holds.

::

    people ──► Alerts ──► Book (two posted texts) ◄──► Watch ──► places: log, function, webhook, e-mail
                              │                          │
                 grammar: what a condition says          └── measuring: what there is to measure
                 state: what becomes of an alert
"""

from __future__ import annotations

from taskflow.alerts.alerts import Alerts
from taskflow.alerts.measuring import Look
from taskflow.alerts.places import Callback, Email, Log, Notice, Webhook
from taskflow.alerts.watching import Watch

__all__ = ["Alerts", "Callback", "Email", "Log", "Look", "Notice", "Watch", "Webhook"]
