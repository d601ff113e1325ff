"""docs/celery-fleet.md runs as it is printed."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from tests.engines.celery_fleet import ROOT, WORKER
from tests.seeds.test_docs import blocks, files, printed, script
from tests.servers import RedisServer

PRINTED_URL = "redis://localhost:6379/0"


def test_the_page_runs_as_printed(tmp_path: Path) -> None:
    pytest.importorskip("celery")
    text = (ROOT / "docs/celery-fleet.md").read_text(encoding="utf-8")
    server = RedisServer("redis").start()
    code = [block.replace(PRINTED_URL, server.url) for block in blocks(text, "python")]
    for name, content in files(code).items():
        (tmp_path / name).write_text(content, encoding="utf-8")
    (tmp_path / "main.py").write_text(script(code), encoding="utf-8")
    (command,) = blocks(text, "sh")
    env = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    env["TASKFLOW_URL"] = f"sqlite:///{tmp_path}/runs.db"
    tmp_path.chmod(0o700)
    options = shlex.split(command)[1:]
    worker = subprocess.Popen(
        [sys.executable, "-c", WORKER, *options, "-l", "warning"], cwd=tmp_path, env=env,
        start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        done = subprocess.run(
            [sys.executable, "main.py"], cwd=tmp_path, env=env, capture_output=True, text=True,
            timeout=100, check=False,
        )  # fmt: skip
    finally:
        with suppress(ProcessLookupError):
            os.killpg(worker.pid, signal.SIGKILL)
        worker.wait()
        server.close()

    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == printed(script(code))
