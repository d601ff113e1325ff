"""How a script ends: at its end, by Ctrl-C, by a kill; and what it leaves behind."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from taskflow import Client
from taskflow.states import State
from tests.acceptance.stage import Script, processes_of, run_script, until

Run = Callable[..., Script]


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    started: list[Script] = []

    def start(source: str, *args: str) -> Script:
        started.append(Script(tmp_path, source, *args))
        return started[-1]

    yield start
    for script in started:
        script.stop()
        until(lambda url=script.url: not processes_of(url), 10)  # type: ignore[misc]


BLOCKED = """
import taskflow, time
client = taskflow.Client(workers=1{more})
future = client.submit(time.sleep, 60)
while not future.running():
    time.sleep(0.01)
print(future.id)
{wait}
"""


def test_a_script_waits_for_what_it_submitted(tmp_path: Path) -> None:
    out = run_script(
        tmp_path,
        """
import taskflow, time

def late(x):
    time.sleep(0.3)
    return x

client = taskflow.Client(workers=2)
client.submit(late, 1).add_done_callback(lambda f: print("done", f.result()))
client.map(late, [1, 2])
print("end")
""",
    )

    assert out.split("\n")[:2] == ["end", "done 1"]
    with Client(f"sqlite:///{tmp_path / 'runs.db'}", workers=0) as client:
        assert set(client.runs()["state"]) == {"succeeded"}


def test_a_script_with_nothing_pending_ends_at_once(run: Run) -> None:
    script = run(
        "import taskflow\nclient = taskflow.Client(workers=2)\n"
        "print(client.submit(abs, -1).result(), flush=True)\nprint('end')"
    )
    assert script.line() == "1"
    assert script.line() == "end"
    began = time.monotonic()

    code, _, err = script.end()

    assert (code, err) == (0, "")
    assert time.monotonic() - began < 4.5  # not until its worker is given up
    until(lambda: not processes_of(script.url))


def test_a_script_that_never_used_its_client_ends(run: Run) -> None:
    script = run("import taskflow\nclient = taskflow.Client(workers=2)")

    assert script.end(10) == (0, "", "")
    until(lambda: not processes_of(script.url))


def test_a_script_that_fails_shows_its_own_error_only(run: Run) -> None:
    script = run(
        "import taskflow\nclient = taskflow.Client(workers=1)\nclient.submit(abs, -1).result()\n1 / 0"
    )

    code, _, err = script.end()

    assert code == 1
    assert err.strip().splitlines()[-1] == "ZeroDivisionError: division by zero"
    assert "taskflow" not in err


def test_no_worker_is_no_reason_to_hang_at_exit(run: Run) -> None:
    script = run("import taskflow\ntaskflow.Client(workers=0).submit(abs, -1)")

    assert script.end(10)[0] == 0


@pytest.mark.parametrize(
    "wait",
    [
        "future.result()",
        "client.gather([future, client.submit(time.sleep, 60)])",
        "list(client.as_completed([future]))",
        "import asyncio\nasync def main(): await future\nasyncio.run(main())",
    ],
    ids=["result", "gather", "as_completed", "await"],
)
def test_ctrl_c_ends_a_wait_at_once_and_cancels(run: Run, wait: str) -> None:
    script = run(BLOCKED.format(more="", wait=wait))
    name = script.line()
    time.sleep(0.2)  # nothing tells that it blocks now
    began = time.monotonic()

    os.kill(script.process.pid, signal.SIGINT)
    code, _, err = script.end(10)

    assert time.monotonic() - began < 8
    assert code != 0
    assert err.strip().endswith("KeyboardInterrupt")
    with Client(script.url, workers=0) as client:
        assert client.attach(name).state is State.CANCELLED
        assert all(state in ("cancelled", "succeeded") for state in client.runs()["state"])


def test_ctrl_c_in_a_map_cancels_the_map(run: Run) -> None:
    script = run(
        "import taskflow, time\nclient = taskflow.Client(workers=1)\n"
        "run = client.map(time.sleep, [0, 60, 60])\n"
        "for _ in run: print(run.id)"
    )
    name = script.line()
    time.sleep(0.1)

    os.kill(script.process.pid, signal.SIGINT)

    assert script.end(10)[0] != 0
    with Client(script.url, workers=0) as client:
        assert client.attach(name).results("skip") == [None]


def test_a_wait_ends_within_half_a_second_of_ctrl_c(run: Run) -> None:
    wait = """
