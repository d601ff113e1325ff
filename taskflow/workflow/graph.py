"""`Workflow`: a networkx graph of calls, drawn as a plan.

The graph is the user's: ``wf.graph`` is a plain `DiGraph` whose nodes are names and carry their `Node`
under ``"node"``. Arguments make edges; an edge that was added by hand makes its end wait.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal, overload

from taskflow import hooks
from taskflow.codec import Reference
from taskflow.errors import ConfigError, GraphError, UnknownNode, nearest
from taskflow.ids import NodeId, new_id
from taskflow.policy import Options
from taskflow.records import Edge, EdgeMode
from taskflow.workflow.checks import check_acyclic, check_nodes
from taskflow.workflow.mapreduce import MapReduceJob
from taskflow.workflow.nodes import (
    NOT_GIVEN,
    Fold,
    InputNode,
    MapNode,
    MapReduceNode,
    Node,
    ReduceNode,
    given,
)

if TYPE_CHECKING:
    import networkx as nx

    from taskflow.plan import Draft

__all__ = ["Workflow"]


class Workflow:
    """Calls that depend on each other, as a graph that can be looked at, checked and run many times.

    Args:
        name: What a person reads.
        retry: Retries of every step that has no own.
        on_failure: ``"stop"`` cancels what has not started when a step fails; ``"continue"`` skips only
            what depends on it.

    Example:
        >>> wf = Workflow("report")
        >>> numbers = wf.add(range, 4, name="numbers")
        >>> squares = wf.map(abs, numbers, name="sizes")
        >>> total = wf.add(sum, squares, name="total")
        >>> list(wf.graph.edges)
        [('numbers', 'sizes'), ('sizes', 'total')]
    """

    def __init__(
        self,
        name: str | None = None,
        *,
        retry: Any = None,
        on_failure: Literal["stop", "continue"] = "stop",
    ) -> None:
        import networkx

        self.name = name or ""
        self.options: dict[str, Any] = {"on_failure": on_failure} | (
            {"retry": retry} if retry is not None else {}
        )
        self.graph: nx.DiGraph[str] = networkx.DiGraph(name=self.name)
        Options().merge(**self.options)

    # ── building ────────────────────────────────────────────────────────────────────

    def add(
        self, fn: Callable[..., Any], /, *args: Any, name: str | None = None, after: Any = (), **kwargs: Any
    ) -> Node:
        """Add a call. Nodes among its arguments, however deep, are steps before it.

        Args:
            fn: What to call.
            args: Its positional arguments.
            name: Its name; that of the function by default, with a number when it is taken.
            after: A node, or several, that must have succeeded first.
            kwargs: Its keyword arguments.

        Returns:
            The node; `Node.set` gives it options.
        """
        return self._insert(Node(self._name(name, fn), fn, args, kwargs, {}), after)

    @overload
    def task(self, fn: Callable[..., Any], /, *, name: str | None = None, **options: Any) -> Node: ...
    @overload
    def task(self, /, *, name: str | None = None, **options: Any) -> Callable[[Callable[..., Any]], Node]: ...
    def task(
        self, fn: Callable[..., Any] | None = None, /, *, name: str | None = None, **options: Any
    ) -> Any:
        """Decorate a function as a step: its parameters are the nodes of the same names.

        A parameter that names no node yet, and has no default, becomes an `input`.
        """
        if fn is None:
            return lambda fn: self.task(fn, name=name, **options)
        kwargs = {
            p: self._parameter(p) for p, spec in inspect.signature(fn).parameters.items() if self._wants(spec)
        }
        return self.add(fn, name=name, **kwargs).set(**options)

    def map(
        self,
        fn: Callable[..., Any],
        items: Any,
        /,
        *,
        name: str | None = None,
        after: Any = (),
        chunksize: int | None = None,
        **kwargs: Any,
    ) -> Node:
        """Add one call for each item; its result is the list of theirs.

        Args:
            fn: Called with each item.
            items: An iterable; or a node (or a future), whose result is taken apart when it is there.
            name: Its name.
            after: What must have succeeded first.
            chunksize: Most items in one lease.
            kwargs: Keyword arguments that all calls share.
        """
        if isinstance(items, Iterator):
            items = list(items)  # a workflow may run many times
        options = {"chunksize": chunksize} if chunksize else {}
        return self._insert(MapNode(self._name(name, fn), fn, (items,), kwargs, options), after)

    def reduce(
        self,
        fn: Callable[[Any, Any], Any],
        parts: Any,
        /,
        *,
        initial: Any = NOT_GIVEN,
        name: str | None = None,
        after: Any = (),
    ) -> Node:
        """Add a fold of a node's items, from the left: ``fn(fn(a, b), c)``.

        Args:
            fn: Makes one value of two.
            parts: The node, or an iterable of nodes.
            initial: Goes before the first item; without it, no items are an error.
            name: Its name.
            after: What must have succeeded first.
        """
        fold = Fold(fn) if initial is NOT_GIVEN else Fold(fn, (initial,))
        return self._insert(ReduceNode(self._name(name, fn), fold, (parts,), {}, {}), after)

    def map_reduce(
        self,
        data: Any,
        mapper: Callable[..., Any],
        reducer: Callable[..., Any],
        /,
        *,
        name: str | None = None,
        after: Any = (),
        **how: Any,
    ) -> Node:
        """Add a map-reduce; `data` is an iterable or a node, the rest as for `taskflow.map_reduce`."""
        data = list(data) if isinstance(data, Iterator) else data
        job = MapReduceJob(data=data, mapper=mapper, reducer=reducer, **how)
        parents = (data,) if isinstance(data, Reference) else ()  # plain data is long, and holds no nodes
        return self._insert(MapReduceNode(self._name(name, mapper), job, parents, {}, {}), after)

    def input(self, name: str, default: Any = NOT_GIVEN) -> Node:
        """Add a value that is given to `run` under this name."""
        args = () if default is NOT_GIVEN else (default,)
        return self._insert(InputNode(self._name(name, given), given, args, {}, {}), ())

    @classmethod
    def from_graph(cls, graph: nx.DiGraph[Any], call: Callable[..., Any] | str = "fn") -> Workflow:
        """Make a workflow of a graph: each node is called with the results of its predecessors.

        The predecessors come in the order of their edges, before the node's own ``args``; an edge with
        ``arg="x"`` gives its value as the keyword `x`, one with ``after=True`` gives none. A node may have
        ``kwargs`` and ``options``.

        Args:
            graph: Any directed graph.
            call: The attribute of a node that is its function; or a function to call for every node
                with the node itself first.

        Raises:
            CycleError: Nodes wait for each other.
            UnknownNode: A node has no function.
        """
        made = cls(str(graph.graph.get("name", "")))
        check_acyclic(graph)
        steps: dict[Any, Node] = {}
        import networkx

        for key in networkx.topological_sort(graph):
            steps[key] = made._from_graph_node(graph, key, call, steps)
        return made

    # ── reading ─────────────────────────────────────────────────────────────────────

    @property
    def nodes(self) -> Mapping[str, Node]:
        """The steps by name."""
        return {name: data["node"] for name, data in self.graph.nodes(data=True) if "node" in data}

    def __getitem__(self, name: str) -> Node:
        try:
            return self.graph.nodes[name]["node"]  # type: ignore[no-any-return]
        except KeyError:
            raise UnknownNode(f"There is no node {name!r}.{nearest(name, self.nodes)}") from None

    def __contains__(self, name: object) -> bool:
        return name in self.graph

    def __len__(self) -> int:
        return len(self.graph)

    def __iter__(self) -> Iterator[str]:
        return iter(self.graph)

    def __repr__(self) -> str:
        return f"<Workflow {self.name!r}: {len(self.graph)} nodes, {self.graph.number_of_edges()} edges>"

    def validate(self) -> None:
        """Check that it can run.

        Raises:
            CycleError: Nodes wait for each other; the message and `cycle` list them.
            UnknownNode: An edge or an argument names a node that is not here.
        """
        check_nodes(self.graph)
        check_acyclic(self.graph)

    def to_mermaid(self) -> str:
        """The graph as Mermaid text; maps have double sides, edges without a value are dotted."""
        numbers = {name: f"n{i}" for i, name in enumerate(self.graph)}
        lines = ["graph TD"]
        for name, number in numbers.items():
            left, right = _SHAPES.get(getattr(self.graph.nodes[name].get("node"), "kind", "call"), ("[", "]"))
            lines.append(f'    {number}{left}"{_escaped(name)}"{right}')
        for parent, child, data in self.graph.edges(data=True):
            arrow = "-->" if data.get("gives_value") else "-.->"
            lines.append(f"    {numbers[parent]} {arrow} {numbers[child]}")
        return "\n".join(lines)

    # ── running ─────────────────────────────────────────────────────────────────────

    def compile(
        self, draft: Draft, options: Options | None = None, inputs: Mapping[str, Any] | None = None
    ) -> dict[str, NodeId]:
        """Draw it on a draft.

        Args:
            draft: Takes the nodes.
            options: What every step starts from.
            inputs: Values of its inputs, by name.

        Returns:
            The id of each node, by name.

        Raises:
            CycleError: Nodes wait for each other.
            UnknownNode: An edge or an argument names a node that is not here.
            ConfigError: An input is missing, or there is none of that name.
        """
        self.validate()
        values = self._values(inputs or {})
        ids = {name: NodeId(new_id()) for name in self.graph}
        draft.alias.update((node.node_id, ids[name]) for name, node in self.nodes.items())
        base = (options or Options()).merge(**self.options, label=None, key=None)
        for name, node in self.nodes.items():
            own = base.merge(**node.options) if node.options else base
            edges = [Edge(ids[parent], EdgeMode.AFTER) for parent in self.graph.predecessors(name)]
            if name in values:
                draft.call(given, (values[name],), None, own, node_id=ids[name], edges=edges, label=name)
            else:
                node.draw(draft, ids[name], own, edges)
        return ids

    def run(self, client: Any = None, /, **inputs: Any) -> Any:
        """Send it.

        Args:
            client: Where it runs; the current client by default.
            inputs: Values of its inputs, by name.

        Returns:
            What the client gives for a workflow: the handle of the run.
        """
        return (client or hooks.current_client()).submit_workflow(self, inputs)

    # ── inside ──────────────────────────────────────────────────────────────────────

    def _insert(self, node: Node, after: Any) -> Node:
        waits = [after] if isinstance(after, Reference) else list(after)
        inside = [other for other in waits if isinstance(other, Node)]
        outside = tuple(other for other in waits if not isinstance(other, Node))
        if outside:
            node.set(after=outside)
        for other in (*inside, *node.parents):
            if self.graph.nodes.get(other.name, {}).get("node") is not other:
                raise UnknownNode(f"The node {other.name!r} belongs to another workflow.")
        self.graph.add_node(node.name, node=node)
        self.graph.add_edges_from((other.name, node.name, {"gives_value": False}) for other in inside)
        self.graph.add_edges_from((other.name, node.name, {"gives_value": True}) for other in node.parents)
        return node

    def _name(self, name: str | None, fn: Any) -> str:
        if name is not None:
            if name in self.graph:
                raise GraphError(f"There is a node {name!r} already: choose another name.")
            return name
        wanted = getattr(fn, "__name__", type(fn).__name__)
        name, number = wanted, 2
        while name in self.graph:
            name, number = f"{wanted}-{number}", number + 1
        return name

    def _wants(self, spec: inspect.Parameter) -> bool:
        if spec.kind in (spec.VAR_POSITIONAL, spec.VAR_KEYWORD):
            return False
        return spec.name in self.graph or spec.default is spec.empty

    def _parameter(self, name: str) -> Node:
        return self[name] if name in self.graph else self.input(name)

    def _from_graph_node(
        self, graph: nx.DiGraph[Any], key: Any, call: Callable[..., Any] | str, steps: Mapping[Any, Node]
    ) -> Node:
        data = graph.nodes[key]
        fn = data.get(call) if isinstance(call, str) else call
        if not callable(fn):
            raise UnknownNode(f"The node {key!r} has no function: give it the attribute {call!r}.")
        given, after = ([key] if not isinstance(call, str) else []), []
        kwargs = dict(data.get("kwargs", {}))
        for parent, _, how in graph.in_edges(key, data=True):
            if how.get("after"):
                after.append(steps[parent])
            elif "arg" in how:
                kwargs[how["arg"]] = steps[parent]
            else:
                given.append(steps[parent])
        node = Node(self._name(str(key), fn), fn, (*given, *data.get("args", ())), kwargs, {})
        return self._insert(node.set(**data.get("options", {})), after)

    def _values(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        known = {name: node.default for name, node in self.nodes.items() if isinstance(node, InputNode)}
        for name in inputs:
            if name not in known:
                raise ConfigError(f"The workflow has no input {name!r}.{nearest(name, known)}")
        values = {**known, **inputs}
        missing = [name for name, value in values.items() if value is NOT_GIVEN]
        if missing:
            raise ConfigError(f"The workflow needs a value for {missing[0]!r}: run({missing[0]}=...).")
        return values


_SHAPES = {"map": ("[[", "]]"), "reduce": ("[/", "\\]"), "input": ("([", "])"), "map_reduce": ("[[", "]]")}


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;").replace("\n", " ")
