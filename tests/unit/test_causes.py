"""`Causes`: the words for what failed first."""

from __future__ import annotations

from taskflow.causes import Causes
from taskflow.errors import UpstreamFailed
from taskflow.stores.memory import MemoryStore


def test_what_is_not_known_any_more_leaves_the_message_as_it_is() -> None:
    error = UpstreamFailed("add skipped", root="0190")

    assert str(Causes(MemoryStore()).told(error)) == "add skipped"


def test_other_errors_are_left_alone() -> None:
    error = ValueError("no")

    assert Causes(MemoryStore()).told(error) is error
    assert Causes(MemoryStore()).told(None) is None
