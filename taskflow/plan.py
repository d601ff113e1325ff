"""Compiles calls and maps into one flat `Plan`, whose ids are known before anything is sent.

A `Draft` owns the nodes of a plan while it grows. It knows nothing of canvas and workflow: those
walk their own shapes and draw nodes here. It never sends, waits or reads a result.

Three agreements between a draft and the child that runs its nodes:

- **items**: an item of an array node is called as ``fn(item, *args, **kwargs)``; when the keyword
  `STAR` is among the shared arguments, as ``fn(*item, *args, **kwargs)``.
- **expansion**: a call whose keywords hold `EXPAND_KWARG` returns an iterable, which becomes the
  items of the array node named there: the child makes its pages by `pages` under the digest in
  `EXPAND_FN_KWARG`, and settles with ``Growth(widths={target: (width, pages)})``. The value of the
  call itself is the width.
- these keywords are taken out before the function is called; no Python function can have them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, NamedTuple

from taskflow.codec import Reference, value_bytes
from taskflow.errors import ConfigError, GraphError, UsageError
from taskflow.ids import NodeId, RunId, new_id
from taskflow.locking import lock_of_call
from taskflow.policy import Options, Policy
from taskflow.records import Edge, EdgeMode, Lock, Node, Page, Plan
from taskflow.unique import Unique

if TYPE_CHECKING:
    from taskflow.codec import Codec

__all__ = [
    "EXPAND_FN_KWARG",
    "EXPAND_KWARG",
    "HELPER",
    "PARTS",
    "STAR",
    "Draft",
    "Fault",
    "Filled",
    "Output",
    "Replaced",
    "has_reference",
    "pages",
]

STAR = "*"
EXPAND_KWARG = "**expand"
EXPAND_FN_KWARG = "**expand_fn"
HELPER = "items of {}"
PARTS = "parts of {}"
"""Labels of nodes that only serve another one: they are shown as a part of it."""
"""The label of the call before an array node of unknown width, by the label of that."""

PAGE_ITEMS = 4096
PAGE_BYTES = 256 * 1024
RANGE_PAGE_ITEMS = 65_536
FIRST_PAGE_ITEMS = 64

_DEFAULTS = Options()
_NO_STAND_IN: Mapping[tuple[NodeId, int], NodeId] = {}
_SOME = (-1, -1)
"""Where an edge asks for calls of a burst, until all of them are known."""


@dataclass(frozen=True, slots=True)
class Output(Reference):
    """What a node will give, as an argument of another one.

    Args:
        node_id: The node.
        index: One item of it, or `None` for the whole.
        mode: What the successor needs of it.
        lo, hi: With `hi`, only these items of an array node, and the successor waits for no others.
    """

    node_id: NodeId
    index: int | None = None
    mode: EdgeMode = EdgeMode.ALL
    lo: int = 0
    hi: int | None = None


class Fault(NamedTuple):
    """Why a node gave no value: what an edge of mode ``FAILED`` or ``BROKEN`` gives.

    Args:
        node: Which failed; the one that failed first, when the predecessor was skipped for it.
        item: Which item of it.
        error: Its exception.
        traceback: The worker's text.
        array: Whether it is an item of an array node.
    """

    node: NodeId
    item: int
    error: BaseException
    traceback: str
    array: bool = False


class Replaced(BaseException):
    """Ends a task whose result is that of something else: a signature, or what can `draw_on` a draft."""

    def __init__(self, by: Any) -> None:
        super().__init__(by)
        self.by = by


class Draft:
    """A plan in the making.

    Args:
        codec: Turns functions, arguments and items into bytes.
        now: The time, for options that name an instant.
        url: The store it is meant for; references that belong to another one are refused.

    Attributes:
        nodes: What was drawn so far, in order.
        alias: Ids that stand for others in this draft: a template that is compiled many times
            refers to its own parts by ids that are new in each plan.
        functions: The functions that were drawn, by digest.
        locks: What the calls ask for that say of themselves to be unique.
        tags: Those of nodes that have some.
        taken: Nodes of other runs that stand for parts of this one, by id: they are not drawn, and found.
    """

    def __init__(self, codec: Codec, now: Callable[[], float], url: str = "") -> None:
        self.codec = codec
        self.url = url
        self.nodes: list[Node] = []
        self.functions: dict[str, Callable[..., Any]] = {}
        self.alias: Mapping[NodeId, NodeId] = {}
        self.taken: dict[NodeId, Node] = {}
        self.locks: list[tuple[Lock, Unique]] = []
        self.tags: dict[NodeId, Mapping[str, Any]] = {}
        self._now = now
        self._sent: dict[int, _Sent] = {}

    def call(
        self,
        fn: Callable[..., Any],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        options: Options = _DEFAULTS,
        *,
        node_id: NodeId | None = None,
        edges: Iterable[Edge] = (),
        label: str | None = None,
    ) -> NodeId:
        """Draw a call. A `Reference` anywhere in its arguments makes an edge.

        Args:
            fn: What to call.
            args: Its positional arguments.
            kwargs: Its keyword arguments.
            options: How the node is treated; `Options.after` makes edges too.
            node_id: The id to give it; a new one by default.
            edges: Further edges; those that give a value take the first input positions.
            label: What a person reads; the name of the function by default.

        Raises:
            CannotPickle: The function or an argument cannot travel.
        """
        digest = self._digest(fn, options)
        value, links = self._dump_args(fn, digest, args, kwargs or {}, edges, options)
        policy = options.policy_for(fn, args, kwargs)
        node = self._add(fn, digest, value, links, options, policy, node_id, label, 1, False, ())
        if isinstance(options.unique, Unique):
            drawn = self.nodes[-1]
            lock = lock_of_call(options.unique, self.codec, fn, drawn, args, kwargs or {})
            self.locks.append((lock, options.unique))
        return node

    def map(
        self,
        fn: Callable[..., Any],
        iterables: Sequence[Iterable[Any]],
        options: Options = _DEFAULTS,
        *,
        node_id: NodeId | None = None,
        edges: Iterable[Edge] = (),
        label: str | None = None,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> tuple[NodeId, int]:
        """Draw an array node: one call for each item, as `Executor.map` makes them.

        One iterable gives its items bare; several are zipped and end with the shortest.

        Args:
            fn: What to call.
            iterables: Read once, page by page.
            options: How each item is treated.
            node_id: The id to give the node; a new one by default.
            edges: Further edges.
            label: What a person reads.
            args: Positional arguments that all items share, after the item's own.
            kwargs: Keyword arguments that all items share.

        Returns:
            The id, and how many items there are.
        """
        star = len(iterables) > 1
        items = zip(*iterables, strict=False) if star else iterables[0]
        return self.array(
            fn, items, options, star=star, args=args, kwargs=kwargs, node_id=node_id, edges=edges, label=label
        )

    def array(
        self,
        fn: Callable[..., Any],
        items: Iterable[Any],
        options: Options = _DEFAULTS,
        *,
        star: bool = False,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        node_id: NodeId | None = None,
        edges: Iterable[Edge] = (),
        label: str | None = None,
        page_items: int = PAGE_ITEMS,
    ) -> tuple[NodeId, int]:
        """Draw an array node over ready-made items; with `star` each is the tuple of its arguments.

        References among the items make edges of the whole node: it starts when all are there.

        Returns:
            The id, and how many items there are.
        """
        label = label or options.label or self.codec.describe(fn)
        policy = options.policy_for(fn)
        first, items = _peek(items)
        if has_reference(first, star):
            fn, items, given = _with_slots(fn, items, star)
            args, star = (given, *args), False
        digest = self._digest(fn, options)
        shared = {**(kwargs or {}), STAR: True} if star else kwargs or {}
        value, links = self._dump_args(fn, digest, args, shared, edges, options)
        paged = tuple(pages(self.codec, digest, items, page_items))
        width = paged[-1].hi if paged else 0
        node = self._add(fn, digest, value, links, options, policy, node_id, label, width, True, paged)
        return node, width

    def array_of(
        self,
        fn: Callable[..., Any],
        source: Reference,
        options: Options = _DEFAULTS,
        *,
        star: bool = False,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        node_id: NodeId | None = None,
        edges: Iterable[Edge] = (),
        label: str | None = None,
        spread: Callable[[Any], Iterable[Any]] | None = None,
    ) -> NodeId:
        """Draw an array node whose items are what another node returns: its width is not known yet.

        A small call between the two takes the iterable apart, see the agreement on expansion: `spread`
        makes the items of the value, which are its elements by default. It waits for all that the array
        node waits for: where that is skipped, nobody looks at the value.

        Returns:
            The id of the array node.
        """
        target = node_id or NodeId(new_id())
        digest = self._digest(fn, options)
        around = Options(
            queue=options.queue, priority=options.priority, on_failure=options.on_failure, after=options.after
        )
        edges = tuple(edges)
        named = label or options.label or self.codec.describe(fn)
        expansion = {EXPAND_KWARG: target, EXPAND_FN_KWARG: digest}
        before = self.call(
            spread or items_of,
            (source,),
            expansion,
            around,
            node_id=NodeId(f"{target}/items"),
            edges=edges,
            label=HELPER.format(named),
        )
        shared = {**(kwargs or {}), STAR: True} if star else kwargs or {}
        edges = (*edges, Edge(before, EdgeMode.AFTER))
        value, links = self._dump_args(fn, digest, args, shared, edges, options)
        policy = options.policy_for(fn)
        return self._add(fn, digest, value, links, options, policy, target, named, None, True, ())

    def find(self, node_id: NodeId) -> Node | None:
        """A node that was drawn or taken, or `None`; quick for those that were drawn lately."""
        drawn = (node for node in reversed(self.nodes) if node.id == node_id)
        return self.taken.get(node_id) or next(drawn, None)

    def plan(self, run_id: RunId, name: str = "", meta: Mapping[str, Any] | None = None) -> Plan:
        """What was drawn, ready to submit.

        Raises:
            GraphError: Two nodes were given the same id.
        """
        last = {node.id: node for node in self.nodes}
        if len(last) < len(self.nodes):
            first = next(node for node in self.nodes if last[node.id] is not node)
            raise GraphError(
                f"The id {first.id} is used twice, by {first.label!r} and by {last[first.id].label!r}."
            )
        return Plan(run_id, tuple(self.nodes), name, meta or {})

    def _digest(self, fn: Callable[..., Any], options: Options) -> str:
        """The digest of a function. Of the many calls that one draft has of it, the first looks at what it
        captures."""
        treated = (options.retries, options.judge)
        sent = self._sent.get(id(fn))
        if sent is None or sent.treated != treated:
            digest = self.codec.function(fn, retry=options.retries, breaker=options.judge)
            sent = self._sent[id(fn)] = _Sent(fn, treated, digest)
        return sent.digest

    def _dump_args(
        self,
        fn: Callable[..., Any],
        digest: str,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        edges: Iterable[Edge],
        options: Options,
    ) -> tuple[bytes, _Links]:
        """The shared arguments of a node, and its edges.

        An edge names one range of the items of a node. Where single calls are meant that lie apart among the
        items of a burst, a small call for each of them stands in between.
        """
        links = _Links(edges, options.after, self.alias, self.url)
        value = self.codec.dump_args(digest, tuple(args), dict(kwargs), links.position)
        if links.apart:
            around = Options(queue=options.queue, priority=options.priority)
            label = HELPER.format(options.label or self.codec.describe(fn))
            stand_in = {
                (parent, index): self.call(
                    given, (Output(parent, index, lo=index, hi=index + 1),), options=around, label=label
                )
                for parent, index in links.apart
            }
            links = _Links(edges, options.after, self.alias, self.url, stand_in)
            value = self.codec.dump_args(digest, tuple(args), dict(kwargs), links.position)
        return value, links

    def _add(
        self,
        fn: Callable[..., Any],
        digest: str,
        value: bytes,
        links: _Links,
        options: Options,
        policy: Policy,
        node_id: NodeId | None,
        label: str | None,
        width: int | None,
        array: bool,
        paged: tuple[Page, ...],
    ) -> NodeId:
        self.functions[digest] = fn
        if array and options.unique is not None:
            raise ConfigError(
                f"{label or self.codec.describe(fn)} is unique, and cannot be one of many in a map or group:"
                " client.options(unique=...) makes what is sent the only one of its kind, as a whole."
            )
        delay_s = expires_s = None
        if options.eta is not None or options.countdown is not None or options.expires is not None:
            now = self._now()
            delay_s, expires_s = options.delay_s(now), options.expires_s(now)
        node = Node(  # by position: half of the time a call costs here is spent on its node
            node_id or NodeId(new_id()),
            digest,
            value,
            links.edges(),
            width,
            array,
            paged,
            options.queue,
            options.priority,
            policy,
            delay_s,
            expires_s,
            label or options.label or self.codec.describe(fn),
        )
        self.nodes.append(node)
        if options.tags:
            self.tags[node.id] = options.tags
        return node.id


class _Sent(NamedTuple):
    """A function that was drawn, kept so that its id stays its own, and what its exceptions mean."""

    fn: Callable[..., Any]
    treated: tuple[Any, ...]
    digest: str


class _Links:
    """The edges of one node, and the input position of each that gives a value."""

    __slots__ = ("_alias", "_inputs", "_singles", "_stand_in", "_url", "_waits")

    def __init__(
        self,
        edges: Iterable[Edge],
        after: Iterable[Any],
        alias: Mapping[NodeId, NodeId],
        url: str = "",
        stand_in: Mapping[tuple[NodeId, int], NodeId] = _NO_STAND_IN,
    ) -> None:
        self._alias = alias
        self._url = url
        self._stand_in = stand_in
        self._inputs: dict[Edge, int] = {}
        self._waits: dict[Edge, None] = {}
        self._singles: dict[NodeId, set[int]] = {}
        for edge in edges:
            self._take(edge._replace(parent=alias[edge.parent]) if edge.parent in alias else edge)
        for other in after:
            self._check_home(other)
            if isinstance(other, Reference):
                other.is_needed()
            parent = alias.get(other.node_id, other.node_id)
            self._take(self._edge(parent, other, EdgeMode.AFTER))

    def position(self, reference: Reference) -> int:
        """Where the value of a reference stands among the inputs; new ones get the next place."""
        self._check_home(reference)
        reference.is_needed()
        node_id = reference.node_id
        parent = self._alias.get(node_id, node_id)
        if isinstance(reference, Output):
            return self._take(Edge(parent, reference.mode, reference.lo, reference.hi))
        return self._take(self._edge(parent, reference, getattr(reference, "mode", EdgeMode.ALL)))

    def _edge(self, parent: NodeId, reference: Any, mode: EdgeMode) -> Edge:
        """Of a call of a burst, which of its calls are meant is filled in at the end."""
        if not getattr(reference, "is_single", False):
            return Edge(parent, mode)
        found = self._stand_in.get((parent, reference.index))
        if found is not None:
            return Edge(found, mode)
        self._singles.setdefault(parent, set()).add(reference.index)
        return Edge(parent, mode, *_SOME)

    @property
    def apart(self) -> list[tuple[NodeId, int]]:
        """The calls that are meant of bursts of which one range does not name them all."""
        return [
            (parent, index)
            for parent, indexes in self._singles.items()
            for index in sorted(indexes)
            if max(indexes) - min(indexes) >= len(indexes)
        ]

    def _check_home(self, reference: Any) -> None:
        home = getattr(reference, "url", self._url)
        if self._url and home != self._url:
            raise UsageError(
                f"{reference!r} belongs to {home}, and this task goes to {self._url}:"
                " pass what its result() gives, or submit both to one store."
            )

    def edges(self) -> tuple[Edge, ...]:
        """Inputs in their order, then what is only waited for."""
        edges = tuple(self._inputs)
        if self._waits:
            strict = {edge.parent for edge in edges if edge.mode.needs_success}
            inputs = {edge.parent for edge in edges}
            waits = (e for e in self._waits if e.parent not in (strict if e.mode.needs_success else inputs))
            edges = (*edges, *waits)
        return tuple(map(self._spanned, edges)) if self._singles else edges

    def _spanned(self, edge: Edge) -> Edge:
        if edge[2:] != _SOME:
            return edge
        indexes = self._singles[edge.parent]
        return edge._replace(lo=min(indexes), hi=max(indexes) + 1)

    def _take(self, edge: Edge) -> int:
        if edge.mode.gives_value:
            return self._inputs.setdefault(edge, len(self._inputs))
        self._waits[edge] = None
        return -1


def pages(
    codec: Codec, digest: str, items: Iterable[Any], most: int = PAGE_ITEMS, *, first: int = 0
) -> Iterator[Page]:
    """Pack items into pages of at most `most` items and about `PAGE_BYTES`, as they are produced.

    The size of a page follows what the ones before it weighed, so that nothing is measured item by item.

    Args:
        codec: Packs them.
        digest: The function they are meant for.
        items: Read once.
        most: Items of a page; few, where one item is work enough for a lease.
        first: The index of the first of them.
    """
    if type(items) is range and most == PAGE_ITEMS and not first:
        yield from _pages_of_range(codec, digest, items)
        return
    if type(items) is list and len(items) == 1:  # as they come one by one: nothing is to be weighed
        yield Page(first, first + 1, codec.dump_items(digest, first, items))
        return
    head, items = _peek(items)
    source, lo = iter(items), first
    item_bytes: float = codec.weight(head)
    count = _clamp(PAGE_BYTES / item_bytes, min(FIRST_PAGE_ITEMS, most))
    while batch := list(islice(source, count)):
        hi = lo + len(batch)
        value = codec.dump_items(digest, lo, batch)
        yield Page(lo, hi, value)
        item_bytes = value_bytes(value) / len(batch)
        count = _clamp(min(PAGE_BYTES / item_bytes, count * 8), most)
        lo = hi


def _pages_of_range(codec: Codec, digest: str, items: range) -> Iterator[Page]:
    """A range stays one: its numbers are made where they are used."""
    for lo in range(0, len(items), RANGE_PAGE_ITEMS):
        part = items[lo : lo + RANGE_PAGE_ITEMS]
        yield Page(lo, lo + len(part), codec.dump_items(digest, lo, part))


def items_of(value: Any) -> Any:
    """What the call in front of an array node of unknown width runs: its value becomes the items.

    Raises:
        UsageError: It is not iterable.
    """
    if not isinstance(value, Iterable) and not hasattr(value, "__getitem__"):
        raise UsageError(
            f"A map needs an iterable to take apart, and was given a {type(value).__name__!r}:"
            " let the step before it return a list or a generator."
        )
    return value


def given(value: Any) -> Any:
    """What the call in front of a node runs that stands for another one: it passes a value on."""
    return value


@dataclass(frozen=True, slots=True)
class _Slot:
    """Stands in an item for an input of the node."""

    at: int


@dataclass(frozen=True)
class Filled:
    """A function whose items hold slots: they are filled from the list of inputs, its first argument."""

    func: Callable[..., Any]  # the name that `functools.partial` has for it: pools look through it

    def __call__(self, item: Sequence[Any], given: Sequence[Any], /, *args: Any, **kwargs: Any) -> Any:
        """Call the function with what the slots stand for."""
        filled = [given[part.at] if type(part) is _Slot else part for part in item]
        return self.func(*filled, *args, **kwargs)


def _with_slots(
    fn: Callable[..., Any], items: Iterable[Any], star: bool
) -> tuple[Callable[..., Any], list[tuple[Any, ...]], list[Reference]]:
    given: list[Reference] = []

    def slot(part: Any) -> Any:
        if not isinstance(part, Reference):
            return part
        given.append(part)
        return _Slot(len(given) - 1)

    slotted = [tuple(slot(part) for part in (item if star else (item,))) for item in items]
    return Filled(fn), slotted, given


def has_reference(item: Any, star: bool) -> bool:
    """Whether an item, or with `star` one of the arguments that it is, stands for the value of a node."""
    parts = item if star and isinstance(item, tuple) else (item,)
    return any(isinstance(part, Reference) for part in parts)


def _peek(items: Iterable[Any]) -> tuple[Any, Iterable[Any]]:
    if type(items) is range:
        return (items[0] if items else None), items
    source = iter(items)
    head = list(islice(source, 1))
    return (head[0] if head else None), chain(head, source)


def _clamp(count: float, most: int) -> int:
    return max(1, min(int(count), most))
