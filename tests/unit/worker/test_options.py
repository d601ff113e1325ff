"""The options of a worker process, Celery's names among them."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from taskflow.errors import ConfigError
from taskflow.worker.daemon import Pidfile, become
from taskflow.worker.options import expanded, read
from taskflow.worker.sources import Sources


@pytest.mark.parametrize(
    ("argv", "name", "value"),
    [
        (["-c", "4"], "slots", 4),
        (["--concurrency=4"], "slots", 4),
        (["--pool", "prefork"], "pool", "process"),
        (["--pool", "threads"], "pool", "thread"),
        (["--loglevel", "INFO"], "loglevel", "info"),
        (["--loglevel", "Fatal"], "loglevel", "critical"),
        (["--recycle-kb", "204800"], "recycle_mb", 200),
        (["--time-limit", "1.5"], "time_limit", 1.5),
        (["--umask", "022"], "umask", 0o22),
        (["--logfile", "-"], "logfile", None),
        (["--name", "w1@here", "--logfile", "%n%I.log"], "logfile", "w1.log"),
    ],
)
def test_celerys_words_mean_what_they_mean(argv: list[str], name: str, value: object) -> None:
    assert getattr(read(argv), name) == value


def test_solo_is_one_call_at_a_time() -> None:
    options = read(["--pool", "solo", "--autoscale", "8,2"])

    assert (options.pool, options.slots, options.autoscale) == ("process", 1, None)


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--pool", "gevent"], "use --pool async"),
        (["--pool", "proces"], "Did you mean 'process'?"),
        (["--time-limit", "5", "--soft-time-limit", "5"], "must be shorter"),
        (["--time-limit", "-1"], "is no time"),
        (["--umask", "9"], "octal"),
        (["-Q", "a,b", "-X", "b,a"], "every queue is excluded"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_the_cure(
    argv: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        read(argv)

    assert stop.value.code == 2
    assert said in capsys.readouterr().err


def test_queues_are_served_but_for_those_that_are_excluded() -> None:
    assert read(["-Q", "a,b,c", "-X", "b,none"]).queues.names == ("a", "c")


def test_abbreviations_are_written_out() -> None:
    host = socket.gethostname()

    assert expanded("w@%h") == f"w@{host}"
    assert expanded("/run/%n.pid", "w1@there") == "/run/w1.pid"
    assert expanded("%p and %z, 5%%", "w1@there") == "w1@there and %z, 5%"


# ── a pid file ───────────────────────────────────────────────────────────────────────


def test_a_pid_file_says_who_runs_and_is_removed_by_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "run" / "w.pid"
    file = Pidfile(str(path))
    assert Pidfile.read(str(path)) is not None

    path.write_text("1\n")
    file.remove()
    assert path.exists()
    Pidfile(str(path)).remove()

    assert not path.exists()


def test_a_pid_file_of_a_worker_that_runs_is_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "w.pid"
    path.write_text("1\n")
    monkeypatch.setattr("taskflow.worker.daemon.is_ours", lambda pid: True)

    with pytest.raises(ConfigError, match="process 1 runs already"):
        Pidfile(str(path))

    assert path.read_text() == "1\n"


def test_a_pid_file_of_a_process_that_is_gone_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "w.pid"
    path.write_text("1\n")  # alive, but no worker

    Pidfile(str(path))

    assert path.read_text() != "1\n"


# ── source files ─────────────────────────────────────────────────────────────────────


def test_a_source_file_that_changes_appears_or_goes_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "shop").mkdir()
    file = tmp_path / "shop" / "tasks.py"
    file.write_text("a = 1\n")
    sources = Sources(str(tmp_path))
    assert sources.changed() is None

    file.write_text("a = 22\n")
    import os

    os.utime(file, ns=(1, 1))
    assert sources.changed() == str(file)
    (tmp_path / "new.py").touch()
    assert sources.changed() == str(tmp_path / "new.py")
    file.unlink()
    assert sources.changed() == str(file)
    assert sources.changed() is None


def test_files_of_environments_and_hidden_folders_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "env").mkdir()
    (tmp_path / "env" / "pyvenv.cfg").touch()
    (tmp_path / ".git").mkdir()
    sources = Sources(str(tmp_path))

    for folder in ("env", ".git"):
        (tmp_path / folder / "a.py").touch()
    (tmp_path / "notes.txt").touch()

    assert sources.changed() is None


# ── another user ─────────────────────────────────────────────────────────────────────


def test_a_process_becomes_another_user() -> None:
    import os
    import subprocess
    import sys

    if os.getuid() != 0:
        pytest.skip("only root can be another user")
    code = (
        "import os; from taskflow.worker.daemon import become; become('nobody', None, 0o27);"
        "print(os.getuid() == os.geteuid() != 0, os.getgid() != 0, oct(os.umask(0)))"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout == "True True 0o27\n"


def test_a_user_that_is_not_there_is_said() -> None:
    with pytest.raises(ConfigError, match="no such user"):
        become("nobody-of-that-name", None, None)
