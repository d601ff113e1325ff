"""A snapshot as text, and as HTML that stands alone: what a saved notebook shows, and what has no widgets.

The HTML has no script and no SVG of its own (pictures are images), so that nothing is left out of it in a
notebook that is not trusted. Every word of it that is not ours is escaped.
"""

from __future__ import annotations

import time
from base64 import b64decode, b64encode
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

from taskflow.observe.board import Stage
from taskflow.observe.snapshot import Snapshot
from taskflow.observe.terminal import bar_lines
from taskflow.observe.text import clock, count, duration, fit, visible
from taskflow.states import TERMINAL, State
from taskflow.workflow.picture import SIGNS

__all__ = ["to_html", "to_text"]

WIDTH = 96
_ID_CHARS = 18
"""Of an id that is typed: as much as names one run, whenever others were begun."""
_COLOURS = ("#c6ccd3", "#0969da", "#1a7f37", "#cf222e", "#953800", "#9a6700")


def to_text(run: Snapshot, *, width: int = WIDTH) -> str:
    """A line for each stage, and one for each cause of failures."""
    lines = bar_lines([_stage(told) for told in run["stages"]], width=width)
    if run["stages_left_out"]:
        lines.append(f"… {run['stages_left_out']} more")
    lines += [fit(visible(f"{_times(reason)} {_cause(reason)}"), width) for reason in run["errors"]]
    return "\n".join([*lines, *_next_steps(run)])


def to_html(run: Snapshot, graph: str | None = None) -> str:
    """The run as it stands.

    Args:
        run: With ``rows`` and ``output``, where these are to be in it.
        graph: Its graph as SVG text.
    """
    return f'<div class="taskflow-run">{"".join(_parts(run, graph))}</div>'


def _parts(run: Snapshot, graph: str | None) -> Iterator[str]:
    state = State(run["state"])
    yield f"<p>{_head(run, state)}</p>"
    if len(run["stages"]) > 1:
        yield from _stages(run)
    if run["cells"]:
        yield _image(_squares(run["cells"]), f"the items of {run['cells']['label']}")
    if graph is not None:
        yield _image(graph, f"graph of {run['name']}: {state}")
    if run["errors"]:
        causes = "1 cause" if len(run["errors"]) == 1 else f"{len(run['errors'])} causes"
        inner = "".join(map(_reason, run["errors"]))
        yield _fold(f"{count(run['failed'])} failed, {causes}", inner, is_open=True)
    if rows := run.get("rows"):
        yield _fold("Results", _table(rows))
    if (output := run.get("output")) and output["matching"]:
        yield _fold(f"Output of {count(output['matching'])} tasks", _output(output))
    yield from (f"<p>{escape(line)}</p>" for line in _next_steps(run))


# ── how far it is ────────────────────────────────────────────────────────────────────


def _stage(told: Mapping[str, Any]) -> Stage:
    return Stage(
        **{name: told[name] for name in Stage._fields if name in told} | {"state": State(told["state"])}
    )


def _head(run: Snapshot, state: State) -> str:
    took = clock((run["ended_at"] or run["at"]) - run["created_at"])
    facts = [f"{count(run['done'])} of {_total(run['total'])}", *_counts(run["stages"]), took]
    return f"{SIGNS[state]} <b>{_text(run['name'])}</b> {_bar(run)} {' · '.join(facts)} · {state}"


def _total(total: int | None) -> str:
    return "?" if total is None else count(total)


def _counts(stages: Sequence[Mapping[str, Any]]) -> list[str]:
    found = []
    for name in ("running", "failed", "cancelled", "skipped", "cached", "retried"):
        number = sum(stage.get(name) or 0 for stage in stages)
        found += [f"{count(number)} {name}"] if number else []
    return found


def _bar(told: Mapping[str, Any]) -> str:
    total = told["total"]
    ended = State(told["state"]) in TERMINAL
    value = "" if total is None and not ended else f' value="{told["done"] if total else int(ended)}"'
    return f'<progress max="{max(1, total or 0)}"{value}></progress>'


def _stages(run: Snapshot) -> Iterator[str]:
    yield "<table><thead><tr><th></th><th>stage</th><th></th><th>done</th><th></th></tr></thead><tbody>"
    for stage in run["stages"]:
        facts = " · ".join([*_counts([stage]), clock(stage["elapsed_s"])])
        yield (
            f"<tr><td>{SIGNS[State(stage['state'])]}</td><td>{_text(stage['label'])}</td><td>{_bar(stage)}</td>"
            f"<td>{count(stage['done'])} of {_total(stage['total'])}</td><td>{facts}</td></tr>"
        )
    yield "</tbody></table>"
    if run["stages_left_out"]:
        yield f"<p>… {run['stages_left_out']} more stages</p>"


