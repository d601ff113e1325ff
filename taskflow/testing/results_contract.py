"""What every place for results has to keep. A subclass defines the fixtures `results` and `clock`.

class TestMine(ResultsContract):
@pytest.fixture
def results(self, clock): ...
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from taskflow.ports import Results
from taskflow.records import GroupRecord, ResultRecord
from taskflow.testing.clock import ManualClock

__all__ = ["ResultsContract"]

FULL = ResultRecord(
    "0190-a[3]",
    "SUCCESS",
    bytes(range(256)) * 400,
    '{"größe": [1, null]}',
    "shop.tasks.add",
    "[1, 2]",
    '{"a": "b"}',
    "",
    "gpu-1",
    "default",
    2,
    1_700_000_000.125,
    "0190-run",
    7,
)


class ResultsContract:
    """The suite."""

    @pytest.fixture
    def clock(self) -> ManualClock:
        """What tells how old something is."""
        return ManualClock(1_700_000_100.0)

    def test_what_is_put_is_given_back(self, results: Results) -> None:
        """All of it, and as precise as microseconds."""
        results.put(FULL)

        assert results.get(FULL.id) == FULL
        assert results.get("0190-a") is None

    def test_what_comes_later_takes_its_place(self, results: Results) -> None:
        """As a task that runs again may give something else."""
        results.put(FULL)

        results.put(replace(FULL, status="FAILURE", traceback="Traceback …", fence=8))
        results.put(replace(FULL, status="SUCCESS", retries=3, fence=8))

        found = results.get(FULL.id)
        assert found is not None
        assert (found.status, found.retries, found.traceback) == ("SUCCESS", 3, "")

    def test_who_has_lost_its_lease_overwrites_nothing(self, results: Results) -> None:
        """A worker that was taken for dead may end after the one that took its place."""
        results.put(FULL)

        results.put(replace(FULL, status="FAILURE", fence=6))

        assert results.get(FULL.id) == FULL

    def test_a_group_is_kept_with_its_members_in_order(self, results: Results) -> None:
        """And is no task."""
        first, second = GroupRecord("g", ("b", "a", "c"), 1.5), GroupRecord("g", (), 2.0)

        results.put_group(first)
        assert results.get_group("g") == first
        results.put_group(second)

        assert results.get_group("g") == second
        assert results.get("g") is None
        assert results.get_group(FULL.id) is None

    def test_what_is_deleted_is_gone(self, results: Results) -> None:
        """A task as well as a group."""
        results.put(FULL)
        results.put_group(GroupRecord("g", ("a",)))

        assert (results.delete(FULL.id), results.delete("g"), results.delete("g")) == (True, True, False)

        assert results.get(FULL.id) is None
        assert results.get_group("g") is None

    def test_a_sweep_forgets_what_is_old(self, results: Results, clock: ManualClock) -> None:
        """And leaves what is young."""
        old, young = FULL, replace(FULL, id="young", date_done=FULL.date_done + 60)
        results.put(old)
        results.put(young)
        results.put_group(GroupRecord("g", (old.id,), FULL.date_done))

        assert results.sweep(120.0) == 0
        assert results.sweep(50.0) == 2

        assert results.get(old.id) is None
        assert results.get_group("g") is None
        assert results.get("young") == young

    @pytest.mark.parametrize(
        "text", ["", "a\0b", "\U0001f600", "'; DROP TABLE taskflow_results; --", "x" * 100_000]
    )
    def test_any_text_can_be_kept(self, results: Results, text: str) -> None:
        """Tracebacks hold whatever a task has printed into its messages; NUL may become another sign."""
        results.put(replace(FULL, traceback=text))

        found = results.get(FULL.id)
        assert found is not None
        assert found.traceback.replace("\N{REPLACEMENT CHARACTER}", "\0") == text

    def test_writers_of_one_task_leave_one_whole_record(self, results: Results) -> None:
        """Whichever of them it is."""
        wanted = [replace(FULL, retries=n, args=str([n] * 100)) for n in range(8)]

        with ThreadPoolExecutor(4) as threads:
            for done in [threads.submit(results.put, record) for record in wanted]:
                done.result()

        assert results.get(FULL.id) in wanted

    def test_it_may_be_closed_twice(self, results: Results) -> None:
        """As exits of several owners do."""
        results.close()
        results.close()
