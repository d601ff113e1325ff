"""Measure taskflow and its rivals in turns, print one table, keep it.

::

    python -m benchmarks.run                              all of it: half an hour on two busy processors
    python -m benchmarks.run --subjects taskflow,futures --cases submit,map
    python -m benchmarks.run --quick                                        what moved since the kept table
    python -m benchmarks.run --scale 0.01 --rounds 1                        small sizes: does it all work?
    python -m benchmarks.run --suite redis                taskflow on Redis, beside queues on Redis

Every measurement is made in a process of its own, with two workers; the order of the subjects is turned
round from one round to the next; the table shows medians, and ratios of the medians of the same run.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

from benchmarks import processes, redis_server, report
from benchmarks.apart import MARK
from benchmarks.cases import COLD
from benchmarks.setting import Setting, look_around
from benchmarks.subject import reason_against
from benchmarks.subjects import load
from benchmarks.suite import SUITES, Suite

HOME = Path(__file__).parent
QUICK_SUBJECTS = ("taskflow", "futures")
QUICK_CASES = ("submit", "latency", "map", "chord", "dag", "cold-start", "memory")
REPEAT_BELOW_S = 8.0
COLD_TIMEOUT_S = 60.0
TO_STOP_S = 8.0


@dataclass
class Samples:
    """All figures of a run, and why there are none.

    Attributes:
        values: By figure, by subject: one number a round.
        reasons: By case, by subject: why there is no figure.
    """

    values: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    reasons: dict[str, dict[str, str]] = field(default_factory=dict)

    def add(self, subject: str, figures: dict[str, float]) -> None:
        """Take the figures of one measurement."""
        for key, value in figures.items():
            self.values.setdefault(key, {}).setdefault(subject, []).append(value)

    def refuse(self, case: str, subject: str, reason: str) -> None:
        """Note why there is no figure, or not every figure."""
        self.reasons.setdefault(case, {})[subject] = reason

    def reason(self, case: str, subject: str) -> str:
        """Why a subject is asked no more; empty when it is."""
        return self.reasons.get(case, {}).get(subject, "")


def main() -> int:
    """Run what the command line asks for."""
    options = _arguments()
    processes.adopt_orphans()
    suite: Suite = options.suite
    setting = look_around(options.subjects, options.rivals)
    if suite.needs_redis:
        found = redis_server.version()
        if found is None:
            print("redis-server is missing. Debian and Ubuntu: apt install redis-server", file=sys.stderr)
            return 1
        setting.versions["redis-server"] = found
    samples = collect(options, setting)
    setting.look_again()
    if options.quick:
        kept = json.loads(suite.kept.read_text(encoding="utf-8"))["values"]
        print(report.moved(suite, samples.values, kept))
        return 0
    text = report.table(
        suite,
        samples.values,
        samples.reasons,
        options.subjects,
        setting,
        options.rounds,
        options.scale,
    )
    print(text)
    if options.is_whole:
        suite.results.write_text(text, encoding="utf-8")
        suite.kept.write_text(json.dumps(asdict(samples), indent=1) + "\n", encoding="utf-8")
        print(f"written to {os.path.relpath(suite.results)} and {os.path.relpath(suite.kept)}")
    return 0


def collect(options: argparse.Namespace, setting: Setting) -> Samples:
    """All measurements, the subjects in turn and in turned order; what takes long is measured once."""
    samples = Samples()
    suite: Suite = options.suite
    slow: set[tuple[str, str]] = set()
    for case in options.cases:
        for subject in options.subjects:
            _refuse_beforehand(suite, samples, case, subject, setting)
    for round_no in range(options.rounds):
        for case, subject in _turns(options, round_no):
            if (case, subject) in slow or samples.reason(case, subject):
                continue
            _progress(f"round {round_no + 1} of {options.rounds}: {case}, {subject}")
            began = time.monotonic()
            _measure(suite, samples, case, subject, setting, options.scale)
            if time.monotonic() - began > REPEAT_BELOW_S:
                slow.add((case, subject))
    return samples


def _turns(options: argparse.Namespace, round_no: int) -> Iterator[tuple[str, str]]:
    """Who is measured in a round, one after the other."""
    for case in options.cases:
        turns = 1 if case == COLD else options.suite.cases[case].turns
        for turn in range(turns):
            for subject in options.subjects if (round_no + turn) % 2 == 0 else options.subjects[::-1]:
                yield case, subject


def _refuse_beforehand(suite: Suite, samples: Samples, case: str, subject: str, setting: Setting) -> None:
    ability = "call" if case == COLD else suite.cases[case].ability
    reason = setting.missing.get(subject) or reason_against(load(subject), ability)
    if case not in suite.only.get(subject, suite.names):
        reason = f"it is here for {', '.join(suite.only[subject])}"
    if reason:
        samples.refuse(case, subject, reason)


def _measure(suite: Suite, samples: Samples, case: str, subject: str, setting: Setting, scale: float) -> None:
    """One measurement; a second one that fails after a first that did not is said as well."""
    smaller = "" if case == COLD else suite.cases[case].after
    if samples.reason(smaller, subject):
        before = samples.reason(smaller, subject)
        told = before if before.startswith("not tried") else f"not tried, see {smaller}: {before}"
        samples.refuse(case, subject, told)
        return
    timeout_s = COLD_TIMEOUT_S if case == COLD else suite.cases[case].timeout_s
    name = next(name for name, one in SUITES.items() if one is suite)
    command = [setting.python_of(subject), "-m", "benchmarks.one", name, subject, case, str(scale)]
    if suite.needs_redis:
        # Copies of blobs go where the server is removed with them, not among those of this user.
        with redis_server.RedisServer() as server, tempfile.TemporaryDirectory() as cache:
            place = {redis_server.PLACE: server.path, "XDG_CACHE_HOME": cache}
            figures, reason = _ask(command, timeout_s, place, server.pid)
    else:
        figures, reason = _ask(command, timeout_s, {})
    samples.add(subject, figures)
    if reason:
        samples.refuse(case, subject, reason)


def _ask(
    command: list[str], timeout_s: float, place: dict[str, str], server: int = 0
) -> tuple[dict[str, float], str]:
    """The figures of a measurement, and what went wrong; nothing of it but its server is left running."""
    environment = os.environ | {"PYTHONPATH": str(HOME.parent), "PYTHONWARNINGS": "ignore"} | place
    child = subprocess.Popen(
        [*command, repr(time.perf_counter())],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
        env=environment,
        cwd=HOME.parent,
        start_new_session=True,
    )
    reason = ""
    try:
        out, err = child.communicate(timeout=timeout_s)
        if child.returncode:
            reason = "failed: " + " ".join((err.strip().splitlines() or ["no word"])[-1].split())[:200]
    except subprocess.TimeoutExpired:
        reason = f"over {timeout_s:.0f} s"
        child.terminate()
        try:
            out, _ = child.communicate(timeout=TO_STOP_S)
        except subprocess.TimeoutExpired:
            processes.end([*processes.descendants(child.pid), child.pid])
            out, _ = child.communicate()
    _tidy(server)
    return _figures(out.splitlines()), reason


def _tidy(server: int) -> None:
    """What a subject left behind, and this process has adopted."""
    others = [pid for pid in processes.descendants(os.getpid()) if pid != server]
    left = processes.wait_until_gone(others, 3.0)
    processes.end(left)
    processes.wait_until_gone(left, 3.0)


def _figures(lines: Iterable[str]) -> dict[str, float]:
    found: dict[str, float] = {}
    for line in lines:
        if line.startswith(MARK):
            found |= json.loads(line.removeprefix(MARK))
    return found


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--suite", choices=SUITES, default="local", help="which table (default local)")
    parser.add_argument("--subjects", type=lambda text: text.split(","), help="comma-separated")
    parser.add_argument("--cases", type=lambda text: text.split(","), help="comma-separated")
    parser.add_argument(
        "--rounds", type=int, default=3, help="how often what is quick is measured (default 3)"
    )
    parser.add_argument("--scale", type=float, default=1.0, help="sizes of the cases, as a part of the whole")
    parser.add_argument("--rivals", type=Path, default=HOME.parent / ".venv-rivals", help="their environment")
    parser.add_argument("--quick", action="store_true", help="compare with the kept table, below two minutes")
    options = parser.parse_args()
    suite = options.suite = SUITES[options.suite]
    if options.quick and suite is not SUITES["local"]:
        parser.error("--quick is for the local suite")
    try:
        options.subjects = _named(options.subjects, suite.subjects)
        options.cases = _named(options.cases, suite.names)
    except ValueError as error:
        parser.error(str(error))
    options.is_whole = not (options.subjects or options.cases) and options.scale == 1
    options.subjects = options.subjects or (QUICK_SUBJECTS if options.quick else suite.subjects)
    options.cases = options.cases or (QUICK_CASES if options.quick else suite.names)
    return options


def _named(asked: list[str] | None, known: tuple[str, ...]) -> tuple[str, ...]:
    """Names in their own order; none when none was asked for.

    Raises:
        ValueError: There is no such name.
    """
    if unknown := set(asked or ()).difference(known):
        raise ValueError(f"no such name: {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    return tuple(name for name in known if name in (asked or ()))


def _progress(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)
    else:
        print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
