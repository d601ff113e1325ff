"""Clients for frames: one that runs inline, for properties, and one with worker processes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from taskflow import Client
from tests.acceptance.stage import opened


@pytest.fixture(scope="module")
def inline() -> Iterator[Client]:
    """Everything in this thread, by the same engine."""
    with Client(mode="inline") as client:
        yield client


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """Two workers, one for all tests of a module."""
    with opened(tmp_path_factory.mktemp("store")) as client:
        yield client
