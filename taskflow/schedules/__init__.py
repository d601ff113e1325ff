"""When something is to run: every so often, by the clock on the wall, with the sun, once.

Values: they compare equal, can be pickled, and go through JSON (`Schedule.to_json`, `from_json`), as which
they are stored. Celery's names and arguments; see docs/beat.md for what a change of the clocks does.
"""

from __future__ import annotations

from taskflow.schedules.cron import crontab
from taskflow.schedules.interval import schedule
from taskflow.schedules.kinds import Schedule, as_schedule, from_json
from taskflow.schedules.single import once
from taskflow.schedules.sun import solar
from taskflow.schedules.zones import zone, zone_name

__all__ = [
    "Schedule",
    "as_schedule",
    "crontab",
    "from_json",
    "once",
    "schedule",
    "solar",
    "zone",
    "zone_name",
]
