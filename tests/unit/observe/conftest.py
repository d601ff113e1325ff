"""What tests of what a person sees start from: a story in a store of its own, with a clock of its own."""

from __future__ import annotations

import pytest

from taskflow.stores.memory import MemoryStore
from taskflow.testing import ManualClock, Story


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(1000.0)


@pytest.fixture
def story(clock: ManualClock) -> Story:
    return Story(MemoryStore(clock=clock), clock)
