"""Places for results: the promises of every one of them, and what is special of databases."""

from __future__ import annotations

import multiprocessing
import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from taskflow.backends import Keeper, open_backend, open_keeper
from taskflow.backends.sql import SQLResults
from taskflow.codec import Keyring
from taskflow.errors import ConfigError, MissingExtra, PayloadError, RemoteError, StoreUnavailable, Untrusted
from taskflow.ports import Results
from taskflow.testing import ManualClock, ResultsContract
from tests.servers import postgresql

pytest.importorskip("sqlalchemy", reason="SQLAlchemy is not installed: pip install -e '.[sqlalchemy]'")


class TestSQLite(ResultsContract):
    @pytest.fixture
    def results(self, clock: ManualClock, tmp_path: Path) -> Iterator[Results]:
        with closing(SQLResults(f"sqlite:///{tmp_path / 'results.db'}", clock)) as results:
            yield results


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with postgresql() as url:
        yield url


class TestPostgreSQL(ResultsContract):
    @pytest.fixture
    def results(self, clock: ManualClock, server: str) -> Iterator[Results]:
        import sqlalchemy

        with closing(SQLResults(server, clock)) as results:
            yield results
            with results._make().begin() as step:
                for table in ("taskflow_results", "taskflow_groups"):
                    step.execute(sqlalchemy.text(f"delete from {table}"))

    def test_it_is_read_with_sql(self, results: SQLResults, ring: Keyring) -> None:
        import sqlalchemy

        Keeper(results, ring).keep("one", value={"total": 3}, name="shop.add", args=(1, 2))

        with results._make().begin() as step:
            question = "select name, args, result::json ->> 'total', date_done from taskflow_results"
            row = step.execute(sqlalchemy.text(question)).one()
        assert row[:3] == ("shop.add", "[1, 2]", "3")


@pytest.fixture
def ring() -> Keyring:
    return Keyring.ephemeral()


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"db+sqlite:///{tmp_path / 'results.db'}"


@pytest.fixture
def keeper(url: str, ring: Keyring) -> Iterator[Keeper]:
    keeper = open_keeper(url, ring)
    with closing(keeper.place):
        yield keeper


class Unwilling(Exception):
    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.lock = threading.Lock()


def rows(url: str, question: str) -> list[Any]:
    with closing(sqlite3.connect(url.removeprefix("db+sqlite:///"))) as file:
        return file.execute(question).fetchall()


def test_a_value_comes_back_as_it_was(keeper: Keeper) -> None:
    value = {"set": {1, 2}, "call": lambda x: x + 1}

    keeper.keep("one", value=value, name="n", args=(1,), kwargs={"k": 2}, queue="q", worker="w", run="r")

    found = keeper.find("one")
    assert found is not None
    assert (found.value["set"], found.value["call"](1)) == ({1, 2}, 2)
    assert (found.status, found.name, found.args, dict(found.kwargs)) == ("SUCCESS", "n", (1,), {"k": 2})
    assert (found.queue, found.worker, found.run, found.error) == ("q", "w", "r", None)
    assert keeper.find("two") is None


def test_an_exception_comes_back_with_its_traceback(keeper: Keeper) -> None:
    try:
        raise ValueError("broken")
    except ValueError as error:
        keeper.keep("one", error=error)

    found = keeper.find("one")

    assert found is not None
    assert (found.status, repr(found.error)) == ("FAILURE", "ValueError('broken')")
    assert "raise ValueError" in str(found.error.__cause__)  # type: ignore[union-attr]


def test_an_exception_that_cannot_be_rebuilt_comes_back_as_text(keeper: Keeper) -> None:
    keeper.keep("one", error=Unwilling("holds a lock"))

    found = keeper.find("one")

    assert found is not None
    assert isinstance(found.error, RemoteError)
    assert "holds a lock" in str(found.error)


