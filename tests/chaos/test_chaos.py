"""The chaos in short; the long form is ``make chaos``."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.storm import BACK_S, Size, Storm, returns
from tests.servers import binaries

SHORT = Size(
    tasks=600, graphs=6, steps=40, clients=3, workers=3, spread_s=5.0, worker_kills=5, server_kills=2
)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("kind", ["valkey", "redis"])
def test_in_a_short_chaos_nothing_is_lost_wrong_or_double(tmp_path: Path, kind: str) -> None:
    if kind not in binaries():
        pytest.skip(f"{kind} is not installed")
    report = Storm(tmp_path, SHORT, kind).run()

    assert report.holds, report.table()
    assert report.submitted >= 600 + 6 * 40
    assert report.happened["worker kills"] >= 5
    assert report.happened["server kills"] >= 2
    assert max(report.back_s, default=0.0) < BACK_S


@pytest.mark.slow
def test_a_server_that_comes_back_three_times_finds_all_workers_at_work(tmp_path: Path) -> None:
    assert max(returns(tmp_path, 3)) < BACK_S
