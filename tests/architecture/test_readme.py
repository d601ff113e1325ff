"""The examples of the README run as they are printed, from top to bottom."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from taskflow import Client
from tests.servers import binary, free_port

ROOT = Path(__file__).parents[2]
MACHINES = "## More than one machine"
CELERY = "## Celery users"  # run by tests/seeds/test_docs.py
SERVER = "{} --port {} --save '' --dir ."


def readme() -> tuple[str, str]:
    """What is for one machine, and the section on several."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    before, _, rest = text.partition(MACHINES)
    section, _, after = rest.partition("\n## ")
    after = re.sub(rf"{CELERY}.*?(?=\n## )", "", "## " + after, flags=re.DOTALL)
    return before + after, section


def examples(text: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def test_the_readme_runs_as_printed(tmp_path: Path) -> None:
    script = tmp_path / "readme.py"
    script.write_text("\n".join(examples(readme()[0], "python")), encoding="utf-8")

    done = subprocess.run(
        [sys.executable, str(script)],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT), "XDG_STATE_HOME": str(tmp_path / "state")},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    squares = sum(x * x for x in range(1_000_000))
    assert done.stdout.splitlines() == [
        str(squares),
        str(2**100),
        "[1, 2, 4]",
        "3",
        "6",
        "285",
        "2",
        "6 is much",
        "7",
    ]


def test_the_readme_runs_on_two_machines_as_printed(tmp_path: Path) -> None:
    port = free_port()
    here, there = Machine(tmp_path / "here", port), Machine(tmp_path / "there", port)
    (here.bin / "redis-server").write_text(f'#!/bin/sh\nexec {SERVER} "$@"\n'.format(binary("redis"), port))
    (here.bin / "ssh").write_text(f'#!/bin/sh\nHOME={there.home} exec sh -c "$2"\n')
    for command in here.bin.iterdir():
        command.chmod(0o700)
    on_here, on_there = examples(readme()[1], "sh")
    (notebook,) = examples(readme()[1], "python")

    with ExitStack() as shells:
        shells.enter_context(here.shell(on_here + "wait"))
        until(lambda: there.key.exists() and there.key.read_bytes() and answers(port))
        shells.enter_context(there.shell(on_there))
        done = subprocess.run(
            [sys.executable, "-c", here.local("import taskflow\n" + notebook)],
            env=here.environment,
            cwd=here.home,
            capture_output=True,
            text=True,
            timeout=40,
            check=False,
        )

    assert done.stdout.splitlines() == [str(2**100)], done.stderr
    assert here.key.read_bytes() == there.key.read_bytes()


def answers(port: int) -> bool:
    """Whether somebody listens there."""
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


def until(true: Callable[[], Any]) -> None:
    end = time.monotonic() + 20
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


class Machine:
    """A home and a PATH of its own; both machines are this one."""

    def __init__(self, home: Path, port: int) -> None:
        self.home, self.bin, self._port = home, home / "bin", port
        self.bin.mkdir(parents=True)
        self.key = home / ".config" / "taskflow" / "key"
        kept = {name: text for name, text in os.environ.items() if not name.startswith(("XDG_", "TASKFLOW_"))}
        path = os.pathsep.join([str(self.bin), str(Path(sys.executable).parent), os.environ["PATH"]])
        self.environment = kept | {"HOME": str(home), "PATH": path, "PYTHONPATH": str(ROOT)}

    def local(self, text: str) -> str:
        """The text for a server on this machine."""
        return text.replace("@here:6379", f"@127.0.0.1:{self._port}")

    @contextmanager
    def shell(self, script: str) -> Iterator[None]:
        """Run a script while the block lasts."""
        with subprocess.Popen(
            ["sh", "-ec", self.local(script)],
            env=self.environment,
            cwd=self.home,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        ) as shell:
            try:
                yield
            finally:
                os.killpg(shell.pid, signal.SIGTERM)


def test_the_workflow_of_the_guide_runs_as_printed(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "workflows.md").read_text(encoding="utf-8")
    session: dict[str, Any] = {}
    exec("\n".join(re.findall(r"```python\n(.*?)```", text, re.DOTALL)), session)

    with Client(mode="inline") as client:
        run = session["wf"].run(client, day="mo")
        assert run.result("answer") == "24: large"