def test_sql_reads_all_but_what_is_sealed(keeper: Keeper, url: str) -> None:
    keeper.keep("one", value=[1, {"a": None}], name="shop.add", args=(1, object), retries=2)
    keeper.keep("two", error=ValueError("broken"))
    keeper.keep_group("g", ["one", "two"])

    first, second = rows(
        url, "select id, status, name, result, args, retries from taskflow_results order by id"
    )
    assert first == ("one", "SUCCESS", "shop.add", '[1, {"a": null}]', "\"[1, <class 'object'>]\"", 2)
    assert second[:4] == ("two", "FAILURE", "", '{"type": "ValueError", "message": "broken"}')
    assert rows(url, "select id, members from taskflow_groups") == [("g", '["one", "two"]')]
    (done,) = rows(url, "select date_done > datetime('now', '-1 minute') from taskflow_results limit 1")
    assert done == (1,)


@pytest.mark.parametrize(
    "change",
    [
        "update taskflow_results set sealed = x'00'",
        "update taskflow_results set sealed = (select sealed from taskflow_results where id = 'two')",
    ],
    ids=["garbage", "that of another task"],
)
def test_what_was_altered_is_never_unpickled(keeper: Keeper, url: str, change: str) -> None:
    keeper.keep("one", value=1)
    keeper.keep("two", value=2)
    with closing(sqlite3.connect(url.removeprefix("db+sqlite:///"))) as file, file:
        file.execute(change)

    with pytest.raises(Untrusted):
        keeper.find("one")


def test_what_another_user_has_written_is_never_unpickled(keeper: Keeper, url: str) -> None:
    with closing(open_keeper(url, Keyring.ephemeral()).place) as theirs:
        Keeper(theirs, Keyring.ephemeral()).keep("one", value=1)

    with pytest.raises(Untrusted):
        keeper.find("one")


def test_a_word_for_the_state_that_was_altered_is_not_believed(keeper: Keeper, url: str) -> None:
    keeper.keep("one", error=ValueError("broken"))
    with closing(sqlite3.connect(url.removeprefix("db+sqlite:///"))) as file, file:
        file.execute("update taskflow_results set status = 'SUCCESS', result = '7'")

    found = keeper.find("one")

    assert found is not None
    assert (found.status, found.value, str(found.error)) == ("FAILURE", None, "broken")


def test_what_needs_a_module_that_is_not_here_says_so(keeper: Keeper, monkeypatch: Any) -> None:
    import types

    module = types.ModuleType("gone_tomorrow")
    exec("class Thing: pass", module.__dict__)
    module.__dict__["Thing"].__module__ = "gone_tomorrow"
    monkeypatch.setitem(__import__("sys").modules, "gone_tomorrow", module)
    keeper.keep("one", value=module.__dict__["Thing"]())
    monkeypatch.delitem(__import__("sys").modules, "gone_tomorrow")

    with pytest.raises(PayloadError, match="gone_tomorrow"):
        keeper.find("one")


def test_a_fork_has_connections_of_its_own(keeper: Keeper, url: str) -> None:
    keeper.keep("parent", value=os.getpid())
    context = multiprocessing.get_context("fork")
    children = [
        context.Process(target=keeper.keep, args=(f"child {n}",), kwargs={"value": n}) for n in range(3)
    ]

    for child in children:
        child.start()
    for child in children:
        child.join()

    assert [child.exitcode for child in children] == [0, 0, 0]
    assert rows(url, "select count(*) from taskflow_results") == [(4,)]
    assert keeper.find("parent") is not None


def test_a_place_that_is_none_is_named_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no place for results 'dbb\+sqlite'.*db\+sqlite://"):
        open_backend("dbb+sqlite:///x.db")
    with pytest.raises(ConfigError, match="nosuch"):
        open_backend("db+nosuch://x")
    with pytest.raises(StoreUnavailable, match="cannot be opened"):
        open_backend(f"db+sqlite:///{tmp_path / 'no' / 'such' / 'folder.db'}")


def test_without_sqlalchemy_the_error_is_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "sqlalchemy", None)

    with pytest.raises(MissingExtra, match=r'pip install "jupyter-taskflow\[sqlalchemy\]"'):
        open_backend("db+sqlite:///x.db")
