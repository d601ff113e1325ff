"""Worker processes of those who have a command for them."""

from __future__ import annotations

import subprocess
import sys

from benchmarks import processes

TO_STOP_S = 5.0


class Consumers:
    """What was started as ``python -m …``, in the environment of this process."""

    def __init__(self) -> None:
        self._started: list[subprocess.Popen[bytes]] = []

    def start(self, *command: str) -> None:
        """One more; its first result says that it is ready."""
        self._started.append(
            subprocess.Popen(
                [sys.executable, "-m", *command], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
            )
        )

    def stop(self) -> None:
        """End all of them, and what they have started."""
        own = [process.pid for process in self._started]
        pids = own + [pid for one in own for pid in processes.descendants(one)]
        for process in self._started:
            process.terminate()
        for process in self._started:
            try:
                process.wait(TO_STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        processes.end(processes.wait_until_gone(pids, 1.0))
        self._started.clear()
