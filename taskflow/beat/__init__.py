"""What runs by itself: schedules that are kept in the store, and the beats that send what is due.

A tick, which is one schedule at one instant, is a run whose id is made of both: whoever sends it, and how
often, it is there once. So there is no leader; any number of beats look after the same schedules, and when
one dies the others need not notice.
"""

from __future__ import annotations

from taskflow.beat.beating import Beat
from taskflow.beat.entry import Entry
from taskflow.beat.schedules import Schedules
from taskflow.beat.wanted import Wanted, entries_from

__all__ = ["Beat", "Entry", "Schedules", "Wanted", "entries_from"]
