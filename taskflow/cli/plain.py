"""Records as JSON: every field under its own name, ids in full, times in seconds since the epoch."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

__all__ = ["json_text", "plain"]

_UNSEEN = re.compile("[\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]")


def plain(record: Any) -> Any:
    """A record as dictionaries, lists, texts and numbers.

    Example:
        >>> from taskflow.records import Edge
        >>> plain([Edge("a")])
        [{'parent': 'a', 'mode': 'all', 'lo': 0, 'hi': None}]
    """
    if hasattr(record, "_asdict"):
        return {name: _field(name, value) for name, value in record._asdict().items()}
    if is_dataclass(record):
        return {f.name: _field(f.name, getattr(record, f.name)) for f in fields(record)}
    if isinstance(record, Mapping):
        return {str(name): plain(value) for name, value in record.items()}
    if isinstance(record, (list, tuple, set, frozenset)):
        return [plain(value) for value in record]
    return str(record) if isinstance(record, str) else record


def _field(name: str, value: Any) -> Any:
    if name == "error" and value:
        return json.loads(value)
    return plain(value)


def json_text(value: Any) -> str:
    """One line of JSON in which nothing is invisible, so that it may be shown on a terminal.

    Raises:
        TypeError: The value has a part that JSON does not know.
    """
    text = json.dumps(value, ensure_ascii=False)
    return _UNSEEN.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
