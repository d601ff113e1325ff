"""What most modules here use: a client with two workers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from taskflow import Client
from taskflow.hooks import using
from tests.acceptance.stage import opened


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """One for all tests of a module."""
    with opened(tmp_path_factory.mktemp("store")) as client:
        yield client


@pytest.fixture
def current(client: Client) -> Iterator[Client]:
    """It is the one for those who name none."""
    with using(client):
        yield client
