"""Bars of tqdm inside tasks: what they would draw on a terminal is what the task says of how far it is.

Nobody changes a line for that. In the processes that run tasks tqdm is told, when it is imported and not
before, to speak to the slot instead of writing to ``sys.stderr``; outside of a task, and in every other
process, it does what it always does.
"""

from __future__ import annotations

import io
import sys
import weakref
from typing import Any

from taskflow.importing import when_imported
from taskflow.pools.context import Place, inside, place

__all__ = ["install"]

LEAVES_LINE_S = 1.0
"""The outermost bar of a task leaves a line in its output, as on a terminal, when it took so long."""

_OUTER = ("done", "total", "desc", "rate", "left")


def install() -> None:
    """From now on bars speak, in this process and in those that it forks; tqdm is not imported for that."""
    when_imported("tqdm.std", _change_std)
    when_imported("tqdm.notebook", _change_notebook)


# ── when tqdm was imported ───────────────────────────────────────────────────────────


def _change_std() -> None:
    """Let every bar speak that would be drawn on the standard streams by a task."""
    kind: Any = sys.modules["tqdm.std"].tqdm
    if _is_changed(kind):
        return
    init, display, close = kind.__init__, kind.display, kind.close

    def begin(self: Any, *args: Any, **kwargs: Any) -> None:
        item = _Item.here() if len(args) <= _FILE_AT and _is_standard(kwargs.get("file")) else None
        if item is not None:
            kwargs |= {"file": _NOWHERE, "disable": bool(kwargs.get("disable", False))}
            self._taskflow = item
            item.opened(self)
        init(self, *args, **kwargs)

    def show(self: Any, msg: str | None = None, *args: Any, **kwargs: Any) -> Any:
        item = vars(self).get("_taskflow")
        if item is None:
            return display(self, msg, *args, **kwargs)
        if msg is None:
            item.tell(self)
        return True

    def end(self: Any) -> None:
        item, was_open = vars(self).get("_taskflow"), not getattr(self, "disable", True)
        close(self)
        if item is not None and was_open:
            item.closed(self)

    kind.__init__, kind.display, kind.close = begin, show, end


def _change_notebook() -> None:
    """A task has no page for widgets: its bars are those of everywhere else."""
    std, kind = sys.modules["tqdm.std"].tqdm, sys.modules["tqdm.notebook"].tqdm_notebook
    if _is_changed(kind):
        return
    make = kind.__new__

    def new(cls: Any, *args: Any, **kwargs: Any) -> Any:
        if not inside():
            return make(cls, *args, **kwargs)
        kwargs.pop("display", None)
        return std(*args, **kwargs)  # none of `cls`, so that Python leaves it as it is

    kind.__new__ = staticmethod(new)


def _is_changed(kind: Any) -> bool:
    """Whether that was done before; it is done only once."""
    was = "_taskflow_speaks" in vars(kind)
    kind._taskflow_speaks = True
    return was


_FILE_AT = 4
"""Where ``file`` stands among the arguments of a bar; who gives so many knows what he wants."""


def _is_standard(file: object) -> bool:
    return file is None or file in (sys.stderr, sys.stdout)


class _Nowhere(io.TextIOBase):
    """Where a bar that speaks writes the rest: line ends, and moves of the cursor."""

    encoding = "utf-8"

    def write(self, text: str, /) -> int:
        return len(text)

    def writable(self) -> bool:
        return True


_NOWHERE = _Nowhere()

# ── what bars say ────────────────────────────────────────────────────────────────────


