"""A Jupyter server for the tests of what it answers; its stores are those of a home of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.jupyter_servers import Jupyter, jupyter


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Jupyter]:
    """One for all tests of a module."""
    with jupyter(tmp_path_factory.mktemp("jupyter")) as server:
        yield server
