"""Calls of a burst that are pledged: what becomes of them when nothing more is heard."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from taskflow.burst import Burst
from taskflow.errors import RunLost, StoreUnavailable
from taskflow.policy import Options, Policy


@pytest.fixture
def burst() -> Burst:
    engine: Any = SimpleNamespace(
        feed=SimpleNamespace(unwatch=lambda *_: None),
        bursts=SimpleNamespace(over=lambda _: None),
        is_bounded=False,
    )
    return Burst(engine, "digest", "called", Options(), Policy(), {})


@pytest.mark.parametrize("error", [RunLost("forgotten"), StoreUnavailable("away")])
def test_all_are_told_what_keeps_them_from_the_store(burst: Burst, error: Any) -> None:
    known, (_, index) = burst.add(1), burst.pledge(2)

    (burst.lost if isinstance(error, RunLost) else burst.fail)(error)

    later = burst.single(index)
    assert (known.exception(0), later.exception(0)) == (error, error)
    assert (later.index, later.is_single, burst.outcome(index)) == (1, True, None)
