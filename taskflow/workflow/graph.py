"""`Workflow`: a networkx graph of calls, drawn as a plan.

The graph is the user's: ``wf.graph`` is a plain `DiGraph` whose nodes are names and carry their `Node`
under ``"node"``. Arguments make edges; an edge that was added by hand makes its end wait.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterator, Mapping
from copy import copy
from typing import TYPE_CHECKING, Any, overload

from taskflow import hooks
from taskflow.codec import Reference
from taskflow.errors import ConfigError, GraphError, UnknownNode, nearest
from taskflow.policy import OnFailure, Options
from taskflow.workflow.checks import check_acyclic, check_contained, check_nodes
from taskflow.workflow.choices import Gate, GateNode, JoinNode, branch_of, taken
from taskflow.workflow.compiling import Compiler
from taskflow.workflow.folding import Fold, Tree
from taskflow.workflow.mapreduce import MapReduceJob
from taskflow.workflow.nodes import (
    NOT_GIVEN,
    InputNode,
    MapNode,
    MapReduceNode,
    Node,
    ReduceNode,
    SubNode,
    given,
)
from taskflow.workflow.steps import Layout

if TYPE_CHECKING:
    import networkx as nx

    from taskflow.ids import NodeId
    from taskflow.plan import Draft
    from taskflow.states import State
    from taskflow.workflow.compiling import Known

__all__ = ["Workflow"]


class Workflow:
    """Calls that depend on each other, as a graph that can be looked at, checked and run many times.

    Args:
        name: What a person reads.
        retry: Retries of every step that has no own.
        on_failure: ``"stop"`` cancels what has not started when a step fails; ``"continue"`` skips only
            what depends on it; ``"skip"`` does so too, and the run does not fail for it.
        max_parallel: At most so many items of the run at once, whatever slots are free.
        memo: Remember the result of every step that does not say otherwise; see `Node.set`.

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
        on_failure: OnFailure = "stop",
        max_parallel: int | None = None,
        memo: bool = False,
    ) -> None:
        import networkx

        self.name = name or ""
        given = {"retry": retry, "run_parallel": max_parallel}
        self.options: dict[str, Any] = {"on_failure": on_failure}
        self.options |= {option: value for option, value in given.items() if value is not None}
        self.memo = memo
        self.graph: nx.DiGraph[str] = networkx.DiGraph(name=self.name)
        self._numbers: dict[str, int] = {}
        Options().merge(**self.options)

    # ── building ────────────────────────────────────────────────────────────────────

    def add(
        self,
        fn: Callable[..., Any] | Workflow,
        /,
        *args: Any,
        name: str | None = None,
        after: Any = (),
        when: Any = None,
        **kwargs: Any,
    ) -> Node:
        """Add a call. Nodes among its arguments, however deep, are steps before it.

        Args:
            fn: What to call. It may be another workflow: then the keyword arguments are its inputs, its
                steps are called ``name/step`` in the run, and its result is that of its last step (of
                several a dict by name). Each step of it follows the inputs it needs, all of them `after`.
            args: Its positional arguments.
            name: Its name; that of the function by default, with a number when it is taken.
            after: A node, or several, that must have succeeded first.
            when: A node, or a function that is called with the same arguments: unless it gives something
                true the step is skipped, with all that depends on it, and the run does not fail for it.
            kwargs: Its keyword arguments.

        Returns:
            The node; `Node.set` gives it options.

        Raises:
            GraphError: The function does not take these arguments, or the name is taken.
            CycleError: A workflow would be a step of itself.
        """
        if isinstance(fn, Workflow):
            check_contained(fn, (self,))
            return self._insert(SubNode(self._name(name, fn), fn, args, kwargs, {}), after, when)
        return self._insert(Node(self._name(name, fn), fn, args, kwargs, {}), after, when)

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
        *args: Any,
        name: str | None = None,
        after: Any = (),
        when: Any = None,
        chunksize: int | None = None,
        **kwargs: Any,
    ) -> Node:
        """Add one call for each item; its result is the list of theirs.

        Args:
            fn: Called with each item.
            items: An iterable; or a node (or a future), whose result is taken apart when it is there.
            args: Further positional arguments, which all calls share.
            name: Its name.
            after: What must have succeeded first.
            when: A node, or a function that is called with all items; see `add`.
            chunksize: Most items in one lease.
            kwargs: Keyword arguments that all calls share.
        """
        if isinstance(items, Iterator):
            items = list(items)  # a workflow may run many times
        options = {"chunksize": chunksize} if chunksize else {}
        return self._insert(MapNode(self._name(name, fn), fn, (items, *args), kwargs, options), after, when)

    def reduce(
        self,
        fn: Callable[[Any, Any], Any],
        parts: Any,
        /,
        *,
        tree: int | bool | None = None,
        initial: Any = NOT_GIVEN,
        name: str | None = None,
        after: Any = (),
        when: Any = None,
    ) -> Node:
        """Add a fold of a node's items, from the left: ``fn(fn(a, b), c)``.

        Args:
            fn: Makes one value of two.
            parts: The node, or an iterable of nodes.
            tree: Fold so many at a time, as a tree of calls, each as soon as its parts are there; with `True`
                a suitable number. The function must be associative; the order is kept.
            initial: Goes before the first item; without it, no items are an error.
            name: Its name.
            after: What must have succeeded first.
            when: A node, or a function that is called with the parts; see `add`.

        Raises:
            ConfigError: The number is below 2.
        """
        if tree is not None and not isinstance(tree, bool) and tree < 2:
            raise ConfigError(f"tree={tree} is not possible: a call must fold 2 values or more.")
        fold = Fold(fn) if initial is NOT_GIVEN else Fold(fn, (initial,))
        how = Tree(fold, None if tree is True else tree) if tree else fold
        given = parts if isinstance(parts, Reference) else tuple(parts)
        return self._insert(ReduceNode(self._name(name, fn), how, (given,), {}, {}), after, when)

    def branch(
        self, condition: Node, then: Node, otherwise: Node | None = None, /, *, name: str | None = None
    ) -> Node:
        """Run one of two branches, and go on with its value.

        A branch is its last step with the steps that are there for that one alone. The branch that is not
        taken is skipped, and nobody minds; what both need, or others, runs in any case.

        Args:
            condition: A node; whether its value is true decides.
            then: The last step of the branch for true.
            otherwise: The last step of the branch for false.
            name: The name of the step that is returned.

        Returns:
            The join: its value is that of the branch that was taken; `None` when there was none. Where the
            condition was skipped, so is the join.

        Raises:
            GraphError: A branch is followed by other steps already.
        """
        others = [node for node in (condition, then, otherwise) if node is not None]
        for node in others:
            self._check_own(node)
        for end, wanted in ((then, True), (otherwise, False)):
            if end is not None:
                beside = [node for node in others if node is not end]
                starts = list(branch_of(self.graph, end, beside))
                gate = self._insert(
                    GateNode(self._unused(f"{end.name}?"), Gate(None, wanted), (condition,), {}, {}), ()
                )
                self.graph.add_edges_from((gate.name, start, {"gives_value": False}) for start in starts)
        ends = tuple(end for end in (then, otherwise) if end is not None)
        join = JoinNode(self._name(name or self._unused("join"), taken), taken, ends, {}, {})
        return self._insert(join, condition)

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
        """Add a map-reduce; `data` is an iterable, a source or a node, the rest as for `map_reduce`."""
        data = list(data) if isinstance(data, Iterator) else data
        job = MapReduceJob(data=data, mapper=mapper, reducer=reducer, **how)
        parents = (data,) if isinstance(data, Reference) else ()  # plain data is long, and holds no nodes
        return self._insert(MapReduceNode(self._name(name, mapper), job, parents, {}, {}), after)

    def input(self, name: str, default: Any = NOT_GIVEN) -> Node:
        """Add a value that is given to `run` under this name.

        Raises:
            GraphError: `run` has an argument of that name.
        """
        if name in _RESERVED:
            raise GraphError(f"`run` has an argument {name!r} of its own: choose another name for the input.")
        args = () if default is NOT_GIVEN else (default,)
        return self._insert(InputNode(self._name(name, given), given, args, {}, {}), ())

    @classmethod
    def from_graph(cls, graph: nx.DiGraph[Any], call: Callable[..., Any] | str = "fn") -> Workflow:
        """Make a workflow of a graph: each node is called with the results of its predecessors.

        The predecessors come in the order of their edges, before the node's own ``args``; an edge with
        ``arg="x"`` gives its value as the keyword `x`, one with ``after=True`` gives none. A node may have
        ``kwargs`` and ``options``. Nodes of a workflow's graph are taken as they are, with their edges: its
        subgraphs, compositions and relabelled copies run, too.

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

    @classmethod
    def from_canvas(cls, sig: Any) -> Workflow:
        """Make a workflow of a `Signature`, chain, group or chord; see `Signature.to_workflow`."""
        return sig.to_workflow()  # type: ignore[no-any-return]

    # ── reading ─────────────────────────────────────────────────────────────────────

    @property
    def nodes(self) -> Mapping[str, Node]:
        """The steps by name."""
        return {name: data["node"] for name, data in self.graph.nodes(data=True) if "node" in data}

    @property
    def last(self) -> list[str]:
        """The names of the steps that no other follows: their results are that of the workflow."""
        nodes = self.nodes
        ends = (name for name, after in self.graph.adjacency() if not after)
        return [name for name in ends if not isinstance(nodes.get(name), InputNode)]

    def subworkflows(self) -> list[Workflow]:
        """The workflows that are steps of it, each once."""
        inside = {id(node.fn): node.fn for node in self.nodes.values() if isinstance(node, SubNode)}
        return list(inside.values())

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
            GraphError: A workflow inside it has no steps.
        """
        check_nodes(self.graph)
        check_acyclic(self.graph)
        check_contained(self, ())
        for inner in self.subworkflows():
            if not inner.last:
                raise GraphError(f"The workflow {inner.name!r}, a step of {self.name!r}, has no steps.")
            inner.validate()

    def to_mermaid(self, states: Mapping[str, State | str] | None = None) -> str:
        """The graph as Mermaid text; see `to_svg`."""
        from taskflow.workflow import drawing, picture

        return drawing.to_mermaid(picture.picture_of(self, states))

    def to_svg(self, states: Mapping[str, State | str] | None = None) -> str:
        """The graph as SVG text that stands alone; of very many steps those that are alike are one box.

        Args:
            states: The states of its steps, by name.

        Raises:
            UnknownNode: There is no step of that name.
            ConfigError: There is no such state.
        """
        from taskflow.workflow import drawing, picture

        return drawing.to_svg(picture.picture_of(self, states))

    def _repr_svg_(self) -> str:
        return self.to_svg()

    def _repr_html_(self) -> str:
        """The graph as an image, which is shown in notebooks that are not trusted, too."""
        from base64 import b64encode
        from html import escape

        picture = b64encode(self.to_svg().encode()).decode()
        told = escape(f"workflow {self.name} of {len(self)} steps", quote=True)
        return f'<img alt="{told}" style="max-width:100%" src="data:image/svg+xml;base64,{picture}">'

    def plan(self, **inputs: Any) -> Any:
        """What would run, a row for each step (a DataFrame with pandas); nothing is stored or sent.

        Args:
            inputs: Values of its inputs, by name; one that is missing has no size.
        """
        from taskflow.workflow.planning import planned

        return planned(self, inputs)

    # ── running ─────────────────────────────────────────────────────────────────────

    def compile(
        self,
        draft: Draft,
        options: Options | None = None,
        inputs: Mapping[str, Any] | None = None,
        *,
        only: Collection[str] | None = None,
        memo: bool | None = None,
        known: Known | None = None,
        resumed: Mapping[str, NodeId] | None = None,
    ) -> dict[str, NodeId]:
        """Draw it on a draft.

        Args:
            draft: Takes the nodes.
            options: What every step starts from.
            inputs: Values of its inputs, by name.
            only: Draw these steps and what they need; all of them by default.
            memo: Whether steps that say nothing of it are remembered; with `False` none is.
            known: What the store knows; without it nothing is remembered or taken from elsewhere.
            resumed: The nodes of an earlier run, by name: where one succeeded, and the step would call
                the same with the same, it stands for the step.

        Returns:
            The id of each step, by name; those of steps that were not drawn are ids of other runs.

        Raises:
            CycleError: Nodes wait for each other.
            UnknownNode: An edge, an argument or `only` names a node that is not here.
            ConfigError: An input is missing, or there is none of that name.
            CannotPickle: The message names the step and the variable.
        """
        self.validate()
        layout = Layout.of(self, options or Options(), inputs or {}, memo)
        steps = layout.steps if only is None else layout.only(only)
        for name, step in steps.items():
            if isinstance(step.node, InputNode) and step.value is NOT_GIVEN:
                raise ConfigError(f"The workflow needs a value for {name!r}: run({name}=...).")
        return layout.names(Compiler(steps, draft, known, resumed or {}).run())

    def run(
        self,
        client: Any = None,
        /,
        *,
        inputs: Mapping[str, Any] | None = None,
        only: Collection[str] | str | None = None,
        resume: Any = None,
        memo: bool | None = None,
        **more: Any,
    ) -> Any:
        """Send it.

        Args:
            client: Where it runs; the current client by default.
            inputs: Values of its inputs, by name.
            only: Run this step, or these, and what they need.
            resume: An earlier run of this workflow, or its id: steps that succeeded there are taken from
                it, unless their function or arguments changed, or those of a step before them. (A function
                of a module that can be imported is known by its name alone.) A step is taken as a whole:
                of a map of which some items failed all run again; `WorkflowRun.retry_failed` keeps them.
            memo: Whether steps that say nothing of it are remembered; with `False` none is.
            more: Values of inputs, as keywords.

        Returns:
            What the client gives for a workflow: the handle of the run.
        """
        if not self.graph:
            raise GraphError(f"The workflow {self.name!r} has no steps: add some first.")
        asked = {"only": [only] if isinstance(only, str) else only, "resume": resume, "memo": memo}
        how = {name: value for name, value in asked.items() if value is not None}
        chosen = client or hooks.current_client()
        return chosen.submit_workflow(self, {**(inputs or {}), **more}, **how)

    # ── inside ──────────────────────────────────────────────────────────────────────

    def _insert(self, node: Node, after: Any, when: Any = None) -> Node:
        node.check()
        waits = [after] if isinstance(after, Reference) else list(after)
        inside = [other for other in waits if isinstance(other, Node)]
        outside = tuple(other for other in waits if not isinstance(other, Node))
        if outside:
            node.set(after=outside)
        for other in (*inside, *node.parents):
            self._check_own(other)
        if when is not None:
            inside.append(self._insert(self._gate(node, when), inside))
        self.graph.add_node(node.name, node=node)
        edges = [(other.name, node.name, {"gives_value": False}) for other in inside]
        edges += [(other.name, node.name, {"gives_value": True}) for other in node.parents]
        if edges:
            self.graph.add_edges_from(edges)
        return node

    def _gate(self, node: Node, when: Any) -> Node:
        """The condition of a step."""
        if isinstance(when, Reference):
            return GateNode(self._unused(f"{node.name}?"), Gate(), (when,), {}, {})
        if not callable(when):
            raise GraphError(f"when={when!r} is no condition: use a node, or a function of the arguments.")
        return GateNode(self._unused(f"{node.name}?"), Gate(when), node.args, node.kwargs, {})

    def _check_own(self, node: Node) -> None:
        if not isinstance(node, Node):
            raise GraphError(
                f"{node!r} is not a step of a workflow: use what `add`, `map` and the like return."
            )
        if getattr(self.graph.nodes.get(node.name, {}).get("node"), "node_id", "") != node.node_id:
            raise UnknownNode(f"The node {node.name!r} belongs to another workflow.")

    def _name(self, name: str | None, fn: Any) -> str:
        if name is not None:
            if name in self.graph:
                raise GraphError(f"There is a node {name!r} already: choose another name.")
            return name
        if isinstance(fn, Workflow) and fn.name:
            return self._unused(fn.name)
        return self._unused(getattr(fn, "__name__", type(fn).__name__))

    def _unused(self, wanted: str) -> str:
        """The name, with a number when it is taken."""
        name = wanted
        while name in self.graph:
            number = self._numbers[wanted] = self._numbers.get(wanted, 1) + 1
            name = f"{wanted}-{number}"
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
        if isinstance(data.get("node"), Node):
            return self._adopt(graph, key, steps)
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

    def _adopt(self, graph: nx.DiGraph[Any], key: Any, steps: Mapping[Any, Node]) -> Node:
        """Take a node of another workflow, under the name it has in this graph."""
        node: Node = copy(graph.nodes[key]["node"])  # it stands for the same in the arguments of others
        node.name, node.options = self._name(str(key), node.fn), dict(node.options)
        self.graph.add_node(node.name, node=node)
        for parent, _, how in graph.in_edges(key, data=True):
            self.graph.add_edge(steps[parent].name, node.name, **how)
        return node


_RESERVED = ("inputs", "memo", "only", "resume")
