"""A codec with a key and a directory of its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from taskflow.blobs.files import FileBlobs
from taskflow.codec import Codec, Keyring


@pytest.fixture
def codec(tmp_path: Path) -> Codec:
    return Codec(Keyring.ephemeral(), FileBlobs(tmp_path / "blobs"))


@pytest.fixture
def worker(codec: Codec) -> Codec:
    """The other side: the same key and blobs, and nothing remembered."""
    return Codec(codec.keyring, codec.blobs)


@pytest.fixture
def cell() -> Callable[[str], dict[str, Any]]:
    """Runs code as a notebook would: its functions and classes belong to ``__main__``."""
    session: dict[str, Any] = {"__name__": "__main__"}

    def run(source: str) -> dict[str, Any]:
        exec(compile(source, "<cell>", "exec"), session)
        return session

    return run
