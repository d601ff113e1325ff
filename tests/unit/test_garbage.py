"""While a graph is drawn the collector is still, and afterwards as it was."""

from __future__ import annotations

import gc
from typing import Any

import pytest

from taskflow import Workflow
from taskflow.garbage import uncollected
from tests.unit.evaluator import new_draft


def test_the_collector_goes_on_afterwards_also_after_an_error() -> None:
    with uncollected():
        assert not gc.isenabled()
        with uncollected():
            assert not gc.isenabled()
        assert not gc.isenabled()
    assert gc.isenabled()
    with pytest.raises(ZeroDivisionError), uncollected():
        1 / 0  # noqa: B018
    assert gc.isenabled()


def test_who_has_turned_it_off_finds_it_off() -> None:
    gc.disable()
    try:
        with uncollected():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_a_graph_is_drawn_without_it() -> None:
    class Asks:
        """Tells, as it is pickled, whether the collector is at work."""

        def __reduce__(self) -> Any:
            seen.append(gc.isenabled())
            return int, ()

    seen: list[bool] = []
    flow = Workflow()
    flow.add(abs, Asks())
    flow.compile(new_draft())
    assert set(seen) == {False}
    assert gc.isenabled()
