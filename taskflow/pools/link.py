"""The pool's end of one child: its files, the work given to it, and what it said."""

from __future__ import annotations

import logging
import os
import time
from collections import OrderedDict, deque
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

from taskflow.pools.capture import Leak
from taskflow.pools.packing import Work, packet
from taskflow.pools.verdict import Why
from taskflow.pools.wire import LANE_BYTES, PACKET_BYTES, PAGES_KEPT, PAGES_SENT, Board, Lane, Line
from taskflow.records import Page

_log = logging.getLogger(__name__)

__all__ = ["Item", "Link", "Message", "Target"]

Item = tuple[int, int, int]
"""Message, entry and index."""

_MESSAGE_S = 0.02
_AHEAD_S = 0.05
_SOON_S = 0.02
_MESSAGE_ITEMS = 24_000
"""At most so many items in a message: results of that many numbers still fit into a record."""
_MESSAGE_BYTES = PACKET_BYTES * 2 // 3
_UNKNOWN_S = 1.0


class Message:
    """Work that was sent in one packet; a slot runs it in order, and settles it in order."""

    __slots__ = ("at", "lo", "number", "pages", "works")

    def __init__(self, number: int, works: list[Work]) -> None:
        self.number = number
        self.works = works
        self.pages: list[tuple[str, int]] = []
        self.at = 0
        self.lo = works[0].lo

    def settle(self, at: int, hi: int) -> bool:
        """Note that all up to item `hi` of entry `at` is settled; `False` when it was before."""
        if (at, hi) <= (self.at, self.lo) or at >= len(self.works):
            return False
        if hi < self.works[at].hi:
            self.at, self.lo = at, hi
        else:
            self.at = at + 1
            self.lo = self.works[self.at].lo if self.at < len(self.works) else 0
        return True

    def has_ended_before(self, item: Item) -> bool:
        """Whether an item that runs has others before it that are not settled: they have ended."""
        return (self.at, self.lo) < item[1:]

    def left(self) -> list[Work]:
        """What is not settled."""
        works = self.works[self.at :]
        if works and self.lo > works[0].lo:
            first = works[0]
            works[0] = first.part(self.lo, first.hi)
        return works

    def around(self, at: int, index: int) -> tuple[list[Work], Work, list[Work]]:
        """What is not settled: before an item, the item, behind it."""
        left = self.left()
        here = at - self.at
        work = left[here]
        before = [*left[:here], work.part(work.lo, index)]
        return before, work.part(index, index + 1), [work.part(index + 1, work.hi), *left[here + 1 :]]

    def drop(self, at: int, lo: int) -> list[Work]:
        """Give up everything from an item on; returns it."""
        lost = []
        if at < len(self.works) and self.works[at].lo < lo < self.works[at].hi:
            work = self.works[at]
            lost.append(work.part(lo, work.hi))
            self.works[at] = work.part(work.lo, lo)
            at += 1
        lost += self.works[at:]
        del self.works[at:]
        return lost


class Target:
    """An item for whose sake the pool wants a child to end."""

    __slots__ = ("data", "item", "kill_at", "killed", "why")

    def __init__(self, item: Item | None, why: Why, kill_at: float, data: Mapping[str, Any]) -> None:
        self.item = item
        self.why = why
        self.kill_at = kill_at
        self.data = data
        self.killed = False


