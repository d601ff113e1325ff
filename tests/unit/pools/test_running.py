from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, cast

from taskflow.pools.outcomes import Reports
from taskflow.pools.running import Running
from taskflow.pools.stash import Stash
from taskflow.pools.wire import BACK, LANE_BYTES, Lane, Say
from tests.unit.evaluator import new_codec

HI = 300


class _Items:
    def items(self, codec: Any, fn: str, node: str, lo: int, hi: int) -> list[int]:
        return list(range(lo, hi))


def ran(fn: Callable[[int], Any], prepare: Callable[[Running], None]) -> list[tuple[Any, ...]]:
    """What a slot says of a range of quick items, in blocks of a hundred."""
    said: list[tuple[Any, ...]] = []
    codec = new_codec()
    digest, lane = codec.function(fn), Lane(memoryview(bytearray(LANE_BYTES)))
    running = Running(codec, lane, Reports(said.extend), None, "", cast(Stash, _Items()))
    running._block_size = (digest, 100)
    lane.ints[Lane.NUMBER] = running._number = 1
    running._reports._flushed_at = math.inf
    entry = ("node", 0, HI, 1, 0, 1, 0.0, codec.dump_args(digest, (), {}), ())
    prepare(running)
    running._group(0, (digest, "run", "", "", True, HI, False, None, False, 0), [entry])
    running._reports.flush()
    return [record[:4] if record[0] == Say.BACK else record[:6] for record in said]


def wish(running: Running) -> None:
    running.lane.wish(BACK, (1, 0, 0))
    running.obey()


def test_what_is_wanted_back_before_the_range_begins_is_not_run() -> None:
    """The wish came while the slot had just ended something else."""
    said = ran(abs, wish)

    assert said == [(Say.BACK, 1, 0, 1), (Say.OUTCOME, 1, 0, 0, 1, "succeeded")]


def test_what_ran_behind_what_is_wanted_back_is_not_told() -> None:
    """The wish came when an item had ended, and before the next one was noted as running."""

    def late(running: Running) -> None:
        block = running._block

        def interrupted(call: Any, items: Any, lo: int, index: int, size: int, out: Any) -> Any:
            found = block(call, items, lo, index, size, out)
            if index == 100:
                running.lane.ints[Lane.INDEX] = 150
                running.calling = True
                wish(running)
            return found

        running._block = interrupted  # type: ignore[method-assign]

    assert ran(abs, late) == [
        (Say.OUTCOME, 1, 0, 0, 150, "succeeded"),
        (Say.BACK, 1, 0, 151),
        (Say.OUTCOME, 1, 0, 150, 151, "succeeded"),
    ]
