"""The contract of blobs over every place: memory, files, a server, and what lies apart from a server."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from taskflow.blobs.apart import ApartBlobs
from taskflow.blobs.cached import CachedBlobs
from taskflow.blobs.files import FileBlobs
from taskflow.blobs.fsspec import FsspecPlace
from taskflow.blobs.memory import MemoryBlobs
from taskflow.blobs.redis import RedisBlobs
from taskflow.links.redis import RedisLink
from taskflow.ports import Blobs
from taskflow.testing.blob_contract import BlobContract
from tests.servers import RedisServer, running, s3

_numbers = count()


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    yield from running("valkey")


@pytest.fixture
def link(server: RedisServer) -> Iterator[RedisLink]:
    link = RedisLink(f"{server.url}?namespace=b{next(_numbers)}", 20.0)
    yield link
    link.close()


@pytest.fixture
def on_server(link: RedisLink) -> RedisBlobs:
    return RedisBlobs(lambda: link)


class TestMemory(BlobContract):
    @pytest.fixture
    def blobs(self) -> Blobs:
        return MemoryBlobs()

    test_a_sweep_spares_what_is_young = None  # it has no clock: what is not named goes


class TestFiles(BlobContract):
    @pytest.fixture
    def blobs(self, tmp_path: Path) -> Blobs:
        return FileBlobs(tmp_path / "blobs")


class TestServer(BlobContract):
    @pytest.fixture
    def blobs(self, on_server: RedisBlobs) -> Blobs:
        return on_server


class TestServerWithCopies(BlobContract):
    @pytest.fixture
    def blobs(self, on_server: RedisBlobs, tmp_path: Path) -> Blobs:
        return CachedBlobs(ApartBlobs(on_server), tmp_path / "copies")


class TestServerWithoutRoomForCopies(BlobContract):
    @pytest.fixture
    def blobs(self, on_server: RedisBlobs, tmp_path: Path) -> Blobs:
        return CachedBlobs(ApartBlobs(on_server), tmp_path / "copies", most_bytes=0)

    test_a_name_is_written_once = None  # a copy of what comes second may be kept; it is the same by its name


class TestSharedDirectory(BlobContract):
    @pytest.fixture
    def blobs(self, on_server: RedisBlobs, tmp_path: Path) -> Blobs:
        far = ApartBlobs(on_server)
        far.choose(f"file://{tmp_path}/shared folder")
        return CachedBlobs(far, tmp_path / "copies")


class TestSharedDirectoryWithoutCopies(BlobContract):
    @pytest.fixture
    def blobs(self, on_server: RedisBlobs, tmp_path: Path) -> Blobs:
        far = ApartBlobs(on_server)
        far.choose((tmp_path / "shared").as_uri())
        return far


class TestMemoryOfFsspec(BlobContract):
    """A file system that is no file system."""

    @pytest.fixture
    def blobs(self, on_server: RedisBlobs, monkeypatch: pytest.MonkeyPatch) -> Blobs:
        far = ApartBlobs(on_server)
        place = FsspecPlace("memory://place", f"m{next(_numbers)}")
        monkeypatch.setattr(far, "place", lambda: place)
        return far


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    with s3("bucket") as url:
        yield url


class TestS3(BlobContract):
    @pytest.fixture
    def blobs(self, on_server: RedisBlobs, bucket: str, tmp_path: Path) -> Any:
        far = ApartBlobs(on_server)
        far.choose(f"{bucket}/prefix")
        return CachedBlobs(far, tmp_path / "copies")
