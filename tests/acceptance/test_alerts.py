"""An alert, as it comes: tasks fail, and somebody is told within seconds, once, whoever looks."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from taskflow import Client
from taskflow.alerts import Email, Webhook
from tests.acceptance.stage import DEADLINE_S, opened, until
from tests.unit.alerts.listeners import mailbox, wall


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    with opened(tmp_path) as client:
        yield client


@pytest.fixture
def watcher(client: Client) -> Iterator[subprocess.Popen[str]]:
    """``taskflow alerts run`` in a process of its own."""
    command = [sys.executable, "-m", "taskflow", "alerts", "run", "--every", "0.2", "--url", client.url]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    assert "Looking" in process.stderr.readline()
    yield process
    process.kill()
    process.communicate()


def fail(text: str) -> None:
    raise ValueError(text)


def test_within_seconds_a_webhook_and_a_mail_tell_of_failures_and_that_they_are_over(
    client: Client, watcher: subprocess.Popen[str]
) -> None:
    """A client and a service look; each notice comes once."""
    with wall() as web, mailbox() as mail:
        places = [Webhook(web.url), Email("ops@example.org", server=mail.server)]
        client.alerts.add("failing", "failure_rate > 5% for 1s", places, window=2.0, cooldown=0.0)
        began = time.monotonic()
        while not web.posted or not mail.mails:
            client.submit(fail, "no").exception(DEADLINE_S)
            assert time.monotonic() < began + 30.0

        until(lambda: client.submit(abs, 1).result(DEADLINE_S) and len(web.posted) == len(mail.mails) == 2)

        assert [told["state"] for told in web.posted] == ["firing", "resolved"]
        assert web.posted[0]["value"] > 0.05
        assert [sent["Subject"].split(":")[0] for _, sent in mail.mails] == [
            "[taskflow] firing",
            "[taskflow] resolved",
        ]
        assert client.alerts.rows()[0]["state"] == "quiet"


def test_the_client_that_added_it_looks_by_itself_and_stops_with_it(tmp_path: Path) -> None:
    with wall() as web, opened(tmp_path) as client:
        client.alerts.add("dead", "dead > 0", Webhook(web.url))
        client.submit(fail, "no").exception(DEADLINE_S)
        until(lambda: web.posted, 30.0)
        client.shutdown()
        assert [told["alert"] for told in web.posted] == ["dead"]


def test_the_service_ends_when_it_is_told(watcher: subprocess.Popen[str]) -> None:
    watcher.send_signal(signal.SIGTERM)
    assert watcher.wait(DEADLINE_S) == 0


def told_by(notice: Any) -> None:
    with Path(os.environ["HOME"], "told").open("a") as lines:
        lines.write(f"{os.getpid()} {notice.state}\n")


def test_a_function_of_a_script_is_called_where_somebody_looks(
    client: Client, watcher: subprocess.Popen[str]
) -> None:
    """It travels as a task does."""
    from taskflow.alerts import Callback

    home = Path(os.environ["HOME"], "told")
    home.unlink(missing_ok=True)
    client.alerts.add("busy", lambda look: look.dead > 0, Callback(told_by), watch=False)
    client.submit(fail, "no").exception(DEADLINE_S)

    until(lambda: home.exists() and home.read_text())  # it is there before it is written
    assert home.read_text() == f"{watcher.pid} firing\n"
