"""The table of a run, and what moved between two runs."""

from __future__ import annotations

import datetime
import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence

from benchmarks.cases import NO_RATIO
from benchmarks.setting import Setting
from benchmarks.subject import WORKERS
from benchmarks.subjects import load
from benchmarks.suite import Suite, Target, Values

BRIDGE = "futures"
MOVED = 1.5
_NOT_JUDGED = ("latency_p99_us", "process_count")


def table(
    suite: Suite,
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
        f"Written by `{suite.command}` on {datetime.date.today()}. {setting.describe()}",
        "",
        *_warnings(suite, setting, scale),
        suite.notes.format(rounds=rounds, workers=WORKERS),
        _row(["", *(load(name).title for name in here)]),
        _row(["---", *("---:" for _ in here)]),
        *_rows(suite, values, reasons, here),
        *_aims(suite, values, reasons),
        "",
        "How each is used:",
        "",
        *(f"- {load(name).title}: {load(name).notes}.{_parts(suite, name)}" for name in here),
        "",
        "What is empty, and why:",
        "",
        *_explained(reasons, subjects),
    ]
    if any(suite.ours in by for by in values.values()):
        lines += ["", "Spread of taskflow's rounds:", ""]
        lines += [
            f"- {suite.titles[key]}: {_number(min(by[suite.ours]))} to {_number(max(by[suite.ours]))}"
            for key, by in values.items()
            if suite.ours in by
        ]
    return "\n".join(lines) + "\n"


def moved(suite: Suite, now: Values, kept: Values) -> str:
    """What taskflow is beside `concurrent.futures`, in this run and in the kept one."""
    lines = [
        _row(["", "taskflow now", "× futures now", "× futures kept", "moved"]),
        _row(["---", "---:", "---:", "---:", "---"]),
    ]
    found = []
    ours, titles = suite.ours, suite.titles
    for key, by in now.items():
        ratio = _ratio(key, by, ours, BRIDGE)
        before = _ratio(key, kept.get(key, {}), ours, BRIDGE)
        verdict = "" if key in _NOT_JUDGED else _verdict(ratio, before)
        if ratio is not None and before is not None and verdict:
            found.append(f"{titles[key]}: {verdict}, {before:.2f} → {ratio:.2f} × futures")
        if ours in by:
            cells = [_number(statistics.median(by[ours])), _times(ratio), _times(before), verdict]
            lines.append(_row([titles[key], *cells]))
    lines += ["", *(found or [f"Nothing moved by more than {MOVED} ×."])]
    return "\n".join(lines)


def _warnings(suite: Suite, setting: Setting, scale: float) -> list[str]:
    warnings = []
    if setting.was_busy:
        load = " and ".join(f"{one:.1f}" for one in setting.load)
        warnings.append(
            f"**Made on a busy machine** (load average before and after: {load}):"
            f" absolute figures are too low, ratios are uncertain. Repeat with `{suite.command}`."
        )
    if scale != 1:
        warnings.append(f"**Sizes are {scale:g} of what the table says.**")
    return [line for text in warnings for line in (text, "")]


def _rows(
    suite: Suite, values: Values, reasons: Mapping[str, Mapping[str, str]], subjects: Sequence[str]
) -> list[str]:
    rows = []
    for case, figures in suite.figures.items():
        for key, title in figures.items():
            by = values.get(key, {})
            if by:
                why = reasons.get(case, {})
                rows.append(_row([title, *(_cell(suite.ours, key, by, name, why) for name in subjects)]))
    return rows


def _cell(
    ours: str, key: str, by: Mapping[str, Sequence[float]], subject: str, reasons: Mapping[str, str]
) -> str:
    if subject not in by:
        reason = reasons.get(subject, "")
        return reason.replace("over ", "> ") if reason.startswith("over ") else ""
    shown = _number(statistics.median(by[subject]))
    ratio = None if subject == ours or key in NO_RATIO else _ratio(key, by, ours, subject)
    return shown if ratio is None else f"{shown} ({_times(ratio)})"


def _explained(reasons: Mapping[str, Mapping[str, str]], subjects: Sequence[str]) -> list[str]:
    """By subject and reason: the cases."""
    cases: dict[tuple[str, str], list[str]] = defaultdict(list)
    for case, by in reasons.items():
        for subject, reason in by.items():
            cases[subject, reason].append(case)
    ordered = sorted(cases.items(), key=lambda one: list(subjects).index(one[0][0]))
    return [f"- {load(subject).title}, {', '.join(names)}: {reason}" for (subject, reason), names in ordered]


def _aims(suite: Suite, values: Values, reasons: Mapping[str, Mapping[str, str]]) -> list[str]:
    """What is to be reached, and what was; what was not is said as plainly."""
    if not suite.targets:
        return []
    lines = ["", "What is aimed at:", ""]
    lines += [_row(["", "aim", "this run", ""]), _row(["---", "---", "---:", "---"])]
    for target in suite.targets:
        found, sign = target.found(values, suite.ours), ""
        if found is None and _ran_out(suite, target, reasons):
            found, sign = target.beyond(values, suite.ours, suite.case_of(target.figure).timeout_s), "> "
        verdict = "not measured"
        if found is not None:
            verdict = "reached" if target.is_met(found) else "**not reached**"
        shown = "" if found is None else sign + _number(found) + ("" if _is_absolute(target) else " ×")
        lines.append(_row([suite.titles[target.figure], _aim(suite, target), shown, verdict]))
    return lines


def _aim(suite: Suite, target: Target) -> str:
    bound = target.least if target.least is not None else target.most or 0.0
    words = [f"{'≥' if target.least is not None else '≤'} {_number(bound)}"]
    if target.rival:
        words.append(f"× {load(target.rival).title}")
    elif target.over:
        words.append(f"× {f'{target.times:g} × ' if target.times != 1 else ''}“{suite.titles[target.over]}”")
    return " ".join([*words, "(stretch)"] if target.is_stretch else words)


def _ran_out(suite: Suite, target: Target, reasons: Mapping[str, Mapping[str, str]]) -> bool:
    names = [name for name, figures in suite.figures.items() if target.figure in figures]
    return any(reasons.get(name, {}).get(target.rival, "").startswith("over ") for name in names)


def _is_absolute(target: Target) -> bool:
    return not (target.rival or target.over)


def _parts(suite: Suite, subject: str) -> str:
    """Which sizes of a subject are smaller than the rows say."""
    parts = {case: part for case, part in load(subject).parts.items() if case in suite.cases}
    sizes = ", ".join(f"{case} {part * 100:g} %" for case, part in parts.items())
    return f" Measured in a part of the size: {sizes}." if sizes else ""


def _ratio(key: str, by: Mapping[str, Sequence[float]], ours: str, rival: str) -> float | None:
    if ours not in by or rival not in by:
        return None
    own, theirs = statistics.median(by[ours]), statistics.median(by[rival])
    if not own or not theirs:
        return None
    return own / theirs if key.endswith("per_s") else theirs / own


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
