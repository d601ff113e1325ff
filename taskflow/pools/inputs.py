"""What the predecessors of a node gave, as the values its arguments refer to."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from taskflow.errors import InternalError, TaskSkipped
from taskflow.ids import NodeId
from taskflow.plan import Fault
from taskflow.records import EdgeMode, Failure, Segment
from taskflow.states import State

if TYPE_CHECKING:
    from taskflow.codec import Codec

__all__ = ["Inputs"]

_FAULTS = (EdgeMode.FAILED, EdgeMode.BROKEN)


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
            mode, _, _, segments = given[position]
            if index is not None:
                return self._item(mode, segments, index)
            if position not in whole:
                whole[position] = self._whole(*given[position])
            return whole[position]

        return value

    def join(self, given: list[tuple[Any, ...]] | None, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """The arguments, the first of which gets what joined it later, see `EdgeMode.JOIN`."""
        joined = [self._whole(*one) for one in given or () if one[0] == EdgeMode.JOIN]
        return ([*args[0], *joined], *args[1:]) if joined else args

    def _whole(self, mode: str, lo: int, hi: int | None, segments: list[tuple[Any, ...]]) -> Any:
        if mode in _FAULTS:
            return self._fault(segments)
        if len(segments) == 1 and not segments[0][7]:
            return self._load(segments[0])
        items: list[Any] = []
        for segment in segments:
            first, last = max(lo, segment[1]), segment[2] if hi is None else min(hi, segment[2])
            if segment[3] == State.SUCCEEDED:
                items += self._load(segment)[first - segment[1] : last - segment[1]]
            elif mode == EdgeMode.KEEP and not isinstance(loaded := self._load(segment), TaskSkipped):
                items += [loaded] * (last - first)
        return items

    def _fault(self, segments: list[tuple[Any, ...]]) -> Fault:
        first = next(segment for segment in segments if segment[3] != State.SUCCEEDED)
        failure = Failure.from_json(first[5]) if first[5] else Failure(kind=first[3])
        item, array = (0, False) if first[8] else (first[1], first[7])
        return Fault(NodeId(first[0]), item, self._load(first), failure.traceback, array)

    def _item(self, mode: str, segments: list[tuple[Any, ...]], index: int) -> Any:
        for segment in segments:
            if not segment[7] or segment[1] <= index < segment[2]:  # a call stands for the item
                loaded = self._load(segment)
                return loaded[index - segment[1]] if segment[3] == State.SUCCEEDED and segment[7] else loaded
        raise InternalError(f"item {index} of an input was not given")

    def _load(self, segment: tuple[Any, ...]) -> Any:
        known = Segment(*segment)
        if known.state == State.SUCCEEDED:
            return self._codec.load_segment(known)
        return self._codec.segment_error(known)
