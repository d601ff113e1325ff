"""Settings as rows for a person; what is secret stays so."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from taskflow.links import shown
from taskflow.settings.option import Option, Status
from taskflow.tables import rows_or_frame

__all__ = ["rows_of", "shown_value"]

_COLUMNS = ("setting", "value", "unit", "source", "here", "effect")
_SECRET = re.compile(r"pass(word|wd)?$|secret|token|credential|_key$|^key$|accountkey", re.IGNORECASE)
_URL = re.compile(r"[a-z][a-z0-9+.\-]*://", re.IGNORECASE)
_HIDDEN = "'***'"
_MOST_CHARS = 200


def rows_of(settings: Iterable[tuple[Option, Any, str]], *, everything: bool = False) -> Any:
    """A table of settings, values and sources; what was set comes first."""
    rows = [
        {
            "setting": option.name,
            "value": shown_value(option, value) if value is not None or source != "default" else option.none,
            "unit": option.unit,
            "source": source,
            "here": str(option.status if source == "default" else option.status_of(value)),
            "effect": option.effect() if source == "default" else option.effect(value),
        }
        for option, value, source in settings
        if everything or source != "default" or option.status is not Status.NOTHING
    ]
    rows.sort(key=lambda row: row["source"] == "default")
    return rows_or_frame(rows, _COLUMNS)


def shown_value(option: Option, value: Any) -> str:
    """A value as it may be printed: without passwords.

    Example:
        >>> from taskflow.settings.table import OPTIONS
        >>> shown_value(OPTIONS["broker_url"], "redis://:secret@host/0")
        "'redis://:***@host/0'"
    """
    if option.secret and value is not None:
        return _HIDDEN
    text = _shown(value)
    return text if len(text) <= _MOST_CHARS else text[: _MOST_CHARS - 1] + "…"


def _shown(value: Any) -> str:
    if isinstance(value, str):
        return repr(_without_password(value)) if _URL.match(value) else repr(value)
    if isinstance(value, Mapping):
        hidden = (
            f"{_shown(key)}: {_HIDDEN if isinstance(key, str) and _SECRET.search(key) else _shown(inner)}"
            for key, inner in value.items()
        )
        return "{" + ", ".join(hidden) + "}"
    if isinstance(value, (list, tuple)):
        inner = ", ".join(map(_shown, value))
        return f"[{inner}]" if isinstance(value, list) else f"({inner}{',' * (len(value) == 1)})"
    return repr(value)


def _without_password(url: str) -> str:
    scheme = url.partition("://")[0]
    if ";" in url and "=" in url:  # a connection string: Azure's has its key in it
        return f"{scheme}://***"
    try:
        return shown(url)
    except ValueError:
        return f"{scheme}://***"
