"""`Signature`: a call that has not been made.

A signature is a dict, as in Celery: it can be indexed, compared, sent as JSON and changed. It runs
nowhere by itself: `apply_async` hands it to a client, which draws it on a `Sheet`, as flat nodes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from copy import copy
from typing import TYPE_CHECKING, Any, ClassVar, Self

from taskflow import hooks
from taskflow.canvas.errbacks import draw_errbacks
from taskflow.canvas.fields import Field
from taskflow.canvas.registry import resolve, tasks
from taskflow.canvas.shape import Shape, following
from taskflow.canvas.sheet import DrySheet, Sheet, node_options
from taskflow.canvas.stamping import StampingVisitor, as_tags, stamp
from taskflow.errors import UsageError
from taskflow.ids import new_id
from taskflow.policy import Options
from taskflow.records import EdgeMode

if TYPE_CHECKING:
    from taskflow.workflow import Workflow

__all__ = ["Signature", "as_signature", "maybe_signature", "signature"]

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

    Attributes:
        task: The name of the task, or the function when it has none; as those below an entry of the dict.
        args: Its positional arguments.
        kwargs: Its keyword arguments.
        options: Its options.
        immutable: Whether it takes no further arguments.
    """

    task: Field[Any] = Field()
    args: Field[tuple[Any, ...]] = Field()
    kwargs: Field[dict[str, Any]] = Field()
    options: Field[dict[str, Any]] = Field()
    immutable: Field[bool] = Field()
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
    def from_dict(cls, data: Mapping[str, Any], app: Any = None) -> Signature:
        """Rebuild a signature from its dict, as JSON gives it back.

        Args:
            data: The dict; also one that Celery wrote.
            app: Taken for Celery's sake: who sends it says where to.
        """
        kind = Signature._kinds.get(str(data.get("subtask_type")), Signature)
        made = kind.__new__(kind)
        dict.update(made, data)
        made["args"] = tuple(data.get("args") or ())
        made["kwargs"] = dict(data.get("kwargs") or {})
        made["options"] = dict(data.get("options") or {})
        for links in made.options.keys() & {"link", "link_error"}:
            made.options[links] = made._linked(links)
        made.setdefault("subtask_type", None)
        made.setdefault("immutable", False)
        made.setdefault("chord_size", None)
        made._restore()
        return made

    @property
    def name(self) -> str:
        """What a person reads."""
        task = self["task"]
        return task if isinstance(task, str) else str(getattr(task, "__name__", None) or repr(task))

    @property
    def id(self) -> str | None:
        """Its id, once it is frozen."""
        return self.options.get("task_id")

    @property
    def app(self) -> Any:
        """The application of its first task, if that has one."""
        task = self["task"]
        return getattr(tasks.get(task) if isinstance(task, str) else task, "app", None)

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
        made._take(tuple(args), kwargs or {})
        return made

    partial = clone

    def set(self, immutable: bool | None = None, **options: Any) -> Self:
        """Change options in place.

        Raises:
            ConfigError: There is no such option (the nearest is named), or its value is impossible.
        """
        for kind in ("link", "link_error"):
            self._link_all(kind, options.pop(kind, None))
        node_options(as_tags(options), Options())
        if immutable is not None:
            self.set_immutable(immutable)
        self.options.update(options)
        return self

    def set_immutable(self, immutable: bool) -> None:
        """Say whether it takes further arguments."""
        self["immutable"] = immutable

    def replace(
        self,
        args: Iterable[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> Self:
        """A copy that has these in place of its own; what is `None` stays."""
        made = self.clone()
        if args is not None:
            made["args"] = tuple(args)
        if kwargs is not None:
            made["kwargs"] = dict(kwargs)
        if options is not None:
            made["options"] = dict(options)
        return made

    def stamp(
        self, visitor: StampingVisitor | None = None, append_stamps: bool = False, **headers: Any
    ) -> Self:
        """Mark it and all of its parts, what is linked included: tags by which they are listed and revoked.

        Args:
            visitor: Says what each part is marked with.
            append_stamps: A stamp that a part has already becomes a list of both; else the last one counts.
            headers: Stamps for every part; small and JSON.

        Example:
            >>> signature(pow, (2, 3)).stamp(experiment=7).options["experiment"]
            7
        """
        stamp(self, visitor, append_stamps, headers)
        return self

    def link(self, callback: Any) -> Any:
        """Run a signature, or each of a list of them, with the result; what this one gives stays the same.

        Returns:
            What was given. It is linked once, however often it is given.
        """
        return self._link_all("link", callback)

    def link_error(self, errback: Any) -> Any:
        """Run a signature, or each of a list of them, when this fails: of a chain, when any of its steps
        does; of a group, for each member that does; of a chord, when its body or anything of its header does,
        once.

        One that takes several arguments gets ``(request, exc, traceback)``, another the id of what failed.

        Returns:
            What was given. It is linked once, however often it is given.
        """
        return self._link_all("link_error", errback)

    def on_error(self, errback: Any) -> Self:
        """`link_error`, for use in an expression: returns this signature."""
        self.link_error(errback)
        return self

    def election(self) -> Any:
        """Celery's way to let one of many clusters run a task. Here it has no meaning.

        Raises:
            UsageError: Always: whatever is sent is run by one worker.
        """
        raise UsageError(
            "There are no elections: what is sent is run by one worker, whoever claims it. Use apply_async,"
            " and unique=True where several may send the same."
        )

    def reprcall(self, *args: Any, **kwargs: Any) -> str:
        """How a call with these further arguments would be written, also of an immutable one."""
        made = [repr(arg) for arg in (*args, *self.args)]
        made += [f"{name}={value!r}" for name, value in {**self.kwargs, **kwargs}.items()]
        return f"{self.name}({', '.join(made)})"

    def flatten_links(self) -> list[Signature]:
        """It, and all that is linked to it, and to that, in the order in which they run."""
        found = [self]
        for callback in self._linked("link"):
            found += callback.flatten_links()
        return found

    def freeze(
        self,
        _id: str | None = None,
        group_id: str | None = None,
        chord: Any = None,
        root_id: str | None = None,
        parent_id: str | None = None,
        group_index: int | None = None,
    ) -> Any:
        """Fix the ids of everything in it, as they will be when it is sent. Freezing again changes nothing.

        Args:
            _id: The id of its result.
            group_id: Taken for Celery's sake, as those below: what it is part of is known when it is sent.
            chord: See `group_id`.
            root_id: See `group_id`.
            parent_id: See `group_id`.
            group_index: See `group_id`.

        Returns:
            Its result, an `AsyncResult` or a `GroupResult`: ids, parents and members are known at once, and
            all else when it was sent. The id of a group of several tasks is known only then.
        """
        self._fix_ids(_id)
        return hooks.promised(self.draw(DrySheet()))

    def draw(
        self, sheet: Sheet, lead: Shape | None = None, inherited: Mapping[str, Any] | None = None
    ) -> Shape:
        """Draw it as nodes.

        Args:
            sheet: Takes the nodes.
            lead: The result it follows, its first argument unless it is immutable.
            inherited: Options of the canvas around it; its own count more.
        """
        first, edges = following(lead, self.immutable)
        options = as_tags({**(inherited or {}), **self.options})
        task, args, kwargs = self._as_call()
        node = sheet.call(task, (*first, *args), kwargs, options, edges)
        shape = Shape(node, parent=lead)
        for callback in self._linked("link"):
            callback.draw(sheet, shape)
        draw_errbacks(sheet, self._linked("link_error"), shape, self, EdgeMode.FAILED)
        return shape

    def apply_async(
        self,
        args: Iterable[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        *,
        client: Any = None,
        **options: Any,
    ) -> Any:
        """Send it, with more arguments and other options.

        Args:
            args: Go before its own.
            kwargs: Go over its own.
            client: Where to send it; by default that of the application of its first task, else the current.
            options: As `set` takes them.

        Returns:
            What the client gives for a canvas: the handle of its result.
        """
        sent = self._sent(tuple(args or ()), kwargs, options)
        app = sent.app
        if app is not None and app.is_eager:
            return sent.apply(throw=app.is_eager_loud)
        return hooks.client_of(client, app).submit_canvas(sent)

    def to_workflow(self) -> Workflow:
        """The same as a `Workflow`: a graph that can be looked at, changed and run many times.

        The result is that of the canvas; where signatures are linked to it, a dict with theirs.

        Example:
            >>> list((signature(pow, (2, 3)) | signature(str)).to_workflow().graph.edges)
            [('pow', 'str')]
        """
        from taskflow.canvas.onto import WorkflowSheet
        from taskflow.workflow import Workflow

        made = Workflow(self.name if self._is_call else self.name.rpartition(".")[2])
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
        result = hooks.eager_client().apply_canvas(self._sent(tuple(args), kwargs, options))
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
        return Signature._kinds["chain"](*self._steps(), *other._steps())

    def __ior__(self, other: Any) -> Any:  # a dict would take its items
        """``a |= b`` is ``a = a | b``."""
        return self.__or__(other)

    def __copy__(self) -> Self:
        made = type(self).__new__(type(self))
        dict.update(made, self)
        return made

    def __reduce__(self) -> tuple[Any, ...]:
        return (Signature.from_dict, (dict(self),))

    def __repr__(self) -> str:
        return self.reprcall()

    def _steps(self) -> tuple[Signature, ...]:
        return (self,)

    def _take(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """Take more arguments, into parts of its own."""
        take = not self.immutable
        self["args"] = (*args, *self.args) if take else self.args
        self["kwargs"] = {**self.kwargs, **kwargs} if take else dict(self.kwargs)

    def _sent(
        self, args: tuple[Any, ...], kwargs: Mapping[str, Any] | None, options: Mapping[str, Any]
    ) -> Signature:
        """What is sent, with more arguments and other options."""
        return self.clone(args, kwargs).set(**options) if args or kwargs or options else self

    def _as_call(self) -> tuple[Any, tuple[Any, ...], dict[str, Any]]:
        """The task that is called, and the arguments it brings itself."""
        return self["task"], self["args"], self["kwargs"]

    def _restore(self) -> None:
        """Make signatures of the dicts inside, after `from_dict`."""

    def _fix_ids(self, task_id: str | None) -> None:
        self["options"] = dict(self.options)
        self.options.setdefault("task_id", task_id or new_id())

    def _link_all(self, kind: str, callbacks: Any) -> Any:
        found = _signatures(callbacks)
        for callback in found:
            self._link(kind, callback)
        return callbacks if isinstance(callbacks, (list, tuple)) else next(iter(found), None)

    def _link(self, kind: str, callback: Signature) -> None:
        known = self._linked(kind)
        self.options[kind] = known if callback in known else [*known, callback]

    def _linked(self, kind: str) -> list[Signature]:
        return _signatures(self.options.get(kind))

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


def maybe_signature(value: Any, app: Any = None, clone: bool = False) -> Any:
    """A signature as it is; of a dict, a task, a function or a name, the signature; of `None`, `None`.

    Args:
        value: What may be one.
        app: Taken for Celery's sake: who sends it says where to.
        clone: Give a copy of what is a signature already.

    Raises:
        UsageError: It is none of these.
    """
    if value is None:
        return None
    return value.clone() if clone and isinstance(value, Signature) else as_signature(value)


def as_signature(value: Any) -> Signature:
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


def _signatures(value: Any) -> list[Signature]:
    """One signature, or several, or none, as a list."""
    several = value if isinstance(value, (list, tuple)) else [] if value is None else [value]
    return [as_signature(one) for one in several]
