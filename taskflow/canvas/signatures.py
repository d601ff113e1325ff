"""Signatures and what is made of them: chain, group, chord.

A signature is a dict, as in Celery: it can be indexed, compared, sent as JSON and changed. It runs
nowhere by itself: `apply_async` hands it to a client, which draws it on a `Sheet`, as flat nodes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from copy import copy
from itertools import chain as concat
from itertools import groupby, islice
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar, cast

from taskflow import hooks
from taskflow.canvas.errbacks import draw_errbacks
from taskflow.canvas.registry import resolve
from taskflow.canvas.shape import Shape, item_id, split_id
from taskflow.canvas.sheet import DrySheet, Sheet, node_options
from taskflow.codec import Reference
from taskflow.errors import GraphError, UsageError
from taskflow.ids import new_id
from taskflow.policy import Options
from taskflow.records import Edge, EdgeMode

if TYPE_CHECKING:
    from taskflow.workflow import Workflow

__all__ = ["Signature", "chain", "chord", "group", "maybe_signature", "signature"]

T = TypeVar("T")

_NOT_INHERITED = ("task_id", "label", "shadow", "link", "link_error")
_FIRST_ONLY = ("countdown", "eta")


class Signature(dict[str, Any]):
    """A call that has not been made: a task, some of its arguments, and how it shall be treated.

    Args:
        task: A function, a `Task`, the name of one, or another signature as a dict.
        args: Positional arguments, behind those it is called with later.
        kwargs: Keyword arguments, under those it is called with later.
        options: Options of the call, as `Client.options` takes them, and Celery's `task_id` and `link`.
        immutable: Takes no further arguments: in a chain, the result before it is left out.
        more: Further options.
    """

    _kinds: ClassVar[dict[str, type[Signature]]] = {}
    _is_call: ClassVar[bool] = True
    subtask_type: ClassVar[str | None] = None

    def __init__(
        self,
        task: Any = None,
        args: Iterable[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
        *,
        immutable: bool = False,
        **more: Any,
    ) -> None:
        super().__init__(
            task=task if isinstance(task, str) else getattr(task, "handle", task),
            args=tuple(args),
            kwargs=dict(kwargs or {}),
            options={**(options or {}), **more},
            subtask_type=self.subtask_type,
            immutable=immutable,
            chord_size=None,
        )

    def __init_subclass__(cls) -> None:
        if "subtask_type" in vars(cls):
            Signature._kinds[str(cls.subtask_type)] = cls

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Signature:
        """Rebuild a signature from its dict, as JSON gives it back."""
        kind = Signature._kinds.get(str(data.get("subtask_type")), Signature)
        made = kind.__new__(kind)
        dict.update(made, data)
        made["args"] = tuple(data.get("args") or ())
        made["kwargs"] = dict(data.get("kwargs") or {})
        made["options"] = dict(data.get("options") or {})
        made.setdefault("subtask_type", None)
        made.setdefault("immutable", False)
        made.setdefault("chord_size", None)
        made._restore()
        return made

    @property
    def task(self) -> Any:
        """The name of the task, or the function itself when it has none."""
        return self["task"]

    @property
    def name(self) -> str:
        """What a person reads."""
        task = self["task"]
        return task if isinstance(task, str) else str(getattr(task, "__name__", None) or repr(task))

    @property
    def args(self) -> tuple[Any, ...]:
        """Its positional arguments."""
        return self["args"]  # type: ignore[no-any-return]

    @property
    def kwargs(self) -> dict[str, Any]:
        """Its keyword arguments."""
        return self["kwargs"]  # type: ignore[no-any-return]

    @property
    def options(self) -> dict[str, Any]:
        """Its options."""
        return self["options"]  # type: ignore[no-any-return]

    @property
    def immutable(self) -> bool:
        """Whether it takes no further arguments."""
        return self["immutable"]  # type: ignore[no-any-return]

    @property
    def id(self) -> str | None:
        """Its id, once it is frozen."""
        return self.options.get("task_id")

    @property
    def type(self) -> Callable[..., Any]:
        """The function that is called.

        Raises:
            ConfigError: No task has that name here.
        """
        return resolve(self.task)[0]

    def clone(
        self, args: Iterable[Any] = (), kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> Self:
        """A copy with more arguments, these before its own, and other options."""
        made = copy(self)
        made["options"] = {**self.options, **options}
        made["kwargs"] = {**self.kwargs, **(kwargs or {})} if not self.immutable else dict(self.kwargs)
        made["args"] = (*args, *self.args) if not self.immutable else self.args
        return made

    def set(self, immutable: bool | None = None, **options: Any) -> Self:
        """Change options in place.

        Raises:
            ConfigError: There is no such option (the nearest is named), or its value is impossible.
        """
        for kind in ("link", "link_error"):
            for callback in _listed(options.pop(kind, ())):
                self._link(kind, maybe_signature(callback))
        node_options(options, Options())
        if immutable is not None:
            self.set_immutable(immutable)
        self.options.update(options)
        return self

    def set_immutable(self, immutable: bool) -> None:
        """Say whether it takes further arguments."""
        self["immutable"] = immutable

    def link(self, callback: Signature) -> Signature:
        """Run `callback` with the result; what this signature gives stays the same."""
        return self._link("link", callback)

    def link_error(self, errback: Signature) -> Signature:
        """Run `errback` when this fails: of a chain, when any of its steps does; of a group, for each member
        that does; of a chord, when its body or anything of its header does, once.

        One that takes several arguments gets ``(request, exc, traceback)``, another the id of what failed.
        """
        return self._link("link_error", errback)

    def on_error(self, errback: Signature) -> Self:
        """`link_error`, for use in an expression: returns this signature."""
        self.link_error(errback)
        return self

    def flatten_links(self) -> list[Signature]:
        """It, and all that is linked to it, and to that, in the order in which they run."""
        found = [self]
        for callback in _listed(self.options.get("link", ())):
            found += maybe_signature(callback).flatten_links()
        return found

    def freeze(self, task_id: str | None = None) -> Shape:
        """Fix the ids of everything in it, as they will be when it is sent.

        Args:
            task_id: The id of its result.

        Returns:
            Where the results will be. Freezing again changes nothing.
        """
        self._fix_ids(task_id)
        return self.draw(DrySheet())

    def draw(
        self, sheet: Sheet, lead: Shape | None = None, inherited: Mapping[str, Any] | None = None
    ) -> Shape:
        """Draw it as nodes.

        Args:
            sheet: Takes the nodes.
            lead: The result it follows, its first argument unless it is immutable.
            inherited: Options of the canvas around it; its own count more.
        """
        first, edges = _following(lead, self.immutable)
        options = {**(inherited or {}), **self.options}
        task, args, kwargs = self._as_call()
        node = sheet.call(task, (*first, *args), kwargs, options, edges)
        shape = Shape(node, parent=lead)
        for callback in self._linked("link"):
            callback.draw(sheet, shape)
        draw_errbacks(sheet, self._linked("link_error"), shape, self, EdgeMode.FAILED)
        return shape

    def apply_async(
        self,
        args: Iterable[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        *,
        client: Any = None,
        **options: Any,
    ) -> Any:
        """Send it, with more arguments and other options.

        Args:
            args: Go before its own.
            kwargs: Go over its own.
            client: Where to send it; the current client by default.
            options: As `set` takes them.

        Returns:
            What the client gives for a canvas: the handle of its result.
        """
        args = tuple(args)
        sent = self.clone(args, kwargs).set(**options) if args or kwargs or options else self
        return (client or hooks.current_client()).submit_canvas(sent)

    def to_workflow(self) -> Workflow:
        """The same as a `Workflow`: a graph that can be looked at, changed and run many times.

        The result is that of the canvas; where signatures are linked to it, a dict with theirs.

        Example:
            >>> list(chain(signature(pow, (2, 3)), signature(str)).to_workflow().graph.edges)
            [('pow', 'str')]
        """
        from taskflow.canvas.onto import WorkflowSheet
        from taskflow.workflow import Workflow

        made = Workflow(str(self.task).rpartition(".")[2] if isinstance(self, _Canvas) else self.name)
        sheet = WorkflowSheet(made)
        shape = self.draw(sheet)
        if shape.members is not None:
            made.add(list, sheet.argument(shape.argument()), name=made._unused("list"))
        return made

    def delay(self, *args: Any, **kwargs: Any) -> Any:
        """Send it, with more arguments."""
        return self.apply_async(args, kwargs)

    def apply(
        self,
        args: Iterable[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        *,
        throw: bool = False,
        **options: Any,
    ) -> Any:
        """Run all of it in this thread, and wait for its end: retries, links and failures as in any run.

        It is the same engine over a store in memory. What was sent so can be debugged: breakpoints work.

        Args:
            args: Go before its own.
            kwargs: Go over its own.
            throw: Raise what its last task raised.
            options: As `set` takes them; a countdown is waited for.

        Returns:
            An `EagerResult`; of a group, a `GroupResult` of them.
        """
        args = tuple(args)
        sent = self.clone(args, kwargs).set(**options) if args or kwargs or options else self
        result = hooks.eager_client().apply_canvas(sent)
        if throw:
            result.get()
        return result

    def __invert__(self) -> Any:
        """``~sig`` sends it, and waits for its value."""
        return self.apply_async().get()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function here and now."""
        made = self.clone(args, kwargs)
        return made.type(*made.args, **made.kwargs)

    def __or__(self, other: Any) -> Any:
        """``a | b`` is the chain in which `b` follows `a`."""
        if not isinstance(other, Signature):
            return NotImplemented
        return chain(*self._steps(), *other._steps())

    def __copy__(self) -> Self:
        made = type(self).__new__(type(self))
        dict.update(made, self)
        return made

    def __reduce__(self) -> tuple[Any, ...]:
        return (Signature.from_dict, (dict(self),))

    def __repr__(self) -> str:
        given = [repr(arg) for arg in self.args] + [f"{k}={v!r}" for k, v in self.kwargs.items()]
        return f"{self.name}({', '.join(given)})"

    def _steps(self) -> tuple[Signature, ...]:
        return (self,)

    def _as_call(self) -> tuple[Any, tuple[Any, ...], dict[str, Any]]:
        """The task that is called, and the arguments it brings itself."""
        return self["task"], self["args"], self["kwargs"]

    def _restore(self) -> None:
        """Make signatures of the dicts inside, after `from_dict`."""

    def _fix_ids(self, task_id: str | None) -> None:
        self["options"] = dict(self.options)
        self.options.setdefault("task_id", task_id or new_id())

    def _link(self, kind: str, callback: Signature) -> Signature:
        self.options[kind] = [*_listed(self.options.get(kind)), callback]
        return callback

    def _linked(self, kind: str) -> list[Signature]:
        return [maybe_signature(callback) for callback in _listed(self.options.get(kind))]

    def _passed_on(self, inherited: Mapping[str, Any] | None) -> dict[str, Any]:
        """The options that the parts of a canvas start from."""
        both = {**(inherited or {}), **self.options}
        return {k: v for k, v in both.items() if k not in _NOT_INHERITED}

    def _passed_behind(self, inherited: Mapping[str, Any] | None) -> dict[str, Any]:
        """The same for what is not its first step."""
        return {k: v for k, v in self._passed_on(inherited).items() if k not in _FIRST_ONLY}

    def _own_id(self, inherited: Mapping[str, Any] | None) -> dict[str, Any]:
        """The id that its result shall have, for its last part."""
        own = self.options.get("task_id") or (inherited or {}).get("task_id")
        return {"task_id": own} if own else {}