for _ in range(3):
    try:
        print("waits", flush=True)
        future.result()
    except KeyboardInterrupt:
        print(time.time(), flush=True)
    future = client.submit(time.sleep, 60)
future.cancel()
print(client.submit(abs, -1).result())
"""
    script = run(BLOCKED.format(more="", wait=wait))
    script.line()

    def answered_s() -> float:
        assert script.line() == "waits"
        time.sleep(0.2)
        sent = time.time()
        os.kill(script.process.pid, signal.SIGINT)
        return float(script.line()) - sent

    assert min([answered_s() for _ in range(3)]) < 0.5  # the machine may be busy
    assert script.line() == "1"


def test_ctrl_c_cancels_nothing_when_told_so(run: Run) -> None:
    script = run(BLOCKED.format(more=", cancel_on_interrupt=False", wait="future.result()"))
    name = script.line()
    time.sleep(0.2)

    os.kill(script.process.pid, signal.SIGINT)

    assert script.end(10)[0] != 0
    with Client(script.url, workers=0) as client:
        assert client.future(name).state in (State.QUEUED, State.RUNNING)


def test_a_killed_client_takes_its_workers_with_it(run: Run) -> None:
    script = run(BLOCKED.format(more="", wait="future.result()"))
    name = script.line()
    assert processes_of(script.url)

    script.process.kill()

    until(lambda: not processes_of(script.url))
    with Client(script.url, workers=0) as client:
        until(lambda: client.future(name).state is State.QUEUED)


def test_detached_workers_outlive_the_script(run: Run) -> None:
    script = run(
        "import taskflow\nclient = taskflow.Client(workers=1, detach=True)\n"
        "print(client.submit(abs, -1).result())\nprint(client.submit(abs, -2).id)"
    )
    assert script.line() == "1"
    name = script.line()
    assert script.end(10)[0] == 0

    workers = processes_of(script.url)
    try:
        assert workers
        with Client(script.url, workers=0) as client:
            assert client.future(name).result(10) == 2
    finally:
        for pid in workers:
            with suppress(ProcessLookupError):  # it went with one of the others
                os.kill(pid, signal.SIGKILL)


def test_a_forked_child_is_told_to_open_its_own_client(run: Run) -> None:
    script = run(
        """
import os, sys, taskflow

client = taskflow.Client(workers=1)
pending = client.options(countdown=0.5).submit(abs, -1)
run = client.options(countdown=0.5).map(abs, [-1])

def attempt(what):
    try:
        what()
    except taskflow.errors.TaskflowError as error:
        print(str(error)[:49])
    else:
        print("no error")

client.flush()
child = os.fork()
if child == 0:
    attempt(lambda: client.submit(abs, -2))
    attempt(lambda: pending.result(1))
    attempt(lambda: run.results())
    attempt(lambda: client.runs())
    attempt(lambda: client.workers())
    client.shutdown()
    sys.exit(0)
print(os.waitpid(child, 0)[1], pending.result(), run.results())
""",
    )

    code, out, err = script.end()

    assert code == 0, err
    assert out.splitlines()[:-1] == ["This client was opened before the process forked,"] * 5
    assert out.splitlines()[-1] == "0 1 [1]"


def test_a_client_can_be_opened_after_a_fork(run: Run) -> None:
    script = run(
        """
import os, sys, taskflow

client = taskflow.Client(workers=1)
print(client.submit(abs, -1).result(), flush=True)
child = os.fork()
if child == 0:
    with taskflow.Client(workers=1) as own:
        print(own.submit(abs, -2).result(), flush=True)
    sys.exit(0)
os.waitpid(child, 0)
print(client.submit(abs, -3).result())
""",
    )

    assert script.end()[1].split() == ["1", "2", "3"]
