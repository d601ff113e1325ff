"""Questions about a run that somebody asks who looks at it: rows of its table, output, why something failed.

The widget asks by way of the kernel, the panel by way of the Jupyter server; the answers are the same JSON,
but that a server opens no values: `preview` is for who may.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from taskflow.errors import UsageError, nearest
from taskflow.ids import NodeId, RunId
from taskflow.observe.progress import progress_of, told_of
from taskflow.observe.snapshot import LABEL_CHARS
from taskflow.observe.steps import helpers_of
from taskflow.ports import Store
from taskflow.records import Failure, ItemView, NodeView, RunView
from taskflow.states import State

__all__ = ["Preview", "act", "answer"]

Preview = Callable[[NodeId, int, int], Sequence[str]]
"""Results of items ``[lo, hi)`` of a node that succeeded, in few words each."""

SIZE, SIZE_MOST = 50, 500
_TEXT_CHARS, _CELL_CHARS = 64_000, 300


def answer(
    store: Store, run: RunId, query: Mapping[str, Any], preview: Preview | None = None
) -> dict[str, Any]:
    """Answer a question about a run.

    Args:
        store: Where the run is.
        run: Its id.
        query: ``what`` is ``"rows"`` (with ``state``, ``label``, ``sort``, ``down``, ``page``, ``size``),
            ``"logs"`` (with ``page``, ``size``), ``"log"`` or ``"error"`` (with ``node`` or ``label``, and
            ``index``): steps may have the same label, so rows say which ``node`` they are of.
        preview: Opens results; without it rows have none.

    Raises:
        UsageError: There is no such question.
        NoSuchRun: The store knows no such run; ResultExpired: it did.
    """
    what = query.get("what") if isinstance(query, Mapping) else None
    if not isinstance(what, str) or what not in _ANSWERS:
        raise UsageError(f"There is no question {what!r}.{nearest(str(what), _ANSWERS)}")
    view, _ = store.snapshot(run)
    return _ANSWERS[what](store, view, query, preview)


def act(store: Store, run: RunId, verb: str) -> dict[str, Any]:
    """Do something about a run: ``"cancel"`` it, or ``"retry"`` what gave no value.

    Returns:
        ``changed`` tells whether anything was cancelled; ``run`` is the new run, or `None` when there was
        nothing to retry.

    Raises:
        UsageError: There is no such verb.
    """
    if verb == "cancel":
        return {"changed": store.cancel(run, reason="cancelled by who looked at it")}
    if verb == "retry":
        from taskflow.ids import new_id

        new = RunId(new_id())
        return {"run": new if store.rerun(run, new) else None}
    raise UsageError(f"There is no verb {verb!r}.{nearest(verb, ('cancel', 'retry'))}")


# ── the table ────────────────────────────────────────────────────────────────────────


def _rows(store: Store, view: RunView, query: Mapping[str, Any], preview: Preview | None) -> dict[str, Any]:
    size = _number(query, "size", SIZE, 1, SIZE_MOST)
    page = _number(query, "page", 0, 0, 1 << 40)
    found = list(_matching(store, view, _states(query), str(query.get("label") or "")))
    matching = sum(item.hi - item.lo for _, item in found)
    sort = query.get("sort") or "index"
    if not isinstance(sort, str) or sort not in _SORTS:
        raise UsageError(f"Rows cannot be sorted by {sort!r}.{nearest(str(sort), _SORTS)}")
    down = bool(query.get("down"))
    found = _sorted(found, sort, down=down)
    picked = list(islice(_each(found, down=down), page * size, (page + 1) * size))
    return {
        "rows": [_row(*one) for one in _with_previews(picked, preview)],
        "matching": matching,
        "page": page,
        "size": size,
    }


def _states(query: Mapping[str, Any]) -> frozenset[State]:
    name = query.get("state") or ""
    if not name:
        return frozenset(State)
    if name == "failed":
        return frozenset({State.FAILED, State.DEAD, State.EXPIRED})
    try:
        return frozenset({State(name)})
    except ValueError:
        raise UsageError(f"There is no state {name!r}.{nearest(str(name), map(str, State))}") from None


def _matching(
    store: Store, view: RunView, states: frozenset[State], label: str
) -> Iterator[tuple[NodeView, ItemView]]:
    helpers = {helper for helper, _ in helpers_of(view)}
    for node in view.nodes:
        if node.id not in helpers and (not label or _told(node) == label[:LABEL_CHARS]):
            for item in store.items(node.id):
                if item.state in states:
                    yield node, item


def _told(node: NodeView) -> str:
    return node.label[:LABEL_CHARS]


def _attempts(item: ItemView) -> int:
    return item.attempts or int(item.started_at is not None)


def _took_s(item: ItemView) -> float | None:
    return None if item.took_s is None else item.took_s / max(1, item.hi - item.lo)


_SORTS: dict[str, Callable[[ItemView], Any]] = {
    "index": lambda item: None,
    "state": lambda item: str(item.state),
    "worker": lambda item: item.worker,
    "attempts": _attempts,
    "started_at": lambda item: item.started_at,
    "took_s": _took_s,
}


def _sorted(
    found: list[tuple[NodeView, ItemView]], sort: str, *, down: bool
) -> list[tuple[NodeView, ItemView]]:
    """In order; what has no such value comes last, either way."""
    if sort == "index":
        return found[::-1] if down else found
    value = _SORTS[sort]
    known = [one for one in found if value(one[1]) is not None]
    known.sort(key=lambda one: value(one[1]), reverse=down)
    return known + [one for one in found if value(one[1]) is None]


def _each(
    found: Sequence[tuple[NodeView, ItemView]], *, down: bool
) -> Iterator[tuple[NodeView, ItemView, int]]:
    for node, item in found:
        indexes = range(item.lo, item.hi)
        for index in reversed(indexes) if down else indexes:
            yield node, item, index


_Picked = tuple[NodeView, ItemView, int]


def _with_previews(
    picked: Sequence[_Picked], preview: Preview | None
) -> Iterator[tuple[NodeView, ItemView, int, str | None]]:
    """The values of one page, asked for in as few pieces as they stand in."""
    texts: dict[tuple[NodeId, int], str] = {}
    if preview is not None:
        for made_by, lo, hi in _stretches(picked):
            texts.update(((made_by, lo + i), text) for i, text in enumerate(preview(made_by, lo, hi)))
    for node, item, index in picked:
        yield node, item, index, texts.get((node.id, index))


def _stretches(picked: Sequence[_Picked]) -> Iterator[tuple[NodeId, int, int]]:
    wanted = sorted({(node.id, i) for node, item, i in picked if item.state is State.SUCCEEDED})
    at = 0
    while at < len(wanted):
        node, lo = wanted[at]
        hi = lo
        while at < len(wanted) and wanted[at] == (node, hi):
            at, hi = at + 1, hi + 1
        yield node, lo, hi


def _row(node: NodeView, item: ItemView, index: int, preview: str | None) -> dict[str, Any]:
    return {
        "node": node.id,
        "label": _told(node),
        "index": index if node.array else None,
        "state": str(item.state),
        "worker": item.worker,
        "attempts": _attempts(item),
        "started_at": item.started_at,
        "took_s": _took_s(item),
        "preview": None if preview is None else preview[:_CELL_CHARS],
        "error": str(Failure.from_json(item.error))[:_CELL_CHARS] if item.error else None,
        "doing": told_of(progress_of(item)),
    }


# ── output and errors ────────────────────────────────────────────────────────────────


def _logs(store: Store, view: RunView, query: Mapping[str, Any], preview: Preview | None) -> dict[str, Any]:
    """What tasks have printed, one row for each that has."""
    size = _number(query, "size", SIZE, 1, SIZE_MOST)
    page = _number(query, "page", 0, 0, 1 << 40)
    found: list[dict[str, Any]] = []
    for node in view.nodes:
        by_index: dict[int, list[str]] = {}
        for index, text in store.logs(node.id):
            by_index.setdefault(index, []).append(text)
        found += [
            {
                "node": node.id,
                "label": _told(node),
                "index": index if node.array else None,
                "text": "".join(texts),
            }
            for index, texts in by_index.items()
        ]
    rows = found[page * size : (page + 1) * size]
    for row in rows:
        row["text"] = _end(row["text"], _TEXT_CHARS // size)
    return {"rows": rows, "matching": len(found), "page": page, "size": size}


def _log(store: Store, view: RunView, query: Mapping[str, Any], preview: Preview | None) -> dict[str, Any]:
    node, index = _named(view, query)
    return {"text": _end("".join(text for _, text in store.logs(node.id, index=index)), _TEXT_CHARS)}


def _error(store: Store, view: RunView, query: Mapping[str, Any], preview: Preview | None) -> dict[str, Any]:
    node, index = _named(view, query)
    found = next((item for item in store.items(node.id) if item.lo <= index < item.hi), None)
    failure = Failure.from_json(found.error) if found and found.error else Failure("")
    return {"type": failure.type, "message": failure.message, "traceback": failure.traceback}


def _named(view: RunView, query: Mapping[str, Any]) -> tuple[NodeView, int]:
    name, label = query.get("node"), query.get("label")
    if name is not None:
        node = next((node for node in view.nodes if node.id == name), None)
    else:
        node = next((node for node in view.nodes if label in (node.label, _told(node))), None)
    if node is None:
        raise UsageError(f"Run {view.id} has no step {name or label!r}.{nearest(str(label), _labels(view))}")
    return node, _number(query, "index", 0, 0, 1 << 40)


def _labels(view: RunView) -> list[str]:
    return [node.label for node in view.nodes]


def _number(query: Mapping[str, Any], name: str, default: int, least: int, most: int) -> int:
    value = query.get(name)
    if value is None:
        return default
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise UsageError(f"{name}={value!r} is not possible: use a number from {least} to {most}.")
    return value


def _end(text: str, chars: int) -> str:
    return text if len(text) <= chars else f"… {len(text) - chars:,} characters before …\n{text[-chars:]}"


_ANSWERS = {"rows": _rows, "logs": _logs, "log": _log, "error": _error}
