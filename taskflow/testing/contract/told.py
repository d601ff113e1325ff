"""What all parts of the store contract share."""

from __future__ import annotations

import pytest

from taskflow.ports import Store
from taskflow.testing.clock import ManualClock
from taskflow.testing.story import (
    Story,
)

__all__ = ["Told"]


class Told:
    """What all parts of the contract share: a clock, a store on it, and a story to tell."""

    @pytest.fixture
    def clock(self) -> ManualClock:
        """Time of the store under test."""
        return ManualClock()

    @pytest.fixture
    def store(self, clock: ManualClock) -> Store:
        """The store under test; a suite overrides it."""
        raise NotImplementedError("give the suite a fixture `store` that takes `clock`")

    @pytest.fixture
    def other(self, store: Store) -> Store:
        """The same store as another process sees it; the store itself where there is only one process."""
        return store

    @pytest.fixture
    def story(self, store: Store, clock: ManualClock) -> Story:
        """Drives the store."""
        return Story(store, clock)
