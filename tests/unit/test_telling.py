"""What is told of a task while somebody waits for its result."""

from __future__ import annotations

import os
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from taskflow.result.telling import tell_until_over


class Bell:
    """Rings all the time."""

    def __init__(self) -> None:
        self._ends = os.pipe()
        os.write(self._ends[1], b"!")

    def fileno(self) -> int:
        return self._ends[0]

    def hush(self) -> None:
        """Goes on ringing."""

    def close(self) -> None:
        for end in self._ends:
            os.close(end)


class Result:
    """Ends between two questions: whether it has ended, and how it stands."""

    def __init__(self, states: list[str]) -> None:
        store = SimpleNamespace(listen=lambda _: Bell())
        self._engine = SimpleNamespace(store=store, is_hopeless=False)
        self._states: Iterator[str] = iter(states)
        self._over = False
        self.result = "value"

    def ready(self) -> bool:
        return self._over

    @property
    def state(self) -> str:
        state = next(self._states)
        self._over = state in ("SUCCESS", "FAILURE", "IGNORED")
        return state

    def told(self, value: object) -> dict[str, Any]:
        return {"value": value}


@pytest.mark.parametrize(
    ("states", "count"), [(["SUCCESS"], 0), (["IGNORED"], 0), (["STARTED", "RETRY", "FAILURE"], 1)]
)
def test_its_end_is_not_told_though_it_comes_between_two_looks(states: list[str], count: int) -> None:
    told: list[dict[str, Any]] = []

    tell_until_over(Result(states), None, 10.0, told.append, None)  # type: ignore[arg-type]

    assert told == [{"value": "value"}] * count
