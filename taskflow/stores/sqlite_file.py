"""The file itself: opened with care, written step by step, its errors explained."""

from __future__ import annotations

import contextlib
import logging
import os
import random
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from taskflow import faults
from taskflow.blobs.files import FileBlobs
from taskflow.clock import Clock, SystemClock
from taskflow.errors import (
    ConfigError,
    QueueFull,
    StoreUnavailable,
    VersionMismatch,
)
from taskflow.ports import Blobs
from taskflow.states import TERMINAL
from taskflow.stores.bells import Bells, SocketBell
from taskflow.stores.place import private_directory, private_file, url_of
from taskflow.stores.sqlite_columns import compact
from taskflow.stores.sqlite_rows import Known, SqliteRows
from taskflow.stores.sqlite_schema import ADDED, SCHEMA, VERSION

__all__ = ["CURSOR_BITS", "STEP", "WAL_BYTES", "SqliteFile"]

log = logging.getLogger(__name__)

EVENTS_PER_ROW = 10_000
WAL_BYTES = 8 << 20
STEPS_PER_CHECKPOINT = 100
ROWS_KNOWN = 5000
CURSOR_BITS = 16
STEP = ("step.before", "step.inside", "step.after")
_TABLES = "select name from sqlite_master where type='table'"
_HAS_TABLES = "select 1 from sqlite_master where name='meta'"


