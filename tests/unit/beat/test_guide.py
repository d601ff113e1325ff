"""The guide runs as printed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from taskflow import Client, hooks

GUIDE = Path(__file__).parents[3] / "docs" / "beat.md"


@pytest.fixture
def session() -> Iterator[dict[str, Any]]:
    before = hooks.app
    with Client(mode="inline") as client:
        yield {"client": client}
    hooks.app = before


def test_the_examples_of_the_guide_are_true(session: dict[str, Any]) -> None:
    exec("\n".join(re.findall(r"```python\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)), session)

    assert session["told"] == "ops is well"
    assert list(session["schedules"]) == ["report", "ping"]
    assert (str(session["schedules"]["ping"].schedule), session["schedules"]["ping"].jitter) == (
        "every min",
        5,
    )
    assert len(session["following"]) == 5
    assert session["names"] == ["weekly", "often", "report"]
