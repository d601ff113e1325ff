"""Where taskflow's own time goes, step by step: ``python -m benchmarks.budget [submit latency dag]``.

Three cases of `benchmarks.cases`, with the real client, worker and children, whose steps are timed by
`benchmarks.probes`. A step's time is its own, without that of the steps inside it. The processor time of a
step is what it costs; its time on the wall is more where it waits, or where another process had the
processor. Probes cost about a microsecond each, which the first line of a table puts into proportion. Of
several runs the one with the least processor time is shown.

This looks inside, so it names functions that are not public, and has to be kept up to date with them.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from time import perf_counter
from typing import Any

from benchmarks import probes, processes, work
from benchmarks.budget_worker import FOLDER
from benchmarks.probes import Step, Sums
from benchmarks.subjects.taskflow import Taskflow

_STORE = (
    Step("store: wait for its turn to write", "taskflow.stores.sqlite_file:SqliteFile._begin"),
    Step("store: rules and reads, submit", "taskflow.stores.sqlite:moves.submit"),
    Step("store: rules and reads, settle", "taskflow.stores.sqlite:moves.settle"),
    Step("store: rules and reads, claim", "taskflow.stores.sqlite:moves.claim"),
    Step("store: write rows", "taskflow.stores.sqlite_rows:SqliteRows.finish"),
    Step("store: append events", "taskflow.stores.sqlite_file:SqliteFile._append"),
    Step("store: ring bells", "taskflow.stores.bells:Bells.ring"),
    Step("store: read values", "taskflow.stores.sqlite_reads:SqliteReads.values"),
)
CLIENT: tuple[Step, ...] = (
    Step("compile: pickle a call", "taskflow.plan:Draft.call"),
    Step("compile: draw the workflow", "taskflow.sending:compiled"),
    Step("compile: build the workflow", "taskflow.workflow.graph:Workflow.add"),
    Step("burst: take a call", "taskflow.burst:Bursts.add"),
    Step("burst: pack", "taskflow.burst:Burst.seal"),
    Step("submit: the rest", "taskflow.client:Client.submit"),
    Step("submit: outbox", "taskflow.outbox:Outbox.flush"),
    Step("watch", "taskflow.feed:Feed.watch"),
    *_STORE,
    Step("store: submit, commit and the rest", "taskflow.stores.sqlite:SQLiteStore.submit"),
    Step("feed: read events", "taskflow.stores.sqlite_reads:SqliteReads.events"),
    Step("feed: unpickle", "taskflow.codec:Codec.load_segment"),
    Step("feed: set result", "taskflow.future:Future.take"),
    Step("feed: tell the calls of a burst", "taskflow.maprun:MapRun.happened"),
    Step("feed: the rest", "taskflow.feed:Feed.pump"),
    Step("feed: sleep (waits)", "taskflow.feed:Feed._rest"),
    Step("result: sleep (waits)", "taskflow.future:Future._block"),
)
WORKER: tuple[Step, ...] = (
    Step("loop: sleep (waits)", "taskflow.worker.loop:Worker._wait"),
    Step("loop: the rest", "taskflow.worker.loop:Worker.step"),
    Step("pool: read outcomes", "taskflow.pools.process:ProcessPool.finished"),
    Step("pool: pack work and send", "taskflow.pools.process:ProcessPool.start_many"),
    *_STORE,
    Step("store: claim, commit and the rest", "taskflow.stores.sqlite:SQLiteStore.claim"),
    Step("store: settle, commit and the rest", "taskflow.stores.sqlite:SQLiteStore.settle"),
    Step("store: reap, renew, announce", "taskflow.worker.loop:Worker._do_chores"),
    Step("inputs", "taskflow.worker.inputs:Inputs.read"),
    Step("child: receive (waits)", "taskflow.pools.wire:Line.receive"),
    Step("child: load the function", "taskflow.codec:Codec.load_function"),
    Step("child: load the arguments", "taskflow.codec:Codec.load_args"),
    Step("child: call, and the rest", "taskflow.pools.slot:Slot.run"),
    Step("child: pickle the result", "taskflow.codec:Codec.dump_result"),
    Step("child: send outcomes", "taskflow.pools.outcomes:Reports.flush"),
)
STEPS: dict[str, Sequence[Step]] = {"client": CLIENT, "worker": WORKER, "child": WORKER}
ROLES = tuple(STEPS)
TIMEOUT_S = 90.0
RUNS = 5
_SIZES = {"submit": 5_000, "latency": 1_500, "dag": 2_000}
_TITLES = {
    "submit": "5,000 single calls, results fetched: per call",
    "latency": "One call at a time, there and back: per call",
    "dag": "A graph of 100 layers of 20: per node",
}


def main() -> int:
    """Measure every case without probes and with them, each time in a process of its own."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("cases", nargs="*", metavar="case", help=", ".join(_SIZES))
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--probed", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(_measure(options.one, options.probed)))
        return 0
    for case in options.cases or _SIZES:
        print(_table(case, _ask(case), _ask(case, "--probed")), flush=True)
    return 0


