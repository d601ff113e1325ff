"""Looks at what runs: limits of time and memory, output of long calls, items that hold up others."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any

from taskflow.pools.ledger import Ledger
from taskflow.pools.link import Item, Link, Target
from taskflow.pools.linux import tree_rss_bytes
from taskflow.pools.packing import Work
from taskflow.pools.verdict import Why
from taskflow.pools.wire import BACK, CANCEL, SAY_S, SOFT, WISH_SIGNAL, Lane

__all__ = ["Watch"]

_STUCK_S = 0.05
_STREAM_S = 0.5
_ASK_S = 0.02
_MEMORY_S = 0.1
_UNDEAD_S = 3.0
_NEVER = float("inf")

Kill = Callable[[int, int, bool], None]


class Watch:
    """Decides what is to be done about items that run, by the memory that children share with the pool.

    Args:
        ledger: Gets the output of long calls.
        single: All slots are in one child: it is spoken to by packets, and never killed for one item.
        kill: Sends a signal to the child of a number; the last argument says whether to all its group.

    Attributes:
        at: When to look again, by the monotonic clock.
    """

    def __init__(self, ledger: Ledger, single: bool, kill: Kill) -> None:
        self.at = _NEVER
        self._ledger = ledger
        self._single = single
        self._kill = kill

    def started(self) -> None:
        """Something was started: look soon."""
        self.again(time.monotonic() + _STUCK_S)

    def again(self, at: float) -> None:
        """Look again not later than this."""
        self.at = min(self.at, at)

    def look(self, links: Iterable[Link], now: float) -> tuple[list[Link], list[Link]]:
        """Look at all children.

        Returns:
            Those whose running item holds up others, and those that do not die though they were killed.
        """
        self.at = _NEVER
        held_up: list[Link] = []
        undead: list[Link] = []
        for link in links:
            if not link.flying:
                continue
            self.again(now + _STREAM_S)
            self._ledger.watch_oom(now)
            for number, lane, item, work in list(link.running()):
                elapsed = now - lane.since
                self._watch_time(link, lane, item, work, now, elapsed)
                if self._holds_up(link, item, work, now, elapsed):
                    held_up.append(link)
                    if not self._single:
                        self.wish(link, lane, BACK, item)
                self.listen(link, number, lane, now)
                if elapsed >= _STREAM_S:
                    self._ledger.hear(link, number, lane, item, work)
            self.cancel(link, now)
            self._watch_unstarted(link, now)
            self._watch_memory(link, now)
            if self._pursue(link, now):
                undead.append(link)
        return held_up, undead

    def listen(self, link: Link, number: int, lane: Lane, now: float) -> None:
        """Take what the item of a lane says of itself, and look again soon if that was anything."""
        if self._ledger.take_said(link, number, lane):
            self.again(now + SAY_S)

    def cancel(self, link: Link, now: float) -> None:
        """Tell the running items of cancelled leases. An item that a child has read and not begun cannot be
        told, nor can one that has just ended stop those behind it: it is looked again until all have ended.
        """
        cancelled = self._ledger.cancelled
        if not cancelled:
            return
        for _, lane, item, work in list(link.running()):
            cancel = cancelled.get(work.lease.key)
            if cancel is not None and (link.number, item) not in cancel.asked:
                cancel.asked.add((link.number, item))
                if cancel.grace_s > 0:
                    self.wish(link, lane, CANCEL, item)
                self.aim(link, item, Why.CANCEL, now + cancel.grace_s, {"reason": cancel.reason})
        if any(work.lease.key in cancelled for message in link.flying.values() for work in message.left()):
            self.again(now + _ASK_S)

    # ── what is done ────────────────────────────────────────────────────────────────

    def wish(self, link: Link, lane: Lane, what: int, item: Item) -> None:
        """Want something of a running item."""
        lane.wish(what, item)
        if self._single:
            with suppress(OSError):
                link.line.send(("wish", link.board.index(lane)))
        else:
            self._kill(link.number, WISH_SIGNAL, False)

    def aim(self, link: Link, item: Item, why: Why, at: float, data: Mapping[str, Any]) -> None:
        """Kill a child at some time, unless the item has ended by then."""
        if self._single:
            return
        target = link.target
        if target is None or (not target.killed and (target.item != item or at < target.kill_at)):
            link.target = Target(item, why, at, data)
        self._pursue(link, time.monotonic())

    def _pursue(self, link: Link, now: float) -> bool:
        """Kill at the right time; whether it was of no use."""
        target = link.target
        if target is None or target.kill_at == _NEVER:
            return False
        if target.killed:
            self.again(now + _UNDEAD_S)
            return now - target.kill_at > _UNDEAD_S
        if now < target.kill_at:
            self.again(target.kill_at)
        elif target.item in [item for _, _, item, _ in link.running()]:
            target.killed, target.kill_at = True, now
            self._kill(link.number, signal.SIGKILL, True)
            self.again(now + _UNDEAD_S)
        else:
            link.target = None
        return False

    # ── what is seen ────────────────────────────────────────────────────────────────

    def _watch_time(self, link: Link, lane: Lane, item: Item, work: Work, now: float, elapsed: float) -> None:
        soft, hard = work.lease.policy.soft_time_limit_s, work.lease.policy.time_limit_s
        if hard is not None:
            if elapsed >= hard:
                self.aim(link, item, Why.TIME, now, {"limit_s": hard})
            else:
                self.again(now + hard - elapsed)
        if soft is not None and item not in link.soft:
            if elapsed >= soft:
                link.soft.add(item)
                self.wish(link, lane, SOFT, item)
            else:
                self.again(now + soft - elapsed)

    def _watch_unstarted(self, link: Link, now: float) -> None:
        """Limits of what waits in the child: none can be over before it has begun."""
        for message in link.flying.values():
            policy = message.works[-1].lease.policy if message.works else None
            if policy is not None:
                for limit in (policy.soft_time_limit_s, policy.time_limit_s):
                    if limit is not None:
                        self.again(now + max(0.01, min(limit, _STREAM_S)))

    def _holds_up(self, link: Link, item: Item, work: Work, now: float, elapsed: float) -> bool:
        """Whether an item takes longer than expected while others wait: for the child, or to be told of."""
        if link.lent:
            return False
        many = len(link.flying) > link.lanes or bool(link.backlog) or item[2] + 1 < work.hi
        many = many or (not self._single and link.flying[item[0]].has_ended_before(item))
        if not many and (self._single or sum(len(m.works) - m.at for m in link.flying.values()) <= 1):
            return False
        patience = max(_STUCK_S, 5.0 * self._ledger.pace_s.get(work.lease.fn, 0.0))
        if elapsed < patience:
            self.again(now + patience - elapsed)
            return False
        link.stuck = True
        return True

    def _watch_memory(self, link: Link, now: float) -> None:
        limits = [
            (limit, item)
            for _, _, item, work in link.running()
            if (limit := work.lease.policy.memory_limit_bytes) is not None
        ]
        if not limits:
            waiting = (work for message in link.flying.values() for work in message.works)
            if any(work.lease.policy.memory_limit_bytes for work in waiting):
                self.again(now + _MEMORY_S)
            return
        self.again(now + _MEMORY_S)
        rss = tree_rss_bytes(link.pid) if link.pid else 0
        link.rss_peak = max(link.rss_peak, rss)
        for limit, item in limits:
            if rss > limit:
                known = {"rss_peak_bytes": link.rss_peak, "limit_bytes": limit}
                self.aim(link, item, Why.MEMORY, now, known)
                return
