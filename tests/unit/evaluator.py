"""Runs a plan in this process, in topological order: the meaning of a plan, without store and workers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from taskflow.codec import Codec, Keyring
from taskflow.errors import UpstreamFailed
from taskflow.ids import NodeId, RunId
from taskflow.plan import EXPAND_FN_KWARG, EXPAND_KWARG, STAR, Draft, pages
from taskflow.records import EdgeMode, Node, Page, Plan


class DictBlobs:
    """Blobs in a dict."""

    guarded = True

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}

    def put(self, name: str, parts: Sequence[bytes | memoryview], /) -> None:
        self.kept.setdefault(name, b"".join(parts))

    def open(self, name: str, /) -> memoryview:
        return memoryview(bytearray(self.kept[name]))

    def has(self, name: str, /) -> bool:
        return name in self.kept


@dataclass
class Ended:
    """The items of a node that ended: values, or exceptions in their places."""

    items: list[Any]
    array: bool

    @property
    def failed(self) -> bool:
        return any(isinstance(item, Exception) for item in self.items)

    def given(self, mode: EdgeMode) -> Any:
        if mode is EdgeMode.DROP:
            kept = [item for item in self.items if not isinstance(item, Exception)]
            return kept if self.array else kept[0]
        return self.items if self.array else self.items[0]


@dataclass
class Evaluation:
    """What came of a plan.

    Attributes:
        ended: Every node, in the order in which they ran.
    """

    codec: Codec
    plan: Plan
    ended: dict[NodeId, Ended] = field(default_factory=dict)
    widths: dict[NodeId, tuple[Page, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        left = list(self.plan.nodes)
        while left:
            ready = [node for node in left if all(edge.parent in self.ended for edge in node.edges)]
            assert ready, "the plan has a cycle, or an edge to nowhere"
            for node in ready:
                self.ended[node.id] = self._run(node)
            left = [node for node in left if node.id not in self.ended]

    def value(self, node: NodeId, index: int | None = None) -> Any:
        ended = self.ended[node]
        items = ended.items if index is None else [ended.items[index]]
        for item in items:
            if isinstance(item, Exception):
                raise item
        return ended.given(EdgeMode.ALL) if index is None else items[0]

    def _run(self, node: Node) -> Ended:
        if any(edge.mode.needs_success and self.ended[edge.parent].failed for edge in node.edges):
            return Ended([UpstreamFailed(node.label)], node.array)
        inputs = [edge for edge in node.edges if edge.mode.gives_value]
        assert list(node.edges[: len(inputs)]) == inputs, "inputs come first"

        def given(position: int, index: int | None) -> Any:
            value = self.ended[inputs[position].parent].given(inputs[position].mode)
            return value if index is None else value[index]

        fn = self.codec.load_function(node.fn).fn
        args, kwargs = self.codec.load_args(node.fn, node.args, given)
        if not node.array:
            return Ended([self._attempt(node, 0, lambda: self._call(node, fn, args, kwargs))], False)
        call = self._item_call(fn, args, kwargs)
        return Ended([self._attempt(node, i, call, item) for i, item in enumerate(self._items(node))], True)

    def _call(self, node: Node, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        target, digest = kwargs.pop(EXPAND_KWARG, None), kwargs.pop(EXPAND_FN_KWARG, "")
        value = fn(*args, **kwargs)
        if target is None:
            return value
        self.widths[target] = tuple(pages(self.codec, digest, value))
        return self.widths[target][-1].hi if self.widths[target] else 0

    def _item_call(
        self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Callable[[Any], Any]:
        if kwargs.pop(STAR, False):
            return lambda item: fn(*item, *args, **kwargs)
        return lambda item: fn(item, *args, **kwargs)

    def _items(self, node: Node) -> list[Any]:
        paged = self.widths[node.id] if node.width is None else node.pages
        items = []
        for page in paged:
            assert page.lo == len(items), "pages leave no gap"
            items += self.codec.load_items(node.fn, page.lo, page.items)
            assert page.hi == len(items)
        assert node.width in (None, len(items))
        return items

    def _attempt(self, node: Node, index: int, call: Callable[..., Any], *args: Any) -> Any:
        try:
            value = call(*args)
        except Exception as error:  # noqa: BLE001 - the outcome of a task
            return error
        packed = self.codec.dump_result(node.id, index, index + 1, 1, value)
        return self.codec.load_result(node.id, index, index + 1, 1, packed)


def new_codec() -> Codec:
    """The real codec, over blobs in a dict."""
    return Codec(Keyring.ephemeral(), DictBlobs())


def new_draft(codec: Codec | None = None) -> Draft:
    """A draft whose clock stands at 1000."""
    return Draft(codec or new_codec(), lambda: 1000.0)


def evaluate(draft: Draft) -> Evaluation:
    """Run what was drawn."""
    return Evaluation(draft.codec, draft.plan(RunId("run")))