# ── pictures ─────────────────────────────────────────────────────────────────────────


def _image(svg: str, told: str) -> str:
    data = b64encode(svg.encode()).decode()
    return f'<p><img alt="{_text(told)}" src="data:image/svg+xml;base64,{data}"></p>'


def _squares(cells: Mapping[str, Any]) -> str:
    """One square for each byte; neighbours of one colour are one rectangle."""
    states = b64decode(cells["states"])
    side = 12 if len(states) <= 200 else 9 if len(states) <= 800 else 6
    columns = min(len(states), 720 // side)
    rows = -(-len(states) // columns)
    shapes: dict[int, list[str]] = {}
    for row in range(rows):
        for code, lo, hi in _runs(states[row * columns : (row + 1) * columns]):
            dashes = "".join(f"h{side - 1}m1 0" for _ in range(hi - lo))
            shapes.setdefault(code, []).append(f"M{lo * side} {row * side + side / 2:g}{dashes}")
    paths = "".join(
        f'<path d="{"".join(parts)}" stroke="{_COLOURS[code]}" stroke-width="{side - 1}"/>'
        for code, parts in shapes.items()
    )
    size = f'width="{columns * side}" height="{rows * side}"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size}>{paths}</svg>'


def _runs(states: bytes) -> Iterator[tuple[int, int, int]]:
    lo = 0
    for at in range(1, len(states) + 1):
        if at == len(states) or states[at] != states[lo]:
            yield states[lo], lo, at
            lo = at


# ── tables and text ──────────────────────────────────────────────────────────────────


def _text(text: object) -> str:
    return escape(visible(str(text)), quote=True)


def _fold(title: str, inner: str, *, is_open: bool = False) -> str:
    return f"<details{' open' if is_open else ''}><summary>{_text(title)}</summary>{inner}</details>"


def _pre(text: str) -> str:
    return f"<pre>{escape(visible(text, lines=True), quote=True)}</pre>"


def _times(reason: Mapping[str, Any]) -> str:
    return f"{count(reason['count'])} ×"


def _cause(reason: Mapping[str, Any]) -> str:
    return ": ".join(part for part in (reason["type"], reason["message"]) if part)


def _reason(reason: Mapping[str, Any]) -> str:
    where = ", ".join(f"{label}[{index}]" for label, index in reason["items"])
    more = reason["count"] - len(reason["items"])
    told = f"<p>{_text(where)}{f' and {count(more)} more' if more > 0 else ''}</p>"
    return _fold(f"{_times(reason)} {_cause(reason)}", told + _pre(reason["traceback"]))


def _name(row: Mapping[str, Any]) -> str:
    return row["label"] if row["index"] is None else f"{row['label']}[{row['index']}]"


def _table(page: Mapping[str, Any]) -> str:
    head = "".join(
        f"<th>{name}</th>" for name in ("item", "state", "result", "took", "started", "tries", "worker")
    )
    body = "".join(
        f"<tr>{''.join(f'<td>{_text(cell)}</td>' for cell in _cells(row))}</tr>" for row in page["rows"]
    )
    left = page["matching"] - len(page["rows"])
    rest = f"<p>… {count(left)} more are in the store, not in this page.</p>" if left > 0 else ""
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{rest}"


def _cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        _name(row),
        f"{SIGNS[State(row['state'])]} {row['state']}",
        row["error"] or row["preview"] or "",
        duration(row["took_s"]) if row["took_s"] is not None else "",
        time.strftime("%H:%M:%S", time.localtime(row["started_at"])) if row["started_at"] else "",
        str(row["attempts"] or ""),
        row["worker"] or "",
    )


def _output(output: Mapping[str, Any]) -> str:
    told = [_fold(_name(row), _pre(row["text"])) for row in output["rows"]]
    left = output["matching"] - len(output["rows"])
    return "".join(told) + (f"<p>… {count(left)} more have printed something.</p>" if left > 0 else "")


def _next_steps(run: Snapshot) -> list[str]:
    """How one goes on with what gave no value."""
    if State(run["state"]) not in TERMINAL or State(run["state"]) is State.SUCCEEDED:
        return []
    left = sum(stage["failed"] + stage["cancelled"] + stage["skipped"] for stage in run["stages"])
    if not left:
        return []
    kept = run["done"] - left
    again = f"%taskflow retry {run['run'][:_ID_CHARS]} runs the {count(left)} without a value again."
    return [f"{count(kept)} done are kept; {again}" if kept else again]
