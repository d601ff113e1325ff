"""What every way to a Redis server has to carry."""

from __future__ import annotations

import select
from contextlib import closing
from typing import Any

from taskflow.stores.redis import RedisStore
from tests.contract.sharing import call, settle_all, want

__all__ = ["rings", "works"]


def works(url: str, wait_s: float = 20.0) -> None:
    """A run goes from one connection to another, with a blob, and the bells of both topics ring."""
    with closing(RedisStore(url, wait_s=wait_s)) as one, closing(RedisStore(url, wait_s=wait_s)) as other:
        plan = call(args=b"argument")
        with closing(other.listen("work")) as work, closing(other.listen("watch")) as watch:
            one.blobs.put(f"blob-{plan.run}", [b"large", b" data"])
            one.submit([plan])
            assert rings(work)
            assert rings(watch)
            assert bytes(other.blobs.open(f"blob-{plan.run}")) == b"large data"
            (lease,) = other.claim(want())
            assert lease.args == b"argument"
            assert not other.settle(settle_all([lease])).lost
        view, _ = one.snapshot(plan.run)
        assert view.state == "succeeded"
        assert one.find(plan.run[:-1])[0] == plan.run
        assert one.reap() is None
        assert all(well for name, well, _ in one.check() if name != "durable"), one.check()
        assert one.sweep(age_s=-1.0, size_bytes=1 << 40)["runs"] == 1


def rings(bell: Any, within_s: float = 5.0) -> bool:
    readable = bool(select.select([bell], [], [], within_s)[0])
    bell.hush()
    return readable
