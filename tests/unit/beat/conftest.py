"""Two stages: one on which everything runs at once, and one on which nothing runs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from taskflow import Client
from tests.unit.beat.stage import Stage


@pytest.fixture
def stage() -> Iterator[Stage]:
    """What is sent runs at once."""
    with Client(mode="inline") as client:
        yield Stage(client)


@pytest.fixture
def idle(tmp_path: Path) -> Iterator[Stage]:
    """What is sent stays where it is: nobody works."""
    client = Client(str(tmp_path / "store.db"), workers=0)
    yield Stage(client)
    client.shutdown(wait=False)
