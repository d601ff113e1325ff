"""What every pool promises; subclass `PoolContract` and give it a pool."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest

from taskflow.blobs.files import FileBlobs
from taskflow.codec import Codec, Keyring
from taskflow.policy import RetryPolicy
from taskflow.ports import Pool
from taskflow.records import Edge, EdgeMode, Failure, Kind
from taskflow.testing.promises_contract import PromisesContract
from taskflow.testing.workbench import FENCE, Given, Workbench

__all__ = ["PoolContract"]


def _square(x: int) -> int:
    return x * x


def _fail(text: str) -> None:
    raise LookupError(text)


def _odd_fails(x: int) -> int:
    if x % 2:
        raise ValueError(x)
    return x


def _where() -> tuple[str, int, int, int]:
    from taskflow.pools.context import current

    request = current()
    return request.id, request.index, request.attempt, request.fence


def _draw(x: int) -> float:
    from taskflow.pools.context import rng

    return float(rng().random()) + 0 * x


class PoolContract(PromisesContract):
    """The suite. A subclass defines the fixture `pool`, and may use `codec` and `blobs_dir` for it."""

    @pytest.fixture
    def blobs_dir(self, tmp_path: Path) -> Path:
        """Where the pool finds functions."""
        return tmp_path / "blobs"

    @pytest.fixture
    def codec(self, blobs_dir: Path) -> Codec:
        """The client's codec."""
        return Codec(Keyring.load(), FileBlobs(blobs_dir))

    @pytest.fixture
    def pool(self) -> Pool:
        """The pool under test, with at least one slot."""
        raise NotImplementedError

    @pytest.fixture
    def bench(self, pool: Pool, codec: Codec) -> Workbench:
        """Starts leases on it."""
        return Workbench(pool, codec)

    # ── calls ───────────────────────────────────────────────────────────────────────

    def test_a_call_gives_its_result(self, bench: Workbench) -> None:
        """The plainest of all."""
        lease = bench.call(_square, 7)

        outcome = bench.one(lease)

        assert outcome.kind == Kind.SUCCEEDED
        assert bench.value(lease) == 49
        assert outcome.took_s >= 0
        assert outcome.started_at > 1_600_000_000

    def test_many_calls_give_each_its_own_result(self, bench: Workbench) -> None:
        """However they are packed."""
        leases = [bench.call(_square, x) for x in range(200)]

        bench.run(*leases)

        assert [bench.value(lease) for lease in leases] == [x * x for x in range(200)]

    def test_an_exception_is_a_failure_with_its_story(self, bench: Workbench) -> None:
        """Type, text and traceback; and the exception itself, pickled."""
        lease = bench.call(_fail, "no such thing")

        outcome = bench.one(lease)

        assert outcome.kind == Kind.FAILED
        failure = Failure.from_json(outcome.error or "")
        assert failure.type.endswith("LookupError")
        assert "no such thing" in failure.message
        assert "LookupError" in failure.traceback
        rebuilt = bench.codec.exception(failure, outcome.value, lease.key.node, 0, FENCE)
        assert isinstance(rebuilt, LookupError)

    def test_a_failure_hurts_no_other_call(self, bench: Workbench) -> None:
        """Before, between and behind."""
        leases = [bench.call(_odd_fails, x) for x in range(20)]

        outcomes = [o for (o,) in bench.run(*leases)]

        assert [o.kind for o in outcomes] == [Kind.FAILED if x % 2 else Kind.SUCCEEDED for x in range(20)]

    def test_a_retry_policy_decides_in_the_pool(self, bench: Workbench) -> None:
        """Attempts that are left make a retry with a delay, the last one a failure."""
        retry = RetryPolicy(2, on=LookupError, delay=3.0, jitter=None)
        first, last = bench.call(_fail, "x", retry=retry), bench.call(_fail, "x", retry=retry, attempt=3)

        (one,), (two,) = bench.run(first, last)

        assert (one.kind, one.delay_s) == (Kind.RETRY, 3.0)
        assert Failure.from_json(one.error or "").kind == "retry"
        assert two.kind == Kind.FAILED

    @pytest.mark.parametrize("error", [SystemExit(3), GeneratorExit(), StopIteration()])
    def test_whatever_is_raised_is_a_failure(self, bench: Workbench, error: BaseException) -> None:
        """Also what is not an `Exception`; the pool goes on."""

        def leave() -> None:
            raise error

        outcome = bench.one(bench.call(leave))
        lease = bench.call(_square, 2)
        bench.run(lease)

        assert outcome.kind == Kind.FAILED
        assert Failure.from_json(outcome.error or "").type.endswith(type(error).__name__)
        assert bench.value(lease) == 4

    def test_a_result_that_cannot_travel_is_a_failure(self, bench: Workbench) -> None:
        """And is not retried: it would be the same again."""
        outcome = bench.one(bench.call(threading.Lock))

        assert outcome.kind == Kind.FAILED
        assert "CannotPickle" in Failure.from_json(outcome.error or "").type

    def test_arguments_of_another_call_are_not_opened(self, bench: Workbench) -> None:
        """They were sealed for one function only."""
        lease = bench.call(_square, 7)
        other = bench.call(_fail, "x")

        outcome = bench.one(lease._replace(args=other.args))

        assert outcome.kind == Kind.FAILED
        assert "Untrusted" in Failure.from_json(outcome.error or "").type

    def test_a_function_that_is_not_there_is_a_failure(self, bench: Workbench) -> None:
        """Named by a digest that nobody stored."""
        outcome = bench.one(bench.call(_square, 7)._replace(fn="0" * 40))

        assert outcome.kind == Kind.FAILED

    def test_a_coroutine_function_is_awaited(self, bench: Workbench) -> None:
        """In any pool."""

        async def later(x: int) -> int:
            await asyncio.sleep(0)
            return x + 1

        one, many = bench.call(later, 1), bench.array(later, [1, 2, 3])
        bench.run(one, many)

        assert bench.value(one) == 2
        assert bench.value(many) == [2, 3, 4]

    # ── ranges ──────────────────────────────────────────────────────────────────────

    def test_a_range_gives_its_results_in_order(self, bench: Workbench) -> None:
        """Over several pages."""
        lease = bench.array(_square, range(1000), page=64)

        bench.run(lease)

        assert bench.value(lease) == [x * x for x in range(1000)]

    def test_a_part_of_a_range_may_be_leased(self, bench: Workbench) -> None:
        """It begins and ends inside of pages."""
        lease = bench.array(_square, range(1000), page=64, lo=130, hi=270)

        bench.run(lease)

        assert bench.value(lease) == [x * x for x in range(130, 270)]

    def test_each_item_of_a_range_fails_alone(self, bench: Workbench) -> None:
        """Failures name one item; every item has exactly one outcome."""
        lease = bench.array(_odd_fails, range(50))

        (outcomes,) = bench.run(lease)

        failed = [o for o in outcomes if o.kind == Kind.FAILED]
        assert [o.lo for o in failed] == list(range(1, 50, 2))
        assert all(o.hi == o.lo + 1 for o in failed)

    def test_items_share_arguments(self, bench: Workbench) -> None:
        """They come after the item."""
        lease = bench.array(lambda x, y: (x, y), [1, 2], "shared")

        bench.run(lease)

        assert bench.value(lease) == [(1, "shared"), (2, "shared")]

    def test_items_may_be_tuples_of_arguments(self, bench: Workbench) -> None:
        """As `itertools.starmap` takes them."""
        lease = bench.array(lambda x, y, z: x * y + z, [(1, 2), (3, 4)], 100, star=True)

        bench.run(lease)

        assert bench.value(lease) == [102, 112]

    def test_an_item_that_is_tried_again_is_a_new_object(self, bench: Workbench) -> None:
        """What the first attempt did to it is not seen by the second."""
        lease = bench.array(lambda item: item.append(0) or len(item), [[], []])
        bench.run(lease)
        first = bench.value(lease)
        bench.outcomes.clear()
        bench.run(lease)

        assert first == bench.value(lease) == [1, 1]

    def test_only_the_item_whose_result_cannot_travel_fails(self, bench: Workbench) -> None:
        """The others keep theirs."""
        lease = bench.array(lambda x: threading.Lock() if x == 3 else x, range(6))

        (outcomes,) = bench.run(lease)

        assert [(o.lo, o.kind) for o in outcomes if o.kind != Kind.SUCCEEDED] == [(3, Kind.FAILED)]

    # ── inputs ──────────────────────────────────────────────────────────────────────

    def test_a_call_gets_what_its_predecessors_gave(self, bench: Workbench) -> None:
        """The value of a call, all items of an array in order, or one of them."""
        call, array = bench.call(_square, 3), bench.array(_square, range(10), page=4)
        bench.run(call, array)
        one, many = call.key.node, array.key.node
        lease = bench.call(
            lambda a, b, c: (a, b, c),
            Given(one), [Given(many)], Given(many, 4),
            inputs=[Edge(one), Edge(many)],
        )  # fmt: skip

        bench.run(lease)

        assert bench.value(lease) == (9, [[x * x for x in range(10)]], 16)

    def test_failed_predecessors_arrive_as_exceptions_or_are_left_out(self, bench: Workbench) -> None:
        """As the edge says."""
        array = bench.array(_odd_fails, range(5))
        bench.run(array)
        node = array.key.node
        keep = bench.call(
            lambda v: [str(type(x).__name__) for x in v], Given(node), inputs=[Edge(node, EdgeMode.KEEP)]
        )
        drop = bench.call(lambda v: v, Given(node), inputs=[Edge(node, EdgeMode.DROP)])

        bench.run(keep, drop)

        assert bench.value(keep) == ["int", "ValueError", "int", "ValueError", "int"]
        assert bench.value(drop) == [0, 2, 4]

    def test_a_failed_call_arrives_as_its_exception(self, bench: Workbench) -> None:
        """Not as a list of one."""
        bad = bench.call(_fail, "x")
        bench.run(bad)
        node = bad.key.node
        lease = bench.call(lambda e: type(e).__name__, Given(node), inputs=[Edge(node, EdgeMode.KEEP)])

        bench.run(lease)

        assert bench.value(lease) == "LookupError"

    def test_a_call_may_make_the_items_of_an_array(self, bench: Workbench) -> None:
        """Of a node whose width was not known: it settles with growth."""
        digest = bench.codec.function(_square)
        expansion: dict[str, Any] = {"**expand": "the-array", "**expand_fn": digest}
        lease = bench.call(lambda n: iter(range(n)), 5, **expansion)

        bench.run(lease)

        grow = bench.settlements[-1].grow
        assert grow is not None
        ((target, (width, pages)),) = grow.widths.items()
        assert (target, width) == ("the-array", 5)
        assert [x for p in pages for x in bench.codec.load_items(digest, p.lo, p.items)] == list(range(5))
        assert bench.value(lease) == 5

    # ── context ─────────────────────────────────────────────────────────────────────

    def test_a_task_knows_what_it_is(self, bench: Workbench) -> None:
        """By `taskflow.current()`."""
        lease = bench.call(_where, attempt=2)

        bench.run(lease)

        assert bench.value(lease) == (lease.key.node, 0, 2, FENCE)

    def test_an_item_knows_its_index(self, bench: Workbench) -> None:
        """Also where items are run in blocks."""
        lease = bench.array(lambda _: _where()[1], range(300))

        bench.run(lease)

        assert bench.value(lease) == list(range(300))

    def test_random_numbers_do_not_depend_on_how_items_are_grouped(self, bench: Workbench) -> None:
        """An item draws the same numbers whenever it is run, and others than its neighbours."""
        pytest.importorskip("numpy")
        whole = bench.array(_draw, range(30), node="same")
        bench.run(whole)
        all_at_once = bench.value(whole)
        bench.outcomes.clear()
        parts = [bench.array(_draw, range(30), node="same", lo=lo, hi=lo + 10) for lo in (0, 10, 20)]
        bench.start(*parts)
        bench.until(lambda: sum(o.hi - o.lo for o in bench.outcomes.get(whole.key.node, ())) == 30)

        assert bench.value(whole) == all_at_once
        assert len(set(all_at_once)) == 30

    def test_a_task_may_say_something_while_it_runs(self, bench: Workbench) -> None:
        """It arrives as a note with its key."""

        def speak() -> None:
            from taskflow.pools.context import note

            note("progress", {"done": 3})

        lease = bench.call(speak)
        bench.run(lease)

        (said,) = bench.notes
        assert (said.key, said.kind, said.data["done"]) == (lease.key, "progress", 3)

    def test_a_task_may_say_where_it_stands(self, bench: Workbench) -> None:
        """In its own words, with any value that only clients open, and with a bar where that tells of one."""

        def speak() -> None:
            from taskflow.pools.context import report_state

            report_state("PROGRESS", {"current": 3, "total": 10, "of": {4, 5}})

        lease = bench.call(speak)
        bench.run(lease)

        notes = {note.kind: note for note in bench.notes}
        assert notes["state"].key == lease.key
        assert notes["state"].data == {"index": 0, "state": "PROGRESS"}
        told = bench.codec.load_said(lease.key.node, 0, FENCE, notes["state"].value or b"")
        assert told == {"current": 3, "total": 10, "of": {4, 5}}

    def test_a_task_may_wait_for_others(self, bench: Workbench) -> None:
        """In a pool with nothing else to do that changes nothing."""

        def wait() -> int:
            from taskflow.pools.context import lend

            with lend():
                return 5

        lease = bench.call(wait)
        bench.run(lease)

        assert bench.value(lease) == 5

    def test_what_is_not_in_a_task_has_no_context(self) -> None:
        """`current` says so."""
        from taskflow.errors import UsageError
        from taskflow.pools.context import current, inside

        assert not inside()
        with pytest.raises(UsageError):
            current()

    # ── the pool ────────────────────────────────────────────────────────────────────

    def test_an_idle_pool_has_free_slots_and_nothing_to_say(self, bench: Workbench) -> None:
        """And nothing that is due."""
        bench.run(bench.call(_square, 1))

        assert bench.pool.free() >= 1
        assert bench.pool.finished() == ([], [])

    def test_closing_twice_does_no_harm(self, bench: Workbench) -> None:
        """What had ended and was not fetched is given."""
        bench.run(bench.call(_square, 1))

        assert bench.pool.close(drain_s=1.0) == []
        assert bench.pool.close(drain_s=1.0) == []

    def test_memory_errors_are_failures(self, bench: Workbench) -> None:
        """And the pool goes on, with a new process if it has any."""

        def hog() -> None:
            raise MemoryError("no more")

        outcome = bench.one(bench.call(hog))
        lease = bench.call(_square, 3)
        bench.run(lease)

        assert outcome.kind == Kind.FAILED
        assert bench.value(lease) == 9