class _Canvas(Signature):
    """A signature made of others, which it keeps under ``kwargs["tasks"]``."""

    subtask_type = "canvas"
    _is_call = False

    @property
    def tasks(self) -> list[Signature]:
        """The signatures it is made of."""
        return self.kwargs["tasks"]  # type: ignore[no-any-return]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Send it."""
        return self.apply_async(args, kwargs)

    def with_errbacks(self, errbacks: Iterable[Signature]) -> Self:
        """A copy that has these errbacks too; of a group its members."""
        made = self.clone()
        for errback in errbacks:
            made.link_error(errback)
        return made

    def _restore(self) -> None:
        self["kwargs"]["tasks"] = [maybe_signature(task) for task in self["kwargs"].get("tasks", ())]


class chain(_Canvas):  # noqa: N801 - Celery's name
    """Signatures that run one after the other, each with the result of the one before.

    Its result is that of the last one. A group in it gives the list of its results to what follows.

    Args:
        tasks: The steps in order, or one iterable of them.
        options: Options of all steps; `countdown` and `eta` of the first.

    Example:
        >>> chain(signature(pow, (2,)), signature(str))
        pow(2) | str()
    """

    subtask_type = "chain"

    def __init__(self, *tasks: Any, **options: Any) -> None:
        super().__init__("taskflow.chain", options=options)
        steps = _spread(tasks)
        self["kwargs"]["tasks"] = [maybe_signature(step) for step in steps]

    def clone(
        self, args: Iterable[Any] = (), kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> Self:
        """A copy whose first step has more arguments."""
        made = copy(self)
        made["options"] = {**self.options, **options}
        first = [task.clone(args, kwargs) for task in self.tasks[:1]]
        made["kwargs"] = {"tasks": first + [task.clone() for task in self.tasks[1:]]}
        return made

    def set_immutable(self, immutable: bool) -> None:
        """Say whether the first step takes further arguments."""
        super().set_immutable(immutable)
        for task in self.tasks[:1]:
            task.set_immutable(immutable)

    def draw(
        self, sheet: Sheet, lead: Shape | None = None, inherited: Mapping[str, Any] | None = None
    ) -> Shape:
        """Draw the steps, each behind the one before."""
        if not self.tasks:
            raise GraphError("A chain needs at least one step.")
        passed, behind, own = (
            self._passed_on(inherited),
            self._passed_behind(inherited),
            self._own_id(inherited),
        )
        errbacks = self._linked("link_error")
        before = shape = lead
        for number, task in enumerate(self.tasks, 1):
            before = shape
            last = number == len(self.tasks)
            step = task.with_errbacks(errbacks) if last and errbacks and isinstance(task, _Canvas) else task
            shape = step.draw(sheet, shape, {**passed, **own} if last else passed)
            passed = behind
        end = cast("Shape", shape)
        if not isinstance(self.tasks[-1], (chain, chord)):  # they tell of what fails before them, too
            draw_errbacks(sheet, errbacks, before if end.is_list and before else end, self, EdgeMode.BROKEN)
        return end

    def __repr__(self) -> str:
        return " | ".join(map(repr, self.tasks))

    def _steps(self) -> tuple[Signature, ...]:
        return (self,) if self.options else tuple(self.tasks)

    def _fix_ids(self, task_id: str | None) -> None:
        self["kwargs"] = {"tasks": [task.clone() for task in self.tasks]}
        for task in self.tasks[:-1]:
            task._fix_ids(None)
        for task in self.tasks[-1:]:
            task._fix_ids(task_id)

    def _link(self, kind: str, callback: Signature) -> Signature:
        if kind == "link_error":
            return super()._link(kind, callback)
        return self.tasks[-1]._link(kind, callback)


class group(_Canvas):  # noqa: N801 - Celery's name
    """Signatures that run side by side; the result is the list of theirs, in order.

    Calls of one function in a row become one array node, however many they are. A generator is read
    while the group is sent, not before, and only once; `tasks`, `clone` and `freeze` read it to its end.

    Args:
        tasks: The members, or one iterable of them; groups among them are taken apart.
        options: Options of all members.
    """

    subtask_type = "group"

    def __init__(self, *tasks: Any, **options: Any) -> None:
        super().__init__("taskflow.group", options=options)
        members = _spread(tasks)
        if not isinstance(members, Iterator):
            members = [maybe_signature(member) for member in members]
        self["kwargs"]["tasks"] = members

    @property
    def tasks(self) -> list[Signature]:
        """The members; a generator is read to its end."""
        members = self.kwargs["tasks"]
        if not isinstance(members, list):
            self["kwargs"]["tasks"] = members = list(self._read())
        return members

    def clone(
        self, args: Iterable[Any] = (), kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> Self:
        """A copy whose members have more arguments."""
        given, members = tuple(args), self.tasks
        made = copy(self)
        made["options"] = {**self.options, **options}
        made["kwargs"] = {"tasks": [member.clone(given, kwargs) for member in members]}
        return made

    def set_immutable(self, immutable: bool) -> None:
        """Say whether the members take further arguments."""
        super().set_immutable(immutable)
        for task in self.tasks:
            task.set_immutable(immutable)

    def skew(self, start: float = 1.0, stop: float | None = None, step: float = 1.0) -> Self:
        """Let the members start one after the other: a countdown for each, in seconds.

        Args:
            start: That of the first.
            stop: Where it begins anew with `start`.
            step: How much more each waits than the one before.
        """
        wait = start
        for member in self.tasks:
            member.set(countdown=wait)
            wait += step
            if stop is not None and wait >= stop:
                wait = start
        return self

    def draw(
        self, sheet: Sheet, lead: Shape | None = None, inherited: Mapping[str, Any] | None = None
    ) -> Shape:
        """Draw the members: rows of calls of one function as array nodes, the others one by one."""
        shapes: list[Shape] = []
        rows: list[Shape] = []
        for kind, run in groupby(self._flat(inherited), key=_Kind.of):
            several, members = _is_several(run)
            if several and not kind.single:
                rows.append(_row(sheet, lead, kind, members))
                shapes.append(rows[-1])
            else:
                shapes += [sig.draw(sheet, lead, passed) for sig, passed in members]
        if len(rows) == len(shapes) == 1:
            return rows[0]
        taken_apart = set(map(id, rows))
        parts = (shape.items() if id(shape) in taken_apart else (shape,) for shape in shapes)
        return Shape(members=tuple(concat.from_iterable(parts)), parent=lead)

    def __or__(self, other: Any) -> Any:
        """``group | b`` is the chord whose body is `b`."""
        if not isinstance(other, Signature):
            return NotImplemented
        return chord(self, other)

    def __repr__(self) -> str:
        members = self.kwargs["tasks"]
        if not isinstance(members, list):
            return "group(…)"
        shown = ", ".join(map(repr, members[:8]))
        return f"group({shown}{', …' if len(members) > 8 else ''})"

    def _restore(self) -> None:
        if not isinstance(self["kwargs"].get("tasks"), Iterator):
            super()._restore()

    def _read(self) -> Iterator[Signature]:
        """The members as they come."""
        members = self.kwargs["tasks"]
        if isinstance(members, list):
            yield from members
            return
        self["kwargs"]["tasks"] = _Spent()
        yield from map(maybe_signature, members)

    def _flat(self, inherited: Mapping[str, Any] | None) -> Iterator[tuple[Signature, dict[str, Any]]]:
        """The members with the options they inherit, those of groups among them included."""
        passed = self._passed_on(inherited)
        for member in self._read():
            if isinstance(member, group):
                yield from member._flat(passed)
            else:
                yield member, passed

    def _fix_ids(self, task_id: str | None) -> None:
        frozen = [
            sig.clone(**passed) if passed else sig.clone() for sig, passed in _own_last(self._flat(None))
        ]
        self["kwargs"] = {"tasks": frozen}
        pairs: list[tuple[Signature, dict[str, Any]]] = [(sig, {}) for sig in frozen]
        for kind, run in groupby(pairs, key=_Kind.of):
            row = [sig for sig, _ in run]
            if kind.single or len(row) == 1:
                for sig in row:
                    sig._fix_ids(None)
            else:
                node = kind.node or (task_id if task_id and len(row) == len(frozen) else new_id())
                for index, sig in enumerate(row):
                    sig._fix_ids(item_id(node, index))

    def _link(self, kind: str, callback: Signature) -> Signature:
        for task in self.tasks:
            task._link(kind, callback)
        return callback


class chord(_Canvas):  # noqa: N801 - Celery's name
    """A group, then a body that gets the list of its results; an empty group gives it ``[]``.

    Args:
        header: The group, or its members.
        body: What follows; may be given later, ``chord(header)(body)``.
        options: Options of header and body.
    """

    subtask_type = "chord"

    def __init__(self, header: Any, body: Any = None, **options: Any) -> None:
        super().__init__("taskflow.chord", options=options)
        members = header if isinstance(header, Signature) else group(header)
        self["kwargs"] = {"header": members if isinstance(members, group) else group(members)}
        self["kwargs"]["body"] = None if body is None else maybe_signature(body)

    @property
    def tasks(self) -> list[Signature]:
        """The members of the header."""
        return self.header.tasks

    @property
    def header(self) -> group:
        """The group."""
        return self.kwargs["header"]  # type: ignore[no-any-return]

    @property
    def body(self) -> Signature | None:
        """What follows the group."""
        return self.kwargs["body"]  # type: ignore[no-any-return]

    def clone(
        self, args: Iterable[Any] = (), kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> Self:
        """A copy whose header has more arguments."""
        made = copy(self)
        made["options"] = {**self.options, **options}
        body = self.body.clone() if self.body is not None else None
        made["kwargs"] = {"header": self.header.clone(args, kwargs), "body": body}
        return made

    def set_immutable(self, immutable: bool) -> None:
        """Say whether the header takes further arguments."""
        super().set_immutable(immutable)
        self.header.set_immutable(immutable)

    def draw(
        self, sheet: Sheet, lead: Shape | None = None, inherited: Mapping[str, Any] | None = None
    ) -> Shape:
        """Draw the header, then the body behind it."""
        if self.body is None:
            raise GraphError("A chord needs a body: chord(header)(body).")
        header = self.header.draw(sheet, lead, self._passed_on(inherited))
        errbacks, body = self._linked("link_error"), self.body
        if body.subtask_type is None:  # of a body, also a failure of the header is a failure
            errbacks += body._linked("link_error")
            body = copy(body)
            body["options"] = {k: v for k, v in body.options.items() if k != "link_error"}
        elif isinstance(body, group):
            body, errbacks = body.with_errbacks(errbacks), []
        shape = body.draw(sheet, header, {**self._passed_behind(inherited), **self._own_id(inherited)})
        draw_errbacks(sheet, errbacks, shape, self.body, EdgeMode.BROKEN)
        return shape

    def __call__(self, body: Any = None, kwargs: Mapping[str, Any] | None = None, **options: Any) -> Any:
        """Send it, with this body."""
        sent = copy(self)
        sent["kwargs"] = {**self.kwargs, "body": self.body if body is None else maybe_signature(body)}
        if kwargs and sent.body is not None:
            sent["kwargs"]["body"] = sent.body.clone((), kwargs)
        return sent.apply_async(**options)

    def __or__(self, other: Any) -> Any:
        """``chord | b`` runs `b` after the body."""
        if not isinstance(other, Signature):
            return NotImplemented
        if self.body is None:
            return chord(self.header, other, **self.options)
        return chord(self.header, self.body | other, **self.options)

    def __repr__(self) -> str:
        return f"{self.header!r} | {self.body!r}"

    def _restore(self) -> None:
        kwargs = self["kwargs"]
        kwargs["header"] = maybe_signature(kwargs["header"])
        kwargs["body"] = None if kwargs.get("body") is None else maybe_signature(kwargs["body"])

    def _fix_ids(self, task_id: str | None) -> None:
        if self.body is None:
            raise GraphError("A chord needs a body: chord(header)(body).")
        self["kwargs"] = {"header": self.header.clone(), "body": self.body.clone()}
        self.header._fix_ids(None)
        self.body._fix_ids(task_id)

    def _link(self, kind: str, callback: Signature) -> Signature:
        if kind == "link_error":
            return super()._link(kind, callback)
        if self.body is None:
            raise GraphError("A chord needs a body before anything can follow it.")
        return self.body._link(kind, callback)


def signature(
    task: Any,
    args: Iterable[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    options: Mapping[str, Any] | None = None,
    *,
    immutable: bool = False,
    **more: Any,
) -> Signature:
    """Make a signature of a function, a task, the name of one, or the dict of another signature.

    Example:
        >>> signature(pow, (2, 3))()
        8
    """
    if isinstance(task, Mapping):
        made = task if isinstance(task, Signature) else Signature.from_dict(task)
        return made.clone(args, kwargs, **{**(options or {}), **more})
    return Signature(task, args, kwargs, options, immutable=immutable, **more)


def maybe_signature(value: Any) -> Signature:
    """A signature as it is; of a dict, a task, a function or a name, the signature.

    Raises:
        UsageError: It is none of these.
    """
    if isinstance(value, Signature):
        return value
    if isinstance(value, Mapping):
        return Signature.from_dict(value)
    if isinstance(value, str) or callable(value):
        return Signature(value)
    raise UsageError(f"{value!r} is not a signature: use task.s(...) or signature(function, args).")


class _Kind:
    """What calls must have in common to be items of one array node."""

    __slots__ = ("immutable", "keyed", "node", "options", "single", "task")

    def __init__(self, sig: Signature, inherited: Mapping[str, Any]) -> None:
        own = sig.options.get("task_id")
        node, index = split_id(own) if own else (None, None)
        linked = "link" in sig.options or "link_error" in sig.options
        self.task, args, kwargs = sig._as_call()
        self.single = not sig._is_call or linked or (bool(own) and index is None)
        self.single = self.single or _refers((*args, *kwargs.values()))
        self.immutable = sig["immutable"]
        self.keyed = bool(kwargs)
        self.node = node if index is not None else None
        self.options = {**inherited, **sig.options} if sig.options else inherited
        if own:
            self.options = {k: v for k, v in self.options.items() if k != "task_id"}

    @classmethod
    def of(cls, member: tuple[Signature, Mapping[str, Any]]) -> _Kind:
        return cls(*member)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, _Kind)
            and not (self.single or other.single)
            and self.task == other.task
            and self.immutable == other.immutable
            and self.keyed == other.keyed
            and self.node == other.node
            and self.options == other.options
        )

    __hash__ = None  # type: ignore[assignment]


class _Spent(Iterator[Signature]):
    """In place of a generator that was read."""

    def __next__(self) -> Signature:
        raise UsageError(
            "The generator of this group was read when it was sent: make the group anew, or of a list."
        )


def _is_several(run: Iterator[T]) -> tuple[bool, Iterator[T]]:
    """Whether more than one comes, and all that come."""
    head = list(islice(run, 2))
    return len(head) > 1, concat(head, run)


def _row(
    sheet: Sheet, lead: Shape | None, kind: _Kind, run: Iterable[tuple[Signature, Mapping[str, Any]]]
) -> Shape:
    items = (sig._as_call()[1:] for sig, _ in run)
    first, edges = _following(lead, kind.immutable)
    node, width = sheet.array(
        kind.task, items, kind.options, edges, lead=first, node_id=kind.node, keyed=kind.keyed
    )
    return Shape(node, width=width, parent=lead)


def _following(lead: Shape | None, immutable: bool) -> tuple[tuple[Any, ...], tuple[Edge, ...]]:
    """The first arguments and the edges of what follows a result."""
    if lead is None:
        return (), ()
    return () if immutable else (lead.argument(),), lead.waits()


def _own_last(
    members: Iterable[tuple[Signature, Mapping[str, Any]]],
) -> Iterator[tuple[Signature, dict[str, Any]]]:
    for sig, passed in members:
        yield sig, {**passed, **sig.options} if passed else {}


def _listed(value: Any) -> Sequence[Any]:
    """One signature, or several of them, as a list."""
    return value if isinstance(value, (list, tuple)) else [] if value is None else [value]


def _refers(values: Iterable[Any]) -> bool:
    """Whether a reference is among the values, or in a short list or dict among them."""
    for value in values:
        if isinstance(value, Reference):
            return True
        inner = value.values() if type(value) is dict else value if type(value) in (list, tuple, set) else ()
        if 0 < len(inner) <= 64 and _refers(inner):
            return True
    return False


def _spread(tasks: tuple[Any, ...]) -> Iterable[Any]:
    """The members of a canvas: given one by one, or as one iterable of them."""
    if len(tasks) == 1 and isinstance(tasks[0], Iterable) and not isinstance(tasks[0], (Mapping, str)):
        return tasks[0]
    return tasks
