"""What it costs to show a run under its cell: ``python -m benchmarks.display``.

A map in a real kernel, shown and not shown in turn; medians. Then what the thread that moves the display
takes of one processor, and what the kernel sends while it moves.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
import time
from queue import Empty
from typing import Any, NamedTuple

from jupyter_client.manager import KernelManager

ITEMS, MANY_ITEMS = 10_000, 100_000
WORKERS = 2
ITEM_S = 0.001
WAIT_S = 300.0

PREPARE = f"""
%load_ext taskflow
%taskflow start -n {WORKERS}
import os, threading, time, taskflow
from taskflow.notebook import showing
client = taskflow.get_client()

def tick(x):
    time.sleep({ITEM_S})

def nothing(x):
    return x

spent_s = []
follow = showing.Display._follow

def timed(self):
    follow(self)
    spent_s.append(time.thread_time())

showing.Display._follow = timed
client.map(nothing, range(100)).wait(progress=False);
"""


class Cell(NamedTuple):
    """What a cell took, what it printed, and what its kernel has sent meanwhile."""

    took_s: float
    text: str
    sent_bytes: int
    messages: int


class Kernel:
    """A kernel of its own, with a home of its own."""

    def __init__(self, home: str) -> None:
        names = (
            "HOME",
            "IPYTHONDIR",
            "JUPYTER_RUNTIME_DIR",
            "XDG_STATE_HOME",
            "XDG_DATA_HOME",
            "XDG_CONFIG_HOME",
        )
        dropped = ("TASKFLOW_URL", "TASKFLOW_DISPLAY")
        env = {name: value for name, value in os.environ.items() if name not in dropped}
        self._manager = KernelManager(kernel_name="python3")
        self._manager.start_kernel(env=env | dict.fromkeys(names, home), cwd=home)
        self._client = self._manager.blocking_client()
        self._client.start_channels()
        self._client.wait_for_ready(timeout=WAIT_S)

    def close(self) -> None:
        """End it."""
        self._client.stop_channels()
        self._manager.shutdown_kernel(now=True)

    def run(self, code: str) -> Cell:
        """Execute a cell, and read all that it sends."""
        began = time.perf_counter()
        parent = self._client.execute(code)
        text, sent_bytes, messages = "", 0, 0
        while time.perf_counter() < began + WAIT_S:
            try:
                message: dict[str, Any] = self._client.get_iopub_msg(timeout=1.0)
            except Empty:
                continue
            if message["msg_type"] == "error":
                raise SystemExit("\n".join(message["content"]["traceback"]))
            if message["msg_type"] == "stream":
                text += message["content"]["text"]
            elif message["msg_type"] == "comm_msg":
                sent_bytes += len(json.dumps(message, default=str))
                messages += 1
            idle = message["content"].get("execution_state") == "idle"
            if idle and message["parent_header"].get("msg_id") == parent:
                return Cell(time.perf_counter() - began, text, sent_bytes, messages)
        raise SystemExit("the kernel does not answer")


def main(rounds: int = 5) -> None:
    """Print a table."""
    with tempfile.TemporaryDirectory() as home:
        kernel = Kernel(home)
        try:
            kernel.run(PREPARE)
            for line in _rows(kernel, rounds):
                print(line, flush=True)
        finally:
            kernel.close()


def _rows(kernel: Kernel, rounds: int) -> list[str]:
    took: dict[str, list[float]] = {"off": [], "auto": []}
    shares: list[float] = []
    for number in range(2 * rounds):
        mode = ("off", "auto")[number % 2]
        cell = kernel.run(_timed(mode, f"client.map(tick, range({ITEMS})).wait()"))
        wall_s, thread_s = map(float, cell.text.split())
        took[mode].append(wall_s)
        shares += [thread_s / wall_s] if mode == "auto" else []
    off_s, on_s = statistics.median(took["off"]), statistics.median(took["auto"])
    many = kernel.run(_timed("auto", f"client.map(tick, range({MANY_ITEMS}), chunksize=100).wait()"))
    wall_s, thread_s = map(float, many.text.split())
    items = f"{ITEMS:,} items of {ITEM_S * 1e3:g} ms"
    return [
        "| | |",
        "|---|---:|",
        f"| {items}, not shown | {off_s:.2f} s |",
        f"| {items}, shown | {on_s:.2f} s ({100 * (on_s / off_s - 1):+.1f} %) |",
        f"| the thread that shows them, of one processor | {100 * statistics.median(shares):.1f} % |",
        f"| {MANY_ITEMS:,} of such items: of one processor | {100 * thread_s / wall_s:.1f} % |",
        f"| sent to the page while they run | {many.sent_bytes / wall_s / 1e3:.1f} kB/s |",
        f"| in so many messages | {many.messages / wall_s:.1f}/s |",
    ]


def _timed(mode: str, code: str) -> str:
    """A cell that prints what it took, and what the display took of a processor."""
    return (
        f"os.environ['TASKFLOW_DISPLAY'] = {mode!r}\n"
        "spent_s.clear()\n"
        "began = time.perf_counter()\n"
        f"{code}\n"
        "print(time.perf_counter() - began, sum(spent_s))"
    )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
