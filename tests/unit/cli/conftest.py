"""Fixtures of the command line."""

from __future__ import annotations

import pytest

from tests.unit.cli.shop import Shop


@pytest.fixture
def shop() -> Shop:
    """A memory store, and commands that see it."""
    return Shop()