class Link:
    """One child, as the pool knows it.

    Attributes:
        number: The pool's name for it.
        pid: Of the process, once it was born.
        lanes: How many slots it has now.
        backlog: Work that is meant for it and was not sent.
        flying: Messages that were sent, by number, oldest first.
        counts: Items it has, sent or not, by function.
        lent: How many of its items only wait for others.
        stuck: An item takes much longer than it should: nothing is put behind it.
        retiring: It gets no more work.
        calls: Items it settled.
    """

    def __init__(self, number: int, lanes: int, all_lanes: int) -> None:
        self.number = number
        self.alone = all_lanes == 1
        self.pid: int | None = None
        self.lanes = lanes
        self.backlog: deque[Work] = deque()
        self.flying: OrderedDict[int, Message] = OrderedDict()
        self.counts: dict[str, int] = {}
        self.lent = 0
        self.stuck = False
        self.retiring = False
        self.finished = False
        self.closed = False
        self.calls = 0
        self.target: Target | None = None
        self.soft: set[Item] = set()
        self.streamed: dict[int, tuple[Item, int]] = {}
        self.heard: dict[int, int] = {}
        self.leaked: dict[Item, Lane] = {}
        self.rss_peak = 0
        self.weighed_at = 0.0
        self.idle_since = time.monotonic()
        self._next = 1
        self._pages: OrderedDict[tuple[str, int], None] = OrderedDict()
        self._flying_s = 0.0
        self._open_files(all_lanes)

    def _open_files(self, lanes: int) -> None:
        work, self._theirs = Line.pair()
        reports, self._report_end = Line.pair()
        work.setblocking(False)
        reports.setblocking(False)
        self.line, self.reports = Line(work), Line(reports)
        # The child's own end of the work line, to read back what it did not take.
        self._back = Line(self._theirs)
        self._board_fd = Board.make(lanes)
        self.board = Board(self._board_fd, lanes).lanes
        self._leak_fd, self._output_fd = os.pipe()
        os.set_blocking(self._leak_fd, False)
        self.leak = Leak(self._leak_fd)

    @property
    def fds(self) -> list[int]:
        """What the child gets."""
        return [
            self._theirs.fileno(),
            self._report_end.fileno(),
            self._board_fd,
            self._output_fd,
            self._leak_fd,
        ]

    def sent(self) -> None:
        """The child has its files: close those that only it needs."""
        self._report_end.close()
        os.close(self._board_fd)
        os.close(self._output_fd)

    def close(self) -> None:
        """Let go of everything."""
        self.closed = True
        self.line.close()
        self.reports.close()
        self._theirs.close()
        os.close(self._leak_fd)

    # ── load ────────────────────────────────────────────────────────────────────────

    def load_s(self, pace_s: Mapping[str, float]) -> float:
        """Seconds of work it has, as far as is known."""
        seconds = 0.0
        for fn, count in self.counts.items():
            seconds += count * pace_s.get(fn, _UNKNOWN_S)
        return seconds

    def free(self, pace_s: Mapping[str, float]) -> int:
        """How many of its slots have less than one message of known work, or one item that ends soon."""
        if self.retiring or self.stuck:
            return 0
        if not self.counts:
            return self.lanes
        units, slowest = 0.0, 0.0
        for fn, count in self.counts.items():
            pace = pace_s.get(fn, _UNKNOWN_S)
            units += min(1.0, pace / _MESSAGE_S) * count
            slowest = max(slowest, pace)
        if slowest < _SOON_S:
            units -= 1.0  # its last item ends soon: that is when the next should be there
        return max(0, self.lanes + self.lent - max(0, int(units + 1e-9)))

    def add(self, work: Work) -> None:
        """Mean work for this child."""
        self.backlog.append(work)
        self.count(work.lease.fn, work.hi - work.lo)

    def count(self, fn: str, items: int) -> None:
        """Add to what it has; negative to take away."""
        left = self.counts.get(fn, 0) + items
        if left > 0:
            self.counts[fn] = left
        else:
            self.counts.pop(fn, None)

    def count_all(self, items: Mapping[str, int]) -> None:
        """`count` for several functions."""
        for fn, count in items.items():
            self.count(fn, count)

    # ── sending ─────────────────────────────────────────────────────────────────────

    def feed(self, pace_s: Mapping[str, float]) -> None:
        """Send as many messages as keep the child busy while the pool looks elsewhere."""
        while self.backlog and not self.finished:
            works = self._next_works(pace_s)
            if not works:
                return
            message = Message(self._next, works)
            try:
                fits = self.line.send(self._packet(message))
            except OSError:
                fits = False  # It is gone; the template will say so.
            if not fits:
                self._unsend(message)
                self._put_back(works)
                return
            self._next += 1
            self.flying[message.number] = message

    def _next_works(self, pace_s: Mapping[str, float]) -> list[Work]:
        """Work for about one message; empty when enough is under way."""
        backlog = self.backlog
        works: list[Work] = []
        seconds, items, size, pages = 0.0, 0, 0, 0
        if not self._room(pace_s):
            return works
        last, pace = "", _UNKNOWN_S
        while backlog and seconds < _MESSAGE_S and items < _MESSAGE_ITEMS and size < _MESSAGE_BYTES:
            work = backlog[0]
            fn, args = work.lease[2:4]
            if fn != last:
                last, known = fn, pace_s.get(fn)
                if works and (known is None or (self.lanes > 1 and known >= _MESSAGE_S)):
                    break
                pace = known or _UNKNOWN_S
            count = 1
            if work.pages:
                count, own = self._fitting(work, (_MESSAGE_S - seconds) / pace, PAGES_SENT - pages)
                if not count:
                    break
                pages += own
            works.append(work.cut(count) if count < work.hi - work.lo else backlog.popleft())
            seconds += count * pace
            items += count
            size += len(args) + 200
        return works

    @staticmethod
    def _fitting(work: Work, items: float, pages: int) -> tuple[int, int]:
        """How many items of a range to send now, and in how many pages they are."""
        count = min(work.hi - work.lo, int(items) + 1, _MESSAGE_ITEMS)
        own = work.part(work.lo, work.lo + count).own_pages[:pages]
        if own:
            count = min(count, own[-1].hi - work.lo)
        return (count if pages > 0 else 0), len(own)

    def _room(self, pace_s: Mapping[str, float]) -> bool:
        flying = len(self.flying)
        if self.lent and self.alone:
            return False
        if flying < self.lanes + self.lent:
            return True
        if self.stuck or self.lent or self.retiring:
            return False
        if flying >= 8 * self.lanes:
            return False
        paces = [pace_s.get(m.works[0].lease.fn) if m.works else 0.0 for m in self.flying.values()]
        head = pace_s.get(self.backlog[0].lease.fn)
        if head is None or not all(pace is not None and pace < _SOON_S for pace in paces):
            return False
        return flying < 2 * self.lanes or (head < _AHEAD_S and flying * _MESSAGE_S < _AHEAD_S * self.lanes)

    def _packet(self, message: Message) -> tuple[Any, ...]:
        def wanted(node: str, page: Page) -> bool:
            if (node, page.lo) in self._pages:
                return False
            message.pages.append((node, page.lo))
            self._pages[node, page.lo] = None
            while len(self._pages) > PAGES_KEPT - PAGES_SENT:
                self._pages.popitem(last=False)
            return True

        return packet(message.number, message.works, wanted)

    def _unsend(self, message: Message) -> None:
        for page in message.pages:
            self._pages.pop(page, None)

    def _put_back(self, works: list[Work]) -> None:
        for work in reversed(works):
            first = self.backlog[0] if self.backlog else None
            if first is not None and first.lease is work.lease and first.lo == work.hi:
                first.lo = work.lo
            else:
                self.backlog.appendleft(work)

    # ── taking back ─────────────────────────────────────────────────────────────────

    def take_back(self) -> None:
        """Read back the messages that the child did not take: they are backlog again."""
        taken: list[Message] = []
        while True:
            try:
                packet = self._back.receive(now=True)
            except OSError:
                break
            if packet is None:
                break
            message = self.flying.pop(packet[0], None) if isinstance(packet[0], int) else None
            if message is not None:
                self._unsend(message)
                taken.append(message)
        for message in reversed(taken):
            self._put_back(message.works)

    def give_up(self) -> list[Work]:
        """Take everything out of the backlog."""
        works = list(self.backlog)
        self.backlog.clear()
        for work in works:
            self.count(work.lease.fn, work.lo - work.hi)
        return works

    def done(self, number: int) -> None:
        """Forget what was known of the items of a message."""
        self.stuck = False
        target = self.target
        if target is not None and not target.killed and target.item is not None and target.item[0] == number:
            self.target = None
        if self.soft:
            self.soft = {item for item in self.soft if item[0] != number}
        if self.leaked:
            self.leaked = {item: lane for item, lane in self.leaked.items() if item[0] != number}

    def doom(self, why: Why) -> None:
        """All that runs in it is to end for the same reason."""
        if self.target is None or not self.target.killed:
            self.target = Target(None, why, float("inf"), {})
            self.target.killed = True

    # ── looking ─────────────────────────────────────────────────────────────────────

    def running(self) -> Iterator[tuple[int, Lane, Item, Work]]:
        """Lane and work of each item that runs and is not settled."""
        for number, lane in enumerate(self.board if self.lanes > 1 else self.board[:1]):
            item = lane.running
            if item is None:
                continue
            message = self.flying.get(item[0])
            if message is None or item[1] >= len(message.works) or item[1] < message.at:
                continue
            work = message.works[item[1]]
            if item[2] >= work.hi or (item[1] == message.at and item[2] < message.lo):
                continue
            yield number, lane, item, work

    def read_leak(self) -> None:
        """Read output that bypassed Python, for the item that runs."""
        if self.closed:
            return
        before = [item for _, _, item, _ in self.running()]
        data = self.leak.read()
        if not data:
            return
        item = next(iter(before), None) or next((i for _, _, i, _ in self.running()), None)
        if item is not None:
            lane = self.leaked.get(item)
            if lane is None:
                lane = self.leaked[item] = Lane(memoryview(bytearray(LANE_BYTES)))
            lane.print(data)
        else:
            _log.debug(
                "output of a child between its tasks", extra={"text": data[-2000:].decode(errors="replace")}
            )

    def take_leaked(self, number: int, at: int, lo: int, hi: int) -> str:
        """That output of an item, once."""
        found = [item for item in self.leaked if item[0] == number and item[1] == at and lo <= item[2] < hi]
        return "".join(self.leaked.pop(item).printed() for item in found)

    def end(self) -> None:
        """Tell the child to end when it has done what it has."""
        if not self.finished:
            self.finished = True
            with suppress(OSError):
                self.line.finish()
