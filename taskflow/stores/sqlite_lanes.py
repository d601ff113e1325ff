"""Lanes of a store file: queued nodes that share bounds, and whether it is worth looking at them.

A lane is open when something of it is queued, unless a limit has shut it: thousands that wait for one limit
then cost nothing until it calls them back.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable, Iterator

from taskflow.machine.rows import NodeRow
from taskflow.states import State

__all__ = ["Lanes"]

Place = tuple[str, str]
"""A queue, and the name of a lane in it."""


class Lanes:
    """The lanes in one transaction.

    Args:
        db: A connection in a transaction.
    """

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._keys: dict[Place, int] = {}
        self._shut: dict[Place, str] = {}
        self._empty: list[int] = []

    def key_of(self, row: NodeRow) -> int | None:
        """The key of the lane of a node, which is made if need be; `None` where it stands in none."""
        name = row.lane
        if name is None:
            return None
        place = (row.queue, name)
        if place not in self._keys:
            self._db.execute("insert or ignore into lane(queue, name, open) values(?, ?, 0)", place)
            found = self._db.execute("select key from lane where queue=? and name=?", place).fetchone()
            self._keys[place] = found[0]
        return self._keys[place]

    def open_in(self, queue: str) -> list[tuple[int, str]]:
        """Keys and names of the open lanes of a queue."""
        return self._db.execute("select key, name from lane where queue=? and open=1", (queue,)).fetchall()

    def walk(self, lane: int, name: str, full: Collection[str]) -> Iterator[int]:
        """Keys of the queued nodes of a lane in order, until it is full."""
        sql = (
            "select key, priority from node where lane = ? and state = 'queued' and (priority, -key) < (?, ?)"
            " order by priority desc, key limit 16"
        )
        at, found = (1 << 31, 0), 0
        while keys := self._db.execute(sql, (lane, *at)).fetchall():
            for key, _ in keys:
                if name in full:
                    return
                yield key
            found += len(keys)
            at = (keys[-1][1], -keys[-1][0])
        if not found:
            self._empty.append(lane)

    def queued(self, rows: Iterable[NodeRow]) -> None:
        """Rows were written: lanes of those that are queued are open."""
        places = {(row.queue, row.lane) for row in rows if row.state is State.QUEUED and row.lane is not None}
        for place in places - self._shut.keys():
            self._db.execute(
                "update lane set open=1, shut_by=null where queue=? and name=? and open=0", place
            )

    def shut(self, row: NodeRow, limit: str) -> None:
        """Nothing of a node's lane can be claimed until a limit calls back."""
        if row.lane is not None:
            self._shut[row.queue, row.lane] = limit

    def reopen(self, limit: str) -> None:
        """A limit calls back."""
        self._shut = {place: by for place, by in self._shut.items() if by != limit}
        self._db.execute("update lane set open=1, shut_by=null where shut_by=?", (limit,))

    def finish(self) -> None:
        """Write what was found out, when all else is written."""
        for (queue, name), limit in self._shut.items():
            self._db.execute(
                "update lane set open=0, shut_by=? where queue=? and name=?", (limit, queue, name)
            )
        for lane in self._empty:
            self._db.execute(
                "update lane set open=0 where key=? and not exists"
                " (select 1 from node where lane=? and state='queued')",
                (lane, lane),
            )
