"""What a running task adds to its run: something that takes its place, or company for what waits for it.

Nothing is sent at once. The new nodes travel with the outcome of the task, so that an attempt that fails or
dies leaves nothing behind, and the store adds them in the same step in which the task ends.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Protocol

from taskflow.errors import ConfigError
from taskflow.ids import NodeId
from taskflow.plan import Draft, Replaced
from taskflow.policy import Options
from taskflow.records import Growth, Node

if TYPE_CHECKING:
    from taskflow.codec import Codec

__all__ = ["Drawn", "Growing", "Replaced"]


class Drawn(Protocol):
    """Something other than a signature that can take the place of a task."""

    def draw_on(self, draft: Draft, options: Options) -> NodeId:
        """Draw it; returns the node that has the result."""
        ...


class Growing:
    """Draws what tasks of one slot add to their runs.

    Args:
        codec: Turns functions and arguments into bytes.
        url: The store.
    """

    def __init__(self, codec: Codec, url: str) -> None:
        self._codec = codec
        self._url = url
        self._grown: list[Growth] = []

    def replacement(self, by: Any, options: Options) -> Growth:
        """The growth that puts something in the place of a task.

        Raises:
            GraphError: It has no steps, or cannot run.
        """
        draft = self._draft()
        final = by.draw_on(draft, options) if hasattr(by, "draw_on") else _draw(by, draft, options)
        return Growth(_nodes(draft), final=final)

    def join(self, sig: Any, options: Options) -> None:
        """Let what waits for the running task wait for this too."""
        draft = self._draft()
        node = _draw(sig, draft, options)
        self._grown.append(Growth(_nodes(draft), joins=(node,)))

    def take(self) -> Growth | None:
        """What was added since the last time, as one."""
        grown, self._grown = self._grown, []
        if not grown:
            return None
        return Growth(
            tuple(node for one in grown for node in one.nodes),
            joins=tuple(node for one in grown for node in one.joins),
        )

    def _draft(self) -> Draft:
        return Draft(self._codec, time.time, self._url)


def _nodes(draft: Draft) -> tuple[Node, ...]:
    if draft.locks:
        raise ConfigError(
            "A task with unique=... was to become a part of the run of another task: submit it by itself"
            " instead, with delay() or a client."
        )
    return tuple(draft.nodes)


def _draw(sig: Any, draft: Draft, options: Options) -> NodeId:
    """Draw a signature so that its result is that of one call."""
    from taskflow import canvas
    from taskflow.canvas.signatures import as_signature

    shape = canvas.compile(as_signature(sig), draft, options)
    if shape.node is not None and shape.index is None and shape.width is None:
        return shape.node
    return draft.call(_as_it_is, (shape.argument(),), None, options, label="gather")


def _as_it_is(value: Any) -> Any:
    return value
