"""How far an item says it is, read from what anybody may have written."""

from __future__ import annotations

from typing import Any

import pytest

from taskflow.observe.progress import Progress, progress_of, told_of
from taskflow.records import ItemView, Said
from taskflow.states import State


def item(**told: Any) -> ItemView:
    said = {"progress": Said("progress", told, None, 1)}
    return ItemView(0, 1, State.RUNNING, 1, 1, "w", None, None, None, None, said)


def test_who_has_said_nothing_has_no_progress() -> None:
    assert progress_of(None) is None
    assert progress_of(item()._replace(said={})) is None
    assert told_of(None) is None


@pytest.mark.parametrize(
    ("told", "share", "text"),
    [
        ({"done": 3, "total": 12}, 0.25, "3/12 (25%)"),
        ({"done": 1500, "total": None, "desc": "rows"}, None, "rows 1,500"),
        ({"done": 30, "total": 12}, 1.0, "30/12 (100%)"),
        ({"done": -3, "total": 12}, 0.0, "-3/12 (0%)"),
        ({"done": 3, "total": 0}, None, "3/0"),
        ({"done": float("nan"), "total": 3}, None, ""),
        ({"done": 10**400, "total": 10**400}, None, ""),
        ({"done": "3", "total": [12]}, None, ""),
        ({"done": True, "total": True}, None, ""),
        ({"loss": 0.123456, "epoch": 3}, None, "loss 0.1235, epoch 3"),
        ({"desc": ["x"] * 500, "done": 1}, None, None),
    ],
)
def test_what_makes_no_sense_is_left_out(told: dict[str, Any], share: float | None, text: str | None) -> None:
    drawn = told_of(progress_of(item(index=0, **told)))

    assert drawn is not None
    assert drawn["share"] == share
    assert text is None or drawn["text"] == text
    assert len(drawn["text"]) <= 120


def test_what_else_was_told_stands_beside_it() -> None:
    assert progress_of(item(done=1, total=2, desc="rows", loss=0.5)) == Progress(1, 2, "rows", {"loss": 0.5})
