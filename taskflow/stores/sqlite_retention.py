"""Retention: the file stays bounded by age and by size."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Callable, Collection, Mapping
from math import inf

from taskflow.codec import blob_names
from taskflow.errors import (
    ResultExpired,
    StoreUnavailable,
)
from taskflow.stores.sqlite_file import SqliteFile

__all__ = ["SqliteRetention"]

EVENTS_KEPT = 20_000
EVENT_BYTES_KEPT = 16 << 20
TOMBSTONES_KEPT = 100_000
TOMBSTONES_KEPT_S = 7 * 86_400.0
RUNS_PER_STEP = 200
VACUUM_PAGES = 1000


class SqliteRetention(SqliteFile):
    """Forgets runs that have ended, and gives their space back."""

    def sweep(self, /, *, age_s: float, size_bytes: int) -> Mapping[str, int]:
        """See `StatusPort.sweep`."""
        self._compact()
        removed = self._forget_ended(self._clock.now() - age_s, lambda: False)
        removed += self._forget_ended(inf, lambda: self._compact_to(size_bytes))
        self._cut_history()
        self._compact()
        freed = self._sweep_blobs(age_s)
        return {"runs": removed, "blob_bytes": freed, "size_bytes": self._size()}

    def _cut_history(self) -> None:
        """Bound what grows with every run that ever was: events and tombstones."""
        with self._step():
            self._writer.execute(
                "delete from event where key <= (select key from"
                " (select key, sum(length(body)) over (order by key desc) total from event)"
                " where total > ? order by key desc limit 1)",
                (EVENT_BYTES_KEPT,),
            )
            self._writer.execute(
                "delete from event where key <= (select max(key) from event) - ?", (EVENTS_KEPT,)
            )
            self._writer.execute("delete from said where node in (select key from node where open = 0)")
            self._writer.execute("delete from lock where until < ?", (self._clock.now(),))
            self._writer.execute(
                "delete from lane where not exists (select 1 from node where node.lane = lane.key)"
            )
            self._writer.execute("delete from gone where at < ?", (self._clock.now() - TOMBSTONES_KEPT_S,))
            self._writer.execute(
                "delete from gone where id <= (select id from gone order by id desc limit 1 offset ?)",
                (TOMBSTONES_KEPT,),
            )

    def _forget_ended(self, before: float, enough: Callable[[], bool]) -> int:
        """Forget runs that ended before then, the oldest first, until it is enough; returns how many."""
        removed, ended_at, key = 0, 0.0, 0
        while not enough():
            sql = (
                "select ended_at, key from run where ended_at < ? and (ended_at, key) > (?, ?)"
                " order by ended_at, key limit ?"
            )
            old = self._read(sql, (before, ended_at, key, RUNS_PER_STEP))
            if not old:
                break
            ended_at, key = old[-1]
            removed += self._forget_runs([run for _, run in old])
        return removed

    def _forget_runs(self, runs: list[int]) -> int:
        if not runs:
            return 0
        with self._step():
            return self._delete(runs)

    def _delete(self, runs: Collection[int]) -> int:
        """Delete runs that nothing alive depends on; returns how many."""
        db = self._writer
        used = (
            "select 1 from node n where n.run = j.value and ("
            "exists (select 1 from edge e join node c on c.key = e.child join run o on o.key = c.run"
            " where e.parent = n.key and c.run != n.run and o.ended_at is null)"
            " or exists (select 1 from node c join run o on o.key = c.run"
            " where c.source = n.id and c.run != n.run and o.ended_at is null))"
        )
        found = db.execute(
            f"select j.value from json_each(?) j where not exists ({used})", (json.dumps(list(runs)),)
        ).fetchall()
        keys = json.dumps([key for (key,) in found])
        mine = "in (select key from node where run in (select value from json_each(?)))"
        for table in ("page", "part", "segment", "log", "said", "blob"):
            db.execute(f"delete from {table} where node {mine}", (keys,))
        for column in ("child", "parent"):
            db.execute(f"delete from edge where {column} {mine}", (keys,))
        now = self._clock.now()
        db.execute(
            "insert or replace into gone select id, ? from run where key in (select value from json_each(?))",
            (now, keys),
        )
        for table in ("node", "memo"):
            db.execute(f"delete from {table} where run in (select value from json_each(?))", (keys,))
        return db.execute("delete from run where key in (select value from json_each(?))", (keys,)).rowcount

    def _compact(self) -> None:
        """Give what is free back to the disk, in pieces that hold up nobody."""
        with self._lock, contextlib.suppress(sqlite3.Error, StoreUnavailable):
            before, free = inf, self._free_pages()
            while 0 < free < before:
                # A script: each page is a step of its own, and `execute` takes only the first.
                self._patiently(
                    lambda: self._writer.executescript(f"pragma incremental_vacuum({VACUUM_PAGES})")
                )
                before, free = free, self._free_pages()
            self._writer.execute("pragma wal_checkpoint(truncate)").fetchall()

    def _free_pages(self) -> int:
        return int(self._read("pragma freelist_count")[0][0])

    def _compact_to(self, size_bytes: int) -> bool:
        """Whether the file is no larger than that, once what is free was given back."""
        if self._size() > size_bytes:
            self._compact()
        return self._size() <= size_bytes

    def _size(self) -> int:
        pages = self._read("pragma page_count")[0][0]
        return int(pages * self._read("pragma page_size")[0][0])

    def _sweep_blobs(self, age_s: float) -> int:
        with self._one_moment():
            keep = {name for (name,) in self._read("select name from blob")}
            functions = [name for (name,) in self._read("select distinct fn from node")]
        for name in functions:
            keep.add(name)
            with contextlib.suppress(ResultExpired):
                keep.update(blob_names(self.blobs.open(name)))
        return self.blobs.sweep(keep, age_s=max(age_s, 3600.0))