class _Item:
    """The bars of an item that runs, the outermost first.

    That one is the bar of the task; those within it are told beside it, by their names.
    """

    def __init__(self, here: Place, key: tuple[Any, ...]) -> None:
        self._here, self._key = here, key
        self._open: list[weakref.ref[Any]] = []

    @classmethod
    def here(cls) -> _Item | None:
        """That of the item that runs here, if one does."""
        here = place()
        key = None if here is None else _key(here)
        if here is None or key is None:
            return None
        item = _last.get(here)
        if item is None or item._key != key:
            item = _last[here] = cls(here, key)
        return item

    def opened(self, bar: Any) -> None:
        """A bar was made; it has no values yet."""
        self._open.append(weakref.ref(bar))

    def tell(self, bar: Any) -> None:
        """Say how far a bar is."""
        self._say(_outer(bar) | self._renamed(bar) if self._is_outermost(bar) else self._inner(bar))

    def closed(self, bar: Any) -> None:
        """A bar has ended: an inner one is told no more, the outermost leaves a line in the output."""
        is_outermost = self._is_outermost(bar)
        self._open = [one for one in self._open if one() is not bar]
        if not is_outermost:
            self._say(self._renamed(bar))
        elif bar.leave is not False and bar.format_dict["elapsed"] >= LEAVES_LINE_S and self._goes_on():
            print(bar, file=sys.stderr)

    def _is_outermost(self, bar: Any) -> bool:
        bars = (one() for one in self._open)
        return next((one for one in bars if one is bar or not getattr(one, "disable", True)), bar) is bar

    def _inner(self, bar: Any) -> dict[str, Any]:
        name = vars(bar).setdefault("_taskflow_name", _name(bar, len(self._open)))
        done, total = _scaled(bar)
        of = "" if total is None else f"/{total:,.6g}"
        return {name: f"{done:,.6g}{of}"}

    @staticmethod
    def _renamed(bar: Any) -> dict[str, Any]:
        name = vars(bar).pop("_taskflow_name", None)
        return {} if name is None else {name: None}

    def _say(self, facts: dict[str, Any]) -> None:
        if facts and self._goes_on():
            self._here.say({"progress": facts})

    def _goes_on(self) -> bool:
        """Whether it still runs: a bar may be kept for longer."""
        return _key(self._here) == self._key


_last: weakref.WeakKeyDictionary[Place, _Item] = weakref.WeakKeyDictionary()
"""What a slot runs, or ran last, as far as that has bars."""


def _key(here: Place) -> tuple[Any, ...] | None:
    request = here.request()
    return None if request is None else (request.id, request.index, request.fence, request.delivery)


def _outer(bar: Any) -> dict[str, Any]:
    done, total = _scaled(bar)
    known = bar.format_dict
    rate = known["rate"] or ((bar.n - bar.initial) / known["elapsed"] if known["elapsed"] else None)
    facts = {"done": done, "total": total, "desc": (bar.desc or "").removesuffix(": ")}
    if rate and not known["unit_scale"]:
        facts["rate"] = f"{rate:,.3g} {bar.unit}/s"
    elif rate:
        facts["rate"] = f"{bar.format_sizeof(rate, divisor=bar.unit_divisor)}{bar.unit}/s"
    facts["left"] = bar.format_interval((bar.total - bar.n) / rate) if rate and bar.total else None
    return facts | _beside(bar.postfix)


def _scaled(bar: Any) -> tuple[float, float | None]:
    scale = bar.unit_scale if bar.unit_scale not in (True, False, None) else 1
    return bar.n * scale, None if bar.total is None else bar.total * scale


def _beside(postfix: Any) -> dict[str, Any]:
    """What ``set_postfix`` has put beside the bar: numbers by name, or text."""
    if not postfix:
        return {}
    pairs = [part.partition("=") for part in str(postfix).split(", ")]
    if all(equals and name.strip() not in _OUTER for name, equals, _ in pairs):
        return {name.strip(): value[:200] for name, _, value in pairs}
    return {"note": str(postfix)[:200]}


def _name(bar: Any, level: int) -> str:
    name = (bar.desc or "").removesuffix(": ").strip()[:60]
    return name if name and name not in _OUTER else f"bar {max(2, level)}"
