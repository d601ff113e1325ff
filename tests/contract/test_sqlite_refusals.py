"""Files that are not one's own, not closed to others, or no store: refused, with the cure."""

from __future__ import annotations

import os
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from taskflow.errors import ConfigError, StoreError, VersionMismatch
from taskflow.records import Note, Said
from taskflow.stores import open_store
from taskflow.stores.sqlite import SQLiteStore
from taskflow.stores.sqlite_schema import VERSION
from tests.contract import sharing

AS_ROOT = pytest.mark.skipif(os.getuid() != 0, reason="giving a file away needs rights")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    tmp_path.chmod(0o700)
    return tmp_path / "runs.db"


@pytest.fixture
def made(path: Path) -> Path:
    """A store that is there already."""
    store = SQLiteStore(path)
    store.submit([sharing.call()])
    store.close()
    return path


def test_what_is_made_is_private(made: Path) -> None:
    side = made.with_name("runs.db.d")

    assert made.stat().st_mode & 0o777 == 0o600
    assert [place.stat().st_mode & 0o777 for place in (side, side / "blobs")] == [0o700] * 2


@pytest.mark.parametrize("mode", [0o644, 0o660, 0o602])
def test_a_file_that_others_may_open_is_refused(made: Path, mode: int) -> None:
    made.chmod(mode)

    with pytest.raises(ConfigError, match=rf"open to other users.*Run: chmod 600 .*{made.name}"):
        SQLiteStore(made)


@AS_ROOT
def test_a_file_of_another_user_is_refused(made: Path) -> None:
    os.chown(made, 12345, 12345)

    with pytest.raises(ConfigError, match=r"belongs to another user.*Use a file of your own"):
        SQLiteStore(made)


@AS_ROOT
def test_a_directory_of_another_user_beside_the_file_is_refused(made: Path) -> None:
    os.chown(made.with_name("runs.db.d"), 12345, 12345)

    with pytest.raises(ConfigError, match=r"must be a directory of your own.*chmod 700"):
        SQLiteStore(made)


def test_a_directory_that_others_may_write_to_is_refused(made: Path) -> None:
    made.parent.chmod(0o777)

    with pytest.raises(ConfigError, match=r"Others can write to .*Run: chmod go-w"):
        SQLiteStore(made)


def test_a_directory_like_tmp_is_enough(made: Path) -> None:
    """Others may write there, but not touch what is one's own."""
    made.parent.chmod(0o1777)

    SQLiteStore(made).close()


def test_a_side_directory_that_others_may_enter_is_refused(made: Path) -> None:
    made.with_name("runs.db.d").chmod(0o755)

    with pytest.raises(ConfigError, match=r"Run: chmod 700 .*runs\.db\.d"):
        SQLiteStore(made)


def test_a_symbolic_link_is_refused(made: Path) -> None:
    link = made.with_name("link.db")
    link.symlink_to(made)

    with pytest.raises(ConfigError, match="symbolic link"):
        SQLiteStore(link)


def test_a_link_in_place_of_the_side_directory_is_refused(path: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    path.with_name("runs.db.d").symlink_to(elsewhere)

    with pytest.raises(ConfigError, match="must be a directory of your own"):
        SQLiteStore(path)
    assert list(elsewhere.iterdir()) == []


def test_a_dangling_link_is_not_followed(path: Path, tmp_path: Path) -> None:
    path.symlink_to(tmp_path / "victim")

    with pytest.raises(ConfigError):
        SQLiteStore(path)
    assert not (tmp_path / "victim").exists()


def test_a_directory_is_no_store(path: Path) -> None:
    path.mkdir(mode=0o700)

    with pytest.raises(ConfigError, match="is a directory or device, not a file"):
        SQLiteStore(path)


def test_a_file_that_is_no_database_is_left_alone(path: Path) -> None:
    text = b"my thesis\n" * 1000
    path.write_bytes(text)
    path.chmod(0o600)

    with pytest.raises(ConfigError, match=r"is not a taskflow store .*Give another path"):
        SQLiteStore(path)
    assert path.read_bytes() == text


def test_a_database_of_another_program_is_left_alone(path: Path) -> None:
    db = sqlite3.connect(path)
    db.execute("create table recipes(name)")
    db.commit()
    db.close()
    path.chmod(0o600)
    before = path.read_bytes()

    with pytest.raises(ConfigError, match=r"belongs to another program.*Give another path"):
        SQLiteStore(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("version", [6, VERSION + 1, "x"])
def test_a_store_of_another_release_is_refused(made: Path, version: object) -> None:
    db = sqlite3.connect(made)
    db.execute("update meta set value=? where key='schema'", (version,))
    db.commit()
    db.close()

    with pytest.raises(VersionMismatch, match=f"has schema {version}.*Use the release that wrote it"):
        SQLiteStore(made)


def test_a_store_of_the_release_before_gets_what_it_lacks(made: Path) -> None:
    store = SQLiteStore(made)
    store.close()
    db = sqlite3.connect(made)
    db.execute("drop table said")
    db.execute("update meta set value=7 where key='schema'")
    db.commit()
    db.close()

    store = SQLiteStore(made)
    (lease,) = store.claim(sharing.want())
    store.note([Note(lease.key, "progress", {"done": 1})])
    assert [dict(row.said) for row in store.items(lease.key.node)] == [
        {"progress": Said("progress", {"done": 1}, None, lease.key.fence)}
    ]
    store.close()
    SQLiteStore(made).close()


def test_a_file_that_was_cut_off_is_named(made: Path) -> None:
    store = SQLiteStore(made)
    for _ in range(200):
        store.submit([sharing.call(args=os.urandom(500))])
    store.sweep(age_s=1e9, size_bytes=1 << 40)
    store.close()
    with made.open("r+b") as file:
        file.truncate(20_000)

    with pytest.raises((ConfigError, StoreError)) as caught:
        SQLiteStore(made).submit([sharing.call()])

    assert "not a taskflow store" in str(caught.value) or "runs.db" in str(caught.value)


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "disk"
    place.mkdir(mode=0o700)
    if subprocess.run(
        ["mount", "-t", "tmpfs", "none", str(place)], check=False, capture_output=True
    ).returncode:
        pytest.skip("mounting needs rights")
    place.chmod(0o700)
    SQLiteStore(place / "runs.db").close()
    subprocess.run(["mount", "-o", "remount,ro", str(place)], check=True)
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_file_that_cannot_be_written_to_is_refused(read_only: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot be read and written.*read-only"):
        SQLiteStore(read_only / "runs.db")


def test_no_store_can_be_made_where_nothing_can_be_written(read_only: Path) -> None:
    with pytest.raises(ConfigError, match="new"):
        SQLiteStore(read_only / "new" / "runs.db")


def test_a_url_with_a_mistake_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'sqlite'"):
        open_store("sqllite:///x.db")
    with pytest.raises(ConfigError, match="Did you mean 'sync'"):
        open_store("sqlite:////tmp/x.db?sink=full")
    with pytest.raises(ConfigError, match="names no file"):
        open_store("sqlite:///")
