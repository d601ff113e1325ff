"""What is told of a task while somebody waits for its result."""

from __future__ import annotations

import select
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from taskflow.pools import context
from taskflow.result.words import READY
from taskflow.run import seconds_left

if TYPE_CHECKING:
    from taskflow.result.single import AsyncResult

__all__ = ["tell_until_over"]

_SILENT = ("PENDING", "STARTED", *READY)
_GAP_S = 0.02


def tell_until_over(
    result: AsyncResult,
    deadline: float | None,
    interval_s: float,
    on_message: Callable[[dict[str, Any]], object] | None,
    on_interval: Callable[[], object] | None,
) -> None:
    """Wait until a task has ended or the time is up, and tell what it becomes and says of itself meanwhile.

    The store rings when something happens; what follows in less than 20 ms is told as one.

    Args:
        result: The task.
        deadline: On the monotonic clock.
        interval_s: The longest time between two looks.
        on_message: Called with what is known of the task, whenever its state or what it says has changed; not
            for ``PENDING`` and ``STARTED``, and not for its end.
        on_interval: Called before each look.
    """
    engine, last = result._engine, None
    bell = engine.store.listen("watch")
    try:
        with context.lend():
            while True:
                bell.hush()
                if on_interval is not None:
                    on_interval()
                if result.ready() or engine.is_hopeless:
                    return
                told = (result.state, result.result)
                if on_message is not None and told[0] not in _SILENT and told != last:
                    last = told
                    on_message(result.told(told[1]))
                left = seconds_left(deadline)
                if left == 0.0:
                    return
                select.select([bell], [], [], interval_s if left is None else min(interval_s, left))
                time.sleep(_GAP_S)
    except KeyboardInterrupt:
        engine.interrupted([result])
        raise
    finally:
        bell.close()
