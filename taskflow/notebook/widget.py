"""The widget that draws a run: anywidget, so that it needs no build and works in every front end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.resources import files
from typing import Any

import anywidget
import traitlets

from taskflow.observe.snapshot import Snapshot

__all__ = ["RunWidget"]

_STATIC = files("taskflow.observe") / "static"

Hear = Callable[[Mapping[str, Any]], dict[str, Any]]


class RunWidget(anywidget.AnyWidget):  # type: ignore[misc]  # it has no types
    """A run as it moves.

    Args:
        snapshot: What is drawn first.
        hear: Answers what a person asks or does: takes ``{"ask": query}`` or ``{"act": verb}``.
    """

    _esm = (_STATIC / "run.js").read_text(encoding="utf-8")
    _css = (_STATIC / "run.css").read_text(encoding="utf-8")
    snapshot = traitlets.Dict().tag(sync=True)

    def __init__(self, snapshot: Snapshot, hear: Hear) -> None:
        super().__init__(snapshot=snapshot)
        self._hear = hear
        self.on_msg(self._heard)

    def _heard(self, _: object, message: Any, __: object) -> None:
        if not isinstance(message, Mapping) or "number" not in message:
            return
        try:
            answer = self._hear(message)
        except Exception as error:  # noqa: BLE001 - whoever asked is told
            self.send({"number": message["number"], "error": f"{error}" or type(error).__name__})
        else:
            self.send({"number": message["number"], "answer": answer})
