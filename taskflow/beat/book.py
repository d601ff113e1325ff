"""`Book`: the schedules of a store, and what has become of them, each as one posted text.

They are two texts, since the one is changed by people, and is long, and the other with each tick.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any, NamedTuple, TypeAlias

from taskflow.beat.entry import Entry, Ran
from taskflow.codec import Keyring
from taskflow.ports import PostPort
from taskflow.posting import Paper

__all__ = ["Book", "Done", "Entries"]

Entries: TypeAlias = dict[str, Entry]


class Done(NamedTuple):
    """What a beat has done for an entry.

    Args:
        uid: Which.
        until: All ticks up to this one are done.
        sent: Those of them that became runs.
        run: The last run, if there is one.
        tails: See `Ran`.
    """

    uid: str
    until: datetime
    sent: tuple[datetime, ...] = ()
    run: str = ""
    tails: tuple[str, ...] = ()


class Book:
    """Reads and changes both texts.

    Args:
        store: Where they are posted.
        keyring: Seals and opens them.
    """

    def __init__(self, store: PostPort, keyring: Keyring) -> None:
        self._entries = Paper(store, keyring, "schedules", {})
        self._ran = Paper(store, keyring, "schedules.ran", {})
        self._read: tuple[int, Entries] = (-1, {})

    def entries(self) -> Entries:
        """The entries by name, in the order in which they were added.

        Raises:
            Untrusted: Somebody without the key has written them.
        """
        self._entries.look()
        if self._read[0] != self._entries.revision:
            self._read = (self._entries.revision, _entries(self._entries.value))
        return self._read[1]

    def ran(self) -> dict[str, Ran]:
        """What has become of entries, by their `Entry.uid`.

        Raises:
            Untrusted: Somebody without the key has written it.
        """
        self._ran.look()
        return {uid: _ran(told) for uid, told in self._ran.value.items()}

    def change(self, edit: Callable[[Entries], Entries]) -> Entries:
        """Change entries; `edit` may be called several times, see `Paper.change`."""

        def on_paper(told: dict[str, Any]) -> dict[str, Any]:
            return {name: entry.to_json() for name, entry in edit(_entries(told)).items()}

        return _entries(self._entries.change(on_paper))

    def settle(self, done: Iterable[Done]) -> None:
        """Say what was done; what another beat has said meanwhile stays."""
        done = list(done)
        kept = {entry.uid for entry in self.entries().values()} | {one.uid for one in done}

        def on_paper(told: dict[str, Any]) -> dict[str, Any]:
            new = {uid: ran for uid, ran in told.items() if uid in kept}
            for one in done:
                new[one.uid] = list(_with(_ran(new[one.uid]) if one.uid in new else Ran(), one))
            return new

        self._ran.change(on_paper)


def _with(ran: Ran, done: Done) -> Ran:
    last = ran.last_at
    if last is not None and done.until <= last:
        return ran
    new = [tick for tick in done.sent if last is None or tick > last]
    run, tails = (done.run, done.tails) if new else (ran.run, ran.tails)
    return Ran(done.until.astimezone(UTC).isoformat(), ran.runs + len(new), run, tails)


def _ran(told: list[Any]) -> Ran:
    last, runs, run, tails = told
    return Ran(last, runs, run, tuple(tails))


def _entries(told: dict[str, Any]) -> Entries:
    return {name: Entry.from_json(one) for name, one in told.items()}
