"""`SQLResults`: results in two tables of a database, through SQLAlchemy; it is imported here only.

::

    taskflow_results   id, status, name, args, kwargs, result, traceback, worker, queue, retries, date_done, …
    taskflow_groups    id, members, date_done

Everything but ``sealed`` is text, numbers and times in UTC, for whoever reads it with SQL.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from typing import Any

from taskflow.clock import Clock, SystemClock
from taskflow.errors import ConfigError, MissingExtra, StoreUnavailable
from taskflow.records import GroupRecord, ResultRecord

__all__ = ["SQLResults"]

_WAIT_S = 10


class SQLResults:
    """Results in a database.

    Connections are made when they are needed, anew in each process.

    Args:
        url: As SQLAlchemy has it, without ``db+``.
        clock: Tells how old something is.

    Raises:
        MissingExtra: SQLAlchemy, or the driver of that database, is not installed.
        ConfigError: SQLAlchemy cannot read the URL.
    """

    def __init__(self, url: str, clock: Clock | None = None) -> None:
        self._sql = _sqlalchemy()
        self._url = _with_driver(url)
        self._clock = clock or SystemClock()
        self._results, self._groups = _tables(self._sql)
        self._pid = 0
        self._made: Any = None
        self._make()

    def put(self, record: ResultRecord, /) -> None:
        """See `Results.put`."""
        table = self._results
        row = {name: getattr(record, name) for name in ResultRecord.__dataclass_fields__}
        row = {name: _storable(value) for name, value in row.items()} | {"date_done": _when(record.date_done)}
        self._upsert(table, row, table.c.fence <= record.fence)

    def get(self, id: str, /) -> ResultRecord | None:  # noqa: A002 - what the attribute is called
        """See `Results.get`."""
        row = self._row(self._results, id)
        return None if row is None else ResultRecord(**{**row, "date_done": _since(row["date_done"])})

    def put_group(self, record: GroupRecord, /) -> None:
        """See `Results.put_group`."""
        members = json.dumps(record.members)
        row = {"id": record.id, "members": members, "date_done": _when(record.date_done)}
        self._upsert(self._groups, row, self._sql.true())

    def get_group(self, id: str, /) -> GroupRecord | None:  # noqa: A002 - what the attribute is called
        """See `Results.get_group`."""
        row = self._row(self._groups, id)
        if row is None:
            return None
        return GroupRecord(id, tuple(json.loads(row["members"])), _since(row["date_done"]))

    def delete(self, id: str, /) -> bool:  # noqa: A002 - what the attribute is called
        """See `Results.delete`."""
        with self._step() as step:
            gone = [step.execute(t.delete().where(t.c.id == id)).rowcount for t in self._tables()]
        return any(gone)

    def sweep(self, age_s: float, /) -> int:
        """See `Results.sweep`."""
        before = _when(self._clock.now()) - timedelta(seconds=age_s)
        with self._step() as step:
            gone = [step.execute(t.delete().where(t.c.date_done < before)).rowcount for t in self._tables()]
        return sum(gone)

    def close(self) -> None:
        """See `Results.close`."""
        if self._made is not None and self._pid == os.getpid():
            self._made.dispose()
        self._made = None

    def _tables(self) -> tuple[Any, Any]:
        return self._results, self._groups

    def _row(self, table: Any, id: str) -> Mapping[str, Any] | None:  # noqa: A002 - as above
        with self._step() as step:
            found = step.execute(table.select().where(table.c.id == id)).mappings().first()
        return None if found is None else dict(found)

    def _upsert(self, table: Any, row: Mapping[str, Any], unless: Any) -> None:
        """Change a row where a condition holds, or add it; two who do so at once end with one row."""
        change = table.update().where(table.c.id == row["id"], unless).values(**row)
        known = self._sql.select(table.c.id).where(table.c.id == row["id"])
        with self._step() as step:
            if step.execute(change).rowcount or step.execute(known).first():
                return
            try:
                with step.begin_nested():
                    step.execute(table.insert().values(**row))
            except self._sql.exc.IntegrityError:
                step.execute(change)

    @contextmanager
    def _step(self) -> Iterator[Any]:
        """A transaction."""
        try:
            with self._make().begin() as step:
                yield step
        except self._sql.exc.OperationalError as error:
            raise StoreUnavailable(f"The database for results does not answer: {error.orig}") from error

    def _make(self) -> Any:
        """The connections of this process, and the tables."""
        if self._made is None or self._pid != os.getpid():
            if self._made is not None:  # those of the process that this one is a fork of stay its own
                self._made.dispose(close=False)
            self._made, self._pid = self._connect(), os.getpid()
            try:
                self._results.metadata.create_all(self._made)
            except self._sql.exc.OperationalError as error:
                if "exist" not in str(error):  # another process has just made them
                    raise StoreUnavailable(
                        f"The database for results cannot be opened: {error.orig}"
                    ) from error
            except (self._sql.exc.IntegrityError, self._sql.exc.ProgrammingError) as error:
                if "exist" not in str(error):
                    raise
        return self._made

    def _connect(self) -> Any:
        try:
            url = self._sql.make_url(self._url)
            late = {"timeout": _WAIT_S} if url.get_backend_name() == "sqlite" else {}
            return self._sql.create_engine(url, connect_args=late, pool_pre_ping=True, pool_size=2)
        except (self._sql.exc.ArgumentError, self._sql.exc.NoSuchModuleError) as error:
            raise ConfigError(f"db+{self._url}: {error}.") from error
        except ModuleNotFoundError as error:
            raise MissingExtra(
                f"The driver of this database is not installed: pip install {error.name}"
            ) from error


def _sqlalchemy() -> Any:
    try:
        import sqlalchemy
    except ModuleNotFoundError as error:
        raise MissingExtra(
            'Results in a database need SQLAlchemy: pip install "jupyter-taskflow[sqlalchemy]"'
        ) from error
    return sqlalchemy


def _tables(sql: Any) -> tuple[Any, Any]:
    column, text = sql.Column, sql.Text
    names = sql.MetaData()
    results = sql.Table(
        "taskflow_results",
        names,
        column("id", sql.String(255), primary_key=True),
        column("status", sql.String(50), nullable=False, index=True),
        column("name", sql.String(255), nullable=False, index=True),
        *(column(name, text, nullable=False) for name in ("args", "kwargs", "result", "traceback")),
        column("worker", sql.String(255), nullable=False),
        column("queue", sql.String(255), nullable=False),
        column("retries", sql.Integer, nullable=False),
        column("date_done", sql.DateTime, nullable=False, index=True),
        column("run", sql.String(255), nullable=False, index=True),
        column("fence", sql.BigInteger, nullable=False),
        column("sealed", sql.LargeBinary, nullable=False),
    )
    groups = sql.Table(
        "taskflow_groups",
        names,
        column("id", sql.String(255), primary_key=True),
        column("members", text, nullable=False),
        column("date_done", sql.DateTime, nullable=False, index=True),
    )
    return results, groups


def _with_driver(url: str) -> str:
    """The same URL, for the driver of PostgreSQL that is installed where it names none."""
    scheme, found, rest = url.partition("://")
    if scheme in ("postgresql", "postgres"):
        scheme = "postgresql" if find_spec("psycopg2") is not None else "postgresql+psycopg"
    return f"{scheme}{found}{rest}"


def _storable(value: Any) -> Any:
    """Text without the one character that PostgreSQL's cannot hold."""
    return value.replace("\0", "\N{REPLACEMENT CHARACTER}") if isinstance(value, str) else value


def _when(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None)


def _since(when: datetime) -> float:
    return when.replace(tzinfo=UTC).timestamp()
