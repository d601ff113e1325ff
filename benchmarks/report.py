"""The table of a run, and what moved between two runs."""

from __future__ import annotations

import datetime
import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence

from benchmarks.cases import CASES, COLD, COLD_FIGURES, NO_RATIO, TITLES
from benchmarks.setting import Setting
from benchmarks.subject import WORKERS
from benchmarks.subjects import load

Values = Mapping[str, Mapping[str, Sequence[float]]]
"""By figure, by subject: one number a round."""

OURS, BRIDGE = "taskflow", "futures"
MOVED = 1.5
_NOT_JUDGED = ("latency_p99_us", "process_count")

_NOTES = """\
Medians of {rounds} rounds; what takes longer than some seconds is measured once, what is quick several times
within a round. Each measurement is made in a process of its own, with {workers} worker processes, in
alternating order; results are fetched and checked. Behind each figure stands how many times better (×) or
worse (below 1) taskflow is, of the medians of this run. On a shared machine trust ratios beyond 1.5, and no
p99. Nothing is tuned: everyone is used as it comes. The *ideal* is a schedule on {workers} workers that
costs nothing (each item goes, in order, to the first free worker); for items of 1 µs it is half of a plain
loop in the same process. Before a frame is measured, memory of five times its size is used and given back,
by all alike: a virtual machine is slow with memory that it never had. taskflow has no calls for frames yet:
partitions are items of a map, or were handed over by `client.scatter`. Empty cells are explained below the
table.
"""


def table(
    values: Values,
    reasons: Mapping[str, Mapping[str, str]],
    subjects: Sequence[str],
    setting: Setting,
    rounds: int,
    scale: float,
) -> str:
    """The whole run as Markdown."""
    here = [name for name in subjects if any(name in by for by in values.values())]
    lines = [
        "# Benchmarks",
        "",
        f"Written by `make bench` on {datetime.date.today()}. {setting.describe()}",
        "",
        *_warnings(setting, scale),
        _NOTES.format(rounds=rounds, workers=WORKERS),
        _row(["", *(load(name).title for name in here)]),
        _row(["---", *("---:" for _ in here)]),
        *_rows(values, reasons, here),
        "",
        "How each is used:",
        "",
        *(f"- {load(name).title}: {load(name).notes}." for name in here),
        "",
        "What is empty, and why:",
        "",
        *_explained(reasons, subjects),
    ]
    if any(OURS in by for by in values.values()):
        lines += ["", "Spread of taskflow's rounds:", ""]
        lines += [
            f"- {TITLES[key]}: {_number(min(by[OURS]))} to {_number(max(by[OURS]))}"
            for key, by in values.items()
            if OURS in by
        ]
    return "\n".join(lines) + "\n"


def moved(now: Values, kept: Values) -> str:
    """What taskflow is beside `concurrent.futures`, in this run and in the kept one."""
    lines = [
        _row(["", "taskflow now", "× futures now", "× futures kept", "moved"]),
        _row(["---", "---:", "---:", "---:", "---"]),
    ]
    found = []
    for key, by in now.items():
        ratio = _ratio(key, by, BRIDGE)
        before = _ratio(key, kept.get(key, {}), BRIDGE)
        verdict = "" if key in _NOT_JUDGED else _verdict(ratio, before)
        if ratio is not None and before is not None and verdict:
            found.append(f"{TITLES[key]}: {verdict}, {before:.2f} → {ratio:.2f} × futures")
        if OURS in by:
            cells = [_number(statistics.median(by[OURS])), _times(ratio), _times(before), verdict]
            lines.append(_row([TITLES[key], *cells]))
    lines += ["", *(found or [f"Nothing moved by more than {MOVED} ×."])]
    return "\n".join(lines)


def _warnings(setting: Setting, scale: float) -> list[str]:
    warnings = []
    if setting.was_busy:
        load = " and ".join(f"{one:.1f}" for one in setting.load)
        warnings.append(
            f"**Made on a busy machine** (load average before and after: {load}):"
            " absolute figures are too low, ratios are uncertain. Repeat with `make bench`."
        )
    if scale != 1:
        warnings.append(f"**Sizes are {scale:g} of what the table says.**")
    return [line for text in warnings for line in (text, "")]


def _rows(values: Values, reasons: Mapping[str, Mapping[str, str]], subjects: Sequence[str]) -> list[str]:
    rows = []
    for case, figures in [*((name, case.figures) for name, case in CASES.items()), (COLD, COLD_FIGURES)]:
        for key, title in figures.items():
            by = values.get(key, {})
            if by:
                rows.append(
                    _row([title, *(_cell(key, by, name, reasons.get(case, {})) for name in subjects)])
                )
    return rows


def _cell(key: str, by: Mapping[str, Sequence[float]], subject: str, reasons: Mapping[str, str]) -> str:
    if subject not in by:
        reason = reasons.get(subject, "")
        return reason.replace("over ", "> ") if reason.startswith("over ") else ""
    shown = _number(statistics.median(by[subject]))
    ratio = None if subject == OURS or key in NO_RATIO else _ratio(key, by, subject)
    return shown if ratio is None else f"{shown} ({_times(ratio)})"


def _explained(reasons: Mapping[str, Mapping[str, str]], subjects: Sequence[str]) -> list[str]:
    """By subject and reason: the cases."""
    cases: dict[tuple[str, str], list[str]] = defaultdict(list)
    for case, by in reasons.items():
        for subject, reason in by.items():
            cases[subject, reason].append(case)
    ordered = sorted(cases.items(), key=lambda one: list(subjects).index(one[0][0]))
    return [f"- {load(subject).title}, {', '.join(names)}: {reason}" for (subject, reason), names in ordered]


def _ratio(key: str, by: Mapping[str, Sequence[float]], rival: str) -> float | None:
    if OURS not in by or rival not in by:
        return None
    ours, theirs = statistics.median(by[OURS]), statistics.median(by[rival])
    if not ours or not theirs:
        return None
    return ours / theirs if key.endswith("per_s") else theirs / ours


def _verdict(ratio: float | None, before: float | None) -> str:
    if ratio is None or before is None or 1 / MOVED < ratio / before < MOVED:
        return ""
    return "better" if ratio > before else "worse"


def _times(ratio: float | None) -> str:
    if ratio is None:
        return ""
    return f"{ratio:.0f}×" if ratio >= 10 else f"{ratio:.2g}×"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.3g}"


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
