"""Which process of a cluster has which messages, and which gets the next. Pure.

Whoever chooses the process knows, when one is gone, what it may have been running. A process begins with the
highest priority, then in order, and runs as many at once as it has threads.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from taskflow.pools.engine import Packet

__all__ = ["Fate", "Fleet", "Member"]

_MADE_KEPT = 10_000


class Member:
    """A process of the cluster and the messages that it has.

    Args:
        name: Of the process.
        threads: Messages at once.
        kills: It may be ended for the sake of the one message that it runs.

    Attributes:
        has: What it was given and has not answered, in that order.
        begun: What of it may run.
        lent: Messages that only wait, and so take no thread.
        last: It runs this one beside nothing else, once it has ended what it has.
    """

    def __init__(self, name: str, threads: int, *, kills: bool = False) -> None:
        self.name, self.threads, self.kills = name, threads, kills
        self.has: dict[int, Packet] = {}
        self.begun: set[int] = set()
        self.lent: Counter[int] = Counter()
        self.last: Packet | None = None

    @property
    def load(self) -> float:
        """How much it has to do, per thread."""
        return (len(self.has) - self.lent.total()) / self.threads

    def advance(self) -> None:
        """See what begins."""
        room = self.threads + self.lent.total() - len(self.begun)
        if room > 0:
            waiting = [packet for packet in self.has.values() if packet.number not in self.begun]
            waiting.sort(key=lambda packet: -packet.priority)
            self.begun.update(packet.number for packet in waiting[:room])


class Fate(NamedTuple):
    """What became of a message whose process is gone: whether it had begun, and whether no other had."""

    number: int
    began: bool
    sure: bool


class Fleet:
    """The processes of a cluster.

    Args:
        give: Called when a message is to go to a process.
    """

    def __init__(self, give: Callable[[Packet, Member], object]) -> None:
        self._give = give
        self._at: dict[int, Member] = {}
        self._waiting: deque[Packet] = deque()
        self._made: OrderedDict[str, str] = OrderedDict()
        self.members: dict[str, Member] = {}

    @property
    def slots(self) -> int:
        """Messages at once."""
        return sum(member.threads for member in self.members.values())

    @property
    def kills(self) -> bool:
        """Whether some process may be ended; also while there is none."""
        return not self.members or any(member.kills for member in self.members.values())

    def where(self, number: int) -> Member | None:
        """The process that has a message."""
        return self._at.get(number)

    def join(self, member: Member) -> None:
        """A process is there: it gets what waits for one."""
        self.members[member.name] = member
        self._place_waiting()

    def leave(self, name: str, *, expected: bool = False) -> list[Fate]:
        """A process is gone; `expected` is one that was ended on purpose, by whoever owns the cluster."""
        member = self.members.pop(name, None)
        if member is None:
            return []
        begun = set() if expected else member.begun
        for number in member.has:
            del self._at[number]
        if member.last is not None and member.last.number not in member.has:
            self.place(member.last)
        return [Fate(number, number in begun, len(begun) == 1) for number in member.has]

    def place(self, packet: Packet) -> None:
        """Give a message to the process that has least to do, or keep it until there is one. One that made
        what the message needs is preferred while a thread of it is free.
        """
        kills = packet.limits[1] is not None
        fit = [m for m in self.members.values() if m.last is None and (m.kills or not kills)]
        if not fit:
            self._waiting.append(packet)
            return
        homes = {self._made.get(name) for name, data in packet.given.items() if data is None}
        home = [member for member in fit if member.name in homes and member.load < 1]
        member = min(home or fit, key=lambda member: member.load)
        if packet.alone and member.threads > 1:
            member.last = packet
            if member.has:
                return
        self._hand(packet, member)

    def keep(self, number: int, names: Iterable[str]) -> None:
        """The process that has a message has made data, and keeps it."""
        if (member := self._at.get(number)) is not None:
            self._made.update(dict.fromkeys(names, member.name))
            while len(self._made) > _MADE_KEPT:
                self._made.popitem(last=False)

    def end(self, number: int) -> bool:
        """A message has been run, or will not be; whether a process had it. The next may go there."""
        member = self._at.pop(number, None)
        if member is None:
            return False
        del member.has[number]
        member.begun.discard(number)
        member.lent.pop(number, None)
        member.advance()
        if member.last is not None and member.last.number == number:
            member.last = None
        if member.last is not None and not member.has:
            self._hand(member.last, member)
        elif member.last is None:
            self._place_waiting()
        return True

    def lend(self, number: int, more: int) -> None:
        """A message only waits (+1), or goes on (-1)."""
        if (member := self._at.get(number)) is not None:
            member.lent[number] += more
            member.advance()

    def drop(self, number: int) -> None:
        """Forget a message that no process has yet."""
        self._waiting = deque(packet for packet in self._waiting if packet.number != number)
        for member in self.members.values():
            if member.last is not None and member.last.number == number and number not in member.has:
                member.last = None

    def numbers(self) -> Iterator[int]:
        """All messages that are known here."""
        yield from self._at
        yield from (packet.number for packet in self._waiting)
        for member in self.members.values():
            if member.last is not None and member.last.number not in member.has:
                yield member.last.number

    def _place_waiting(self) -> None:
        waiting, self._waiting = self._waiting, deque()
        for packet in waiting:
            self.place(packet)

    def _hand(self, packet: Packet, member: Member) -> None:
        member.has[packet.number] = packet
        self._at[packet.number] = member
        member.advance()
        self._give(packet, member)
