"""A server where the seeds want one, and a folder for their files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.seeds.stage import Folder
from tests.servers import RedisServer, free_port


@pytest.fixture
def server() -> Iterator[RedisServer]:
    """An empty server on a port."""
    server = RedisServer("valkey", free_port())
    try:
        yield server.start()
    finally:
        server.close()


@pytest.fixture
def folder(tmp_path: Path, server: RedisServer) -> Folder:
    """An empty folder, beside that server."""
    return Folder(tmp_path / "project", server)