def _ask(case: str, *more: str) -> dict[str, Any]:
    """The run of several that was disturbed least: others on the machine only add processor time."""
    command = [sys.executable, "-m", "benchmarks.budget", "--one", case, *more]
    runs: list[dict[str, Any]] = []
    for _ in range(RUNS):
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, timeout=TIMEOUT_S)
        runs.append(json.loads(done.stdout))
    return min(runs, key=lambda run: float(sum(run["cpu_s"].values())))


def _measure(case: str, probed: bool) -> dict[str, Any]:
    """Seconds of the case, and processor seconds; by role, and with probes by step."""
    with tempfile.TemporaryDirectory(prefix="taskflow-budget-") as name:
        folder = Path(name)
        _use_worker_of_ours(folder if probed else None)
        if probed:
            probes.Probes(folder, "client", CLIENT)
        subject = Taskflow()
        subject.start()
        run = _prepared(subject, case)
        others = {pid: _role(pid) for pid in processes.descendants(os.getpid())}
        roles = {os.getpid(): "client"} | {pid: role for pid, role in others.items() if role}
        steps, cpu = probes.read(folder, STEPS), {pid: processes.cpu_s(pid) for pid in roles}
        begin = perf_counter()
        run()
        took_s = perf_counter() - begin
        spent = dict.fromkeys(ROLES, 0.0)
        for pid, before in cpu.items():
            spent[roles[pid]] += processes.cpu_s(pid) - before
        after = probes.read(folder, STEPS)
        subject.stop()
    own = [
        (role, step, *sums.since(steps.get((role, step), Sums(0, 0, 0))))
        for (role, step), sums in after.items()
    ]
    return {"took_s": took_s, "cpu_s": spent, "steps": own}


def _use_worker_of_ours(folder: Path | None) -> None:
    """Have the client start taskflow's worker by way of `benchmarks.budget_worker`."""
    from taskflow.worker import process

    os.environ[FOLDER] = str(folder or "")
    process._script = lambda: Path(__file__).with_name("budget_worker.py")


def _role(pid: int) -> str:
    """The worker is started by the client, its template by the worker, and the children by that."""
    with suppress(OSError):
        parent = _parent(pid)
        if parent == os.getpid():
            return "worker"
        if _parent(_parent(parent)) == os.getpid():
            return "child"
    return ""


def _parent(pid: int) -> int:
    stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    return int(stat.rpartition(")")[2].split()[1])


def _prepared(subject: Taskflow, case: str) -> Callable[[], None]:
    size = _SIZES[case]
    subject.submit(work.increment, range(200))
    if case == "dag":
        subject.graph(work.layered(5, 20))()
        graph = work.layered(100, 20)
        return lambda: _same(subject.graph(graph)(), work.answer(graph))
    if case == "latency":
        return lambda: _same([subject.call(work.increment, x) for x in range(size)], list(range(1, size + 1)))
    return lambda: _same(subject.submit(work.increment, range(size)), list(range(1, size + 1)))


def _same(answer: object, expected: object) -> None:
    if answer != expected:
        raise AssertionError("wrong answer")


def _table(case: str, bare: dict[str, Any], probed: dict[str, Any]) -> str:
    scale = 1e6 / _SIZES[case]
    lines = [
        f"### {_TITLES[case]}",
        "",
        f"On the wall: {bare['took_s'] * scale:.0f} µs, with probes {probed['took_s'] * scale:.0f} µs."
        " Processor time without probes, µs: "
        + ", ".join(f"{role} {bare['cpu_s'][role] * scale:.0f}" for role in ROLES)
        + f", together {sum(bare['cpu_s'].values()) * scale:.0f}.",
        "",
        "| process | step | times | processor, µs | wall, µs |",
        "| --- | --- | ---: | ---: | ---: |",
    ]
    for role in ROLES:
        own = [one for one in probed["steps"] if one[0] == role and one[2]]
        for _, step, count, wall_s, cpu_s in own:
            times = count / _SIZES[case]
            lines.append(f"| {role} | {step} | {times:.2g} | {cpu_s * scale:.1f} | {wall_s * scale:.1f} |")
        rest_s = probed["cpu_s"][role] - sum(one[4] for one in own)
        lines.append(f"| {role} | *not probed* | | {rest_s * scale:.1f} | |")
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    sys.exit(main())
