"""What the predecessors of a node gave, as the values its arguments refer to."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from taskflow.errors import InternalError
from taskflow.ids import NodeId
from taskflow.records import EdgeMode, Failure
from taskflow.states import State

if TYPE_CHECKING:
    from taskflow.codec import Codec

__all__ = ["Inputs"]


class Inputs:
    """Loads inputs when an argument asks for them."""

    def __init__(self, codec: Codec) -> None:
        self._codec = codec

    def of(self, given: list[tuple[Any, ...]] | None) -> Callable[[int, int | None], Any]:
        """What gives the value of a position: the whole of it, or one item of an array node.

        The same object is given wherever the arguments of one call name the same input.
        """
        whole: dict[int, Any] = {}

        def value(position: int, index: int | None) -> Any:
            if given is None or position >= len(given):
                raise InternalError(f"input {position} was not given")
            mode, segments = given[position]
            if index is not None:
                return self._item(mode, segments, index)
            if position not in whole:
                whole[position] = self._whole(mode, segments)
            return whole[position]

        return value

    def _whole(self, mode: str, segments: list[tuple[Any, ...]]) -> Any:
        if len(segments) == 1 and not segments[0][7]:
            return self._load(segments[0])
        items: list[Any] = []
        for segment in segments:
            if segment[3] == State.SUCCEEDED:
                items += self._load(segment)
            elif mode == EdgeMode.KEEP:
                items += [self._load(segment)] * (segment[2] - segment[1])
        return items

    def _item(self, mode: str, segments: list[tuple[Any, ...]], index: int) -> Any:
        for segment in segments:
            if segment[1] <= index < segment[2]:
                loaded = self._load(segment)
                return loaded[index - segment[1]] if segment[3] == State.SUCCEEDED and segment[7] else loaded
        raise InternalError(f"item {index} of an input was not given")

    def _load(self, segment: tuple[Any, ...]) -> Any:
        node, lo, hi, state, value, error, fence, _ = segment
        if state == State.SUCCEEDED:
            return self._codec.load_result(NodeId(node), lo, hi, fence, value)
        failure = Failure.from_json(error) if error else Failure(kind=state)
        return self._codec.exception(failure, value, NodeId(node), lo, fence)
