"""What is printed of a URL."""

from __future__ import annotations

import pytest

from taskflow.links import shown
from taskflow.links.redis import parse

URLS = [
    "redis://team:secret@host:6379/0?namespace=a",
    "redis://:secret@host",
    "redis+sentinel://team:secret@one:26379,two/main/1",
]
OTHERS = [
    "/data/runs.db",
    "sqlite:////data/runs.db?sync=full",
    "redis+socket:///run/redis.sock?db=1",
    "memory://",
]


@pytest.mark.parametrize("url", URLS)
def test_a_password_is_not_shown(url: str) -> None:
    assert "secret" not in shown(url)
    assert "secret" not in parse(url).shown
    assert parse(url).password == "secret"


@pytest.mark.parametrize("url", OTHERS)
def test_a_url_without_a_password_is_shown_as_it_is(url: str) -> None:
    assert shown(url) == url