class SqliteFile:
    """An open file, with one connection that writes and one that reads; arguments as `SQLiteStore`'s."""

    def __init__(
        self, path: str | Path, *, clock: Clock | None = None, sync: str = "normal", wait_s: float = 20.0
    ) -> None:
        if sync not in ("normal", "full"):
            raise ConfigError(f"sync={sync!r} is not known: use 'normal' or 'full'.")
        self.path = Path(path).expanduser().absolute()
        self.url = url_of(self.path, sync)
        self._clock = clock or SystemClock()
        self._sync = sync
        self._wait_s = wait_s
        self._lock = threading.RLock()
        self._read_lock = threading.RLock()
        side = private_directory(self.path)
        self._steps = self._checkpointed = 0
        self._known = Known()
        self._known_version: int | None = None
        self._checkpointer = threading.Thread()
        self._bells = Bells(side / "bells")
        self._writer = self._connect()
        self._reader = self._connect()
        try:
            with self._explained():
                self._make_tables()
        except BaseException:
            self.close()
            raise
        self._opened = self._which()
        self.blobs: Blobs = FileBlobs(side / "blobs")

    def epoch(self) -> str:
        """See `WatchPort.epoch`: which file it is. One that was removed, or replaced, is opened anew."""
        with self._lock, self._read_lock:
            if self._which() != self._opened:
                log.warning("%s was removed or replaced: what it held is lost", self.path)
                self._reopen()
            return self._opened

    def _which(self) -> str:
        try:
            found = self.path.stat()
        except FileNotFoundError:
            return ""
        return f"{found.st_dev}:{found.st_ino}"

    def _reopen(self) -> None:
        private_directory(self.path)
        if not self._which():
            # What SQLite kept beside the file that is gone is no part of the new one.
            for beside in ("-wal", "-shm"):
                Path(f"{self.path}{beside}").unlink(missing_ok=True)
        writer, reader = self._connect(), self._connect()
        self._known.clear()
        self._reader.close()
        self._writer.close()
        self._writer, self._reader = writer, reader
        with self._explained():
            self._make_tables()
        self._opened = self._which()

    def _connect(self) -> sqlite3.Connection:
        private_file(self.path)
        with self._explained():
            db = sqlite3.connect(
                self.path, isolation_level=None, timeout=0, check_same_thread=False, cached_statements=256
            )
            try:
                self._prepare(db)
            except BaseException:
                db.close()
                raise
        return db

    def _prepare(self, db: sqlite3.Connection) -> None:
        if not self._patiently(lambda: db.execute("pragma page_count").fetchone())[0]:
            self._patiently(lambda: db.execute("pragma auto_vacuum=incremental"))
        else:
            self._refuse_foreign(self._patiently(lambda: db.execute(_TABLES).fetchall()))
        self._patiently(lambda: db.execute("pragma journal_mode=wal"))
        for pragma in (
            f"synchronous={self._sync}",
            "wal_autocheckpoint=0",
            "temp_store=memory",
            "cache_size=-16000",
        ):
            db.execute(f"pragma {pragma}")

    def _refuse_foreign(self, tables: list[tuple[str]]) -> None:
        if tables and ("meta",) not in tables:
            raise ConfigError(
                f"{self.path} is no taskflow store: it belongs to another program. Give another path."
            )

    def _make_tables(self) -> None:
        """Make the tables where there are none; a store that has them is opened without a lock."""
        if not self._read(_HAS_TABLES):
            with self._lock:
                self._begin()
                try:
                    if not self._writer.execute(_HAS_TABLES).fetchone():
                        self._write_tables()
                    self._writer.execute("commit")
                except BaseException:
                    self._writer.execute("rollback")
                    raise
        version = self._version()
        if isinstance(version, int) and version < VERSION and version + 1 in ADDED:
            self._upgrade()
            version = self._version()
        if version != VERSION:
            raise VersionMismatch(
                f"{self.path} has schema {version}, this release of taskflow reads {VERSION}."
                " Use the release that wrote it, or another file."
            )

    def _version(self) -> Any:
        found = self._read("select value from meta where key='schema'")
        return found[0][0] if found else None

    def _upgrade(self) -> None:
        """Add what a file of an earlier release lacks; another process may be doing the same."""
        with self._lock:
            self._begin()
            try:
                (found,) = self._writer.execute("select value from meta where key='schema'").fetchone()
                for version in range(found + 1, VERSION + 1):
                    self._write(ADDED[version])
                self._writer.execute("update meta set value=? where key='schema'", (VERSION,))
                self._writer.execute("commit")
            except BaseException:
                self._writer.execute("rollback")
                raise

    def _write_tables(self) -> None:
        self._write(SCHEMA)
        self._writer.execute("insert into meta values('schema', ?)", (VERSION,))

    def _write(self, statements: str) -> None:
        for statement in statements.split(";"):
            if statement.strip():
                self._writer.execute(statement)

    def _patiently(self, attempt: Any) -> Any:
        """Try until the file is not locked, with short random waits, for `wait_s` at most."""
        deadline = None
        while True:
            try:
                return attempt()
            except sqlite3.OperationalError as error:
                if "locked" not in str(error) and "busy" not in str(error):
                    raise
                now = time.monotonic()
                deadline = deadline or now + self._wait_s
                if now > deadline:
                    raise StoreUnavailable(
                        f"{self.path} was locked by another process for {self._wait_s:g} s. Is one of them"
                        " stopped, or does another program have the file open?"
                    ) from error
            time.sleep(random.uniform(0.00005, 0.0005))  # noqa: S311 - spreads the waiters

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """Give SQLite's errors a name and a cure."""
        try:
            yield
        except sqlite3.Error as error:
            raise _explain(error, self.path) from error

    def _read(self, sql: str, values: Sequence[Any] = ()) -> list[Any]:
        with self._read_lock, self._explained():
            found: list[Any] = self._patiently(lambda: self._reader.execute(sql, values).fetchall())
            return found

    @contextlib.contextmanager
    def _one_moment(self) -> Iterator[None]:
        """Reads inside see the store as it was at one moment."""
        with self._read_lock, self._explained():
            if self._reader.in_transaction:
                yield
                return
            try:
                self._reader.execute("begin")
                yield
            finally:
                self._reader.commit()  # nothing when the beginning was interrupted

    @contextlib.contextmanager
    def _step(
        self,
        points: tuple[str, str, str] = STEP,
        *,
        own_bell: bool = True,
        go_on: bool = False,
        keep: bool = False,
    ) -> Iterator[SqliteRows]:
        """One transaction.

        Args:
            points: Where it can be made to fail, see `taskflow.faults`.
            own_bell: Whether listeners of this process are rung too.
            go_on: Go on with what an earlier step left to do.
            keep: The rows it reads are of use to the next step that says so.
        """
        before, inside, after = points
        with self._lock:
            faults.point(before)
            with self._explained():
                try:
                    self._begin()
                    rows = SqliteRows(
                        self._writer, self._clock.now(), go_on=go_on, known=self._rows_known(keep)
                    )
                    yield rows
                    rows.finish()
                    self._append(rows)
                    faults.point(inside)
                    self._writer.execute("commit")
                except BaseException:
                    self._known.clear()
                    with contextlib.suppress(sqlite3.Error):
                        self._writer.execute("rollback")
                    raise
            faults.point(after)
            self._steps += 1
            if self._steps % 512 == 0 and self._wal_bytes() > WAL_BYTES * 8:
                with contextlib.suppress(sqlite3.Error):
                    self._writer.execute("pragma wal_checkpoint(restart)").fetchall()
        self._ring(rows, own_bell)

    def _rows_known(self, keep: bool) -> Known:
        """Rows that were read or written by the last steps and are still as they were.

        A worker claims what it has just released, and settles what it has just claimed: while nobody else
        writes to the file, which SQLite tells by the `data_version`, nothing is to be read again.
        """
        version = self._writer.execute("pragma data_version").fetchone()[0] if keep else None
        if not keep or version != self._known_version or len(self._known.nodes) > ROWS_KNOWN:
            self._known.clear()
        self._known_version = version
        return self._known

    def _begin(self) -> None:
        if self._writer.in_transaction:  # Ctrl-C came while the last step was rolled back
            self._writer.execute("rollback")
        self._patiently(lambda: self._writer.execute("begin immediate"))

    def _append(self, rows: SqliteRows) -> None:
        events = rows.events
        for at in range(0, len(events), EVENTS_PER_ROW):
            body = compact(
                [
                    (run if run != node else "", node, lo, hi, state)
                    for run, node, lo, hi, state in events[at : at + EVENTS_PER_ROW]
                ]
            )
            self._writer.execute("insert into event(at, body) values(?, ?)", (rows.now, body))

    def _ring(self, rows: SqliteRows, own_bell: bool) -> None:
        """Wake workers when something may be claimed, and watchers when something has ended.

        That something began to run is told with the next end: nobody waits for it.
        """
        if rows.freed:
            self._bells.ring("work", others_only=not own_bell)
        if any(event[4] in TERMINAL for event in rows.events):
            self._bells.ring("watch")
        elif rows.freed:
            self._bells.ring("watch", others_only=not own_bell)

    def _wal_bytes(self) -> int:
        try:
            return os.stat(f"{self.path}-wal").st_size
        except FileNotFoundError:
            return 0

    def _checkpoint_aside(self) -> None:
        """Write the log back into the file, in a thread: it takes milliseconds, for which nobody waits.

        The log keeps its size, and is written from its beginning again: that it is long says only that it
        was.
        """
        if self._wal_bytes() <= WAL_BYTES or self._checkpointer.is_alive():
            return
        if self._steps < self._checkpointed + STEPS_PER_CHECKPOINT:
            return
        self._checkpointed = self._steps
        self._checkpointer = threading.Thread(target=self._write_back, name="taskflow-log", daemon=True)
        self._checkpointer.start()

    def _write_back(self) -> None:
        with contextlib.suppress(sqlite3.Error):
            db = sqlite3.connect(self.path, isolation_level=None, timeout=0)
            with contextlib.closing(db):
                db.execute("pragma wal_checkpoint(passive)").fetchall()

    def listen(self, topic: str, /, *, worker: str | None = None) -> SocketBell:
        """See `Store.listen`."""
        return self._bells.listen("watch" if topic == "ends" else topic)

    def hurry(self, within_s: float, /) -> None:
        """See `Store.hurry`."""
        self._wait_s = min(self._wait_s, within_s)

    def __del__(self) -> None:
        with contextlib.suppress(Exception):  # it was never opened, or the interpreter ends
            self.close()

    def close(self) -> None:
        """Close the file; a store that is forgotten is closed."""
        if self._checkpointer.is_alive():
            self._checkpointer.join()
        with self._lock, self._read_lock:
            self._bells.close()
            self._reader.close()
            self._writer.close()


def _explain(error: sqlite3.Error, path: Path) -> Exception:
    text = str(error)
    if "full" in text:
        return QueueFull(
            f"The disk that holds {path} is full; nothing was stored. Free some space and try again."
        )
    if "readonly" in text or "unable to open" in text:
        return ConfigError(
            f"{path} cannot be opened for writing ({text}). Check the path and its permissions."
        )
    if "not a database" in text or "malformed" in text:
        return ConfigError(f"{path} is not a taskflow store ({text}). Give another path, or restore a copy.")
    if "disk I/O" in text:
        return StoreUnavailable(
            f"The disk that holds {path} refuses to read or write ({text}); nothing was stored. Is it over"
            " quota, or gone? It is safe to try again."
        )
    if isinstance(error, sqlite3.OperationalError):
        return StoreUnavailable(f"{path}: {text}")
    return error
