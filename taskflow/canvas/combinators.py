"""What signatures are put together with: chain, group, chord."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from copy import copy
from itertools import chain as concat
from typing import Any, Self, cast

from taskflow.canvas.errbacks import draw_errbacks, of_headers
from taskflow.canvas.rows import draw_row, in_rows
from taskflow.canvas.shape import Shape, item_id
from taskflow.canvas.sheet import Sheet
from taskflow.canvas.signatures import Signature, as_signature, maybe_signature
from taskflow.errors import GraphError, UsageError
from taskflow.ids import new_id
from taskflow.records import EdgeMode

__all__ = ["chain", "chord", "group"]


class _Canvas(Signature):
    """A signature made of others, which it keeps under ``kwargs["tasks"]``."""

    subtask_type = "canvas"
    _is_call = False

    @property
    def tasks(self) -> list[Signature]:
        """The signatures it is made of."""
        return self.kwargs["tasks"]  # type: ignore[no-any-return]

    @tasks.setter
    def tasks(self, tasks: Iterable[Any]) -> None:
        """Put others in their place."""
        self.kwargs["tasks"] = [as_signature(task) for task in tasks]

    @property
    def app(self) -> Any:
        """The application of its first task, if that has one; a generator is not read for it."""
        members = self.kwargs.get("header") or self.kwargs.get("tasks")
        if isinstance(members, group):
            return members.app
        return members[0].app if isinstance(members, list) and members else None

    def set_immutable(self, immutable: bool) -> None:
        """Say whether what runs first in it takes further arguments."""
        super().set_immutable(immutable)
        for part in self._first():
            part.set_immutable(immutable)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Send it."""
        return self.apply_async(args, kwargs)

    def with_errbacks(self, errbacks: Iterable[Signature]) -> Self:
        """A copy that has these errbacks too; of a group its members."""
        made = self.clone()
        for errback in errbacks:
            made.link_error(errback)
        return made

    def _first(self) -> Sequence[Signature]:
        """What of it runs first."""
        return self.tasks

    def _restore(self) -> None:
        self["kwargs"]["tasks"] = [as_signature(task) for task in self["kwargs"].get("tasks", ())]


class chain(_Canvas):  # noqa: N801 - Celery's name
    """Signatures that run one after the other, each with the result of the one before.

    Its result is that of the last one. A group in it gives the list of its results to what follows.

    Args:
        tasks: The steps in order, or one iterable of them.
        options: Options of all steps; `countdown` and `eta` of the first.

    Example:
        >>> from taskflow import signature
        >>> chain(signature(pow, (2,)), signature(str))
        pow(2) | str()
    """

    subtask_type = "chain"

    def __init__(self, *tasks: Any, **options: Any) -> None:
        super().__init__("taskflow.chain", options=options)
        steps = _spread(tasks)
        self["kwargs"]["tasks"] = [as_signature(step) for step in steps]

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
        # Members of a last group tell of themselves; a last chain or chord, of what fails before it, too.
        told = before if end.is_list else end
        if told is not None and not isinstance(self.tasks[-1], (chain, chord)):
            draw_errbacks(sheet, errbacks, told, self, EdgeMode.BROKEN)
        return end

    def __repr__(self) -> str:
        return " | ".join(map(repr, self.tasks))

    def _first(self) -> Sequence[Signature]:
        return self.tasks[:1]

    def _take(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        steps = self.tasks
        self["kwargs"] = {
            "tasks": [step.clone(args, kwargs) for step in steps[:1]] + [step.clone() for step in steps[1:]]
        }

    def _steps(self) -> tuple[Signature, ...]:
        return (self,) if self.options else tuple(self.tasks)

    def _fix_ids(self, task_id: str | None) -> None:
        self["kwargs"] = {"tasks": [task.clone() for task in self.tasks]}
        for task in self.tasks[:-1]:
            task._fix_ids(None)
        for task in self.tasks[-1:]:
            task._fix_ids(task_id)

    def unchain_tasks(self) -> list[Signature]:
        """Copies of the steps: the last with what is linked to the chain, each with its errbacks."""
        steps = [task.clone() for task in self.tasks]
        for step in steps:
            step.link_error(self._linked("link_error"))
        return steps

    def _link(self, kind: str, callback: Signature) -> None:
        if kind == "link_error":
            super()._link(kind, callback)
        else:
            self.tasks[-1]._link(kind, callback)


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
            members = [as_signature(member) for member in members]
        self["kwargs"]["tasks"] = members

    @property
    def tasks(self) -> list[Signature]:
        """The members; a generator is read to its end."""
        members = self.kwargs["tasks"]
        if not isinstance(members, list):
            self["kwargs"]["tasks"] = members = list(self._read())
        return members

    @tasks.setter
    def tasks(self, tasks: Iterable[Any]) -> None:
        """Put others in their place."""
        self.kwargs["tasks"] = [as_signature(task) for task in tasks]

    def skew(self, start: float = 1.0, stop: float | None = None, step: float = 1.0) -> Self:
        """Let the members start one after the other: a countdown for each, in seconds.

        Args:
            start: That of the first.
            stop: The longest; those that would wait longer wait as long as the last that does not.
            step: How much more each waits than the one before.
        """
        wait = start
        for member in self.tasks:
            member.set(countdown=wait)
            if stop is None or wait + step <= stop:
                wait += step
        return self

    def each_member(self, change: Callable[[Signature], object]) -> None:
        """Change each member in place; those of a generator when it is read."""
        members = self.kwargs["tasks"]
        if isinstance(members, list):
            for member in members:
                change(member)
        else:
            self.kwargs["tasks"] = _changed(members, change)

    def draw(
        self, sheet: Sheet, lead: Shape | None = None, inherited: Mapping[str, Any] | None = None
    ) -> Shape:
        """Draw the members: rows of calls of one function as array nodes, the others one by one."""
        shapes: list[Shape] = []
        rows: list[Shape] = []
        for kind, members in in_rows(self._flat(inherited)):
            if kind is None:
                shapes += [sig.draw(sheet, lead, passed) for sig, passed in members]
            else:
                rows.append(draw_row(sheet, lead, kind, members))
                shapes.append(rows[-1])
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

    def _take(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        self["kwargs"] = {"tasks": [member.clone(args, kwargs) for member in self.tasks]}

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
        yield from map(as_signature, members)

    def _flat(self, inherited: Mapping[str, Any] | None) -> Iterator[tuple[Signature, dict[str, Any]]]:
        """The members with the options they inherit, those of groups among them included."""
        passed = self._passed_on(inherited)
        for member in self._read():
            if isinstance(member, group):
                yield from member._flat(passed)
            else:
                yield member, passed

    def _fix_ids(self, task_id: str | None) -> None:
        frozen = [sig.clone(**{**passed, **sig.options}) for sig, passed in self._flat(None)]
        self["kwargs"] = {"tasks": frozen}
        for kind, members in in_rows([(sig, {}) for sig in frozen]):
            row = [sig for sig, _ in members]
            if kind is None:
                for sig in row:
                    sig._fix_ids(None)
            else:
                node = kind.node or (task_id if task_id and len(row) == len(frozen) else new_id())
                for index, sig in enumerate(row):
                    sig._fix_ids(item_id(node, index))

    def _link(self, kind: str, callback: Signature) -> None:
        for task in self.tasks:
            task._link(kind, callback)


class chord(_Canvas):  # noqa: N801 - Celery's name
    """A group, then a body that gets the list of its results; an empty group gives it ``[]``.

    What is linked to it for errors runs once, when its body or anything of its header fails; with Celery's
    ``task_allow_error_cb_on_chord_header`` also for each member of the header that fails, see `compile`.

    Args:
        header: The group, or its members.
        body: What follows; may be given later, ``chord(header)(body)``.
        options: Options of header and body.
    """

    subtask_type = "chord"

    def __init__(self, header: Any, body: Any = None, **options: Any) -> None:
        super().__init__("taskflow.chord", options=options)
        self["kwargs"] = {"header": _header(header), "body": maybe_signature(body)}

    @property
    def tasks(self) -> list[Signature]:
        """The members of the header."""
        return self.header.tasks

    @tasks.setter
    def tasks(self, tasks: Any) -> None:
        """Put others in their place."""
        self.kwargs["header"] = _header(tasks)

    @property
    def header(self) -> group:
        """The group."""
        return self.kwargs["header"]  # type: ignore[no-any-return]

    @property
    def body(self) -> Signature | None:
        """What follows the group."""
        return self.kwargs["body"]  # type: ignore[no-any-return]

    @body.setter
    def body(self, body: Any) -> None:
        """Put another one in its place."""
        self.kwargs["body"] = maybe_signature(body)

    def draw(
        self, sheet: Sheet, lead: Shape | None = None, inherited: Mapping[str, Any] | None = None
    ) -> Shape:
        """Draw the header, then the body behind it."""
        body = self._whole_body()
        errbacks, last = self._linked("link_error"), body
        members = self.header.with_errbacks(errbacks) if errbacks and of_headers() else self.header
        header = members.draw(sheet, lead, self._passed_on(inherited))
        if body.subtask_type is None:  # of a body, also a failure of the header is a failure
            errbacks += body._linked("link_error")
            body = copy(body)
            body["options"] = {k: v for k, v in body.options.items() if k != "link_error"}
        elif isinstance(body, group):
            # A header that fails stops every member, and none of them would tell of it.
            draw_errbacks(sheet, errbacks, header, self, EdgeMode.BROKEN)
            body, errbacks = body.with_errbacks(errbacks), []
        shape = body.draw(sheet, header, {**self._passed_behind(inherited), **self._own_id(inherited)})
        draw_errbacks(sheet, errbacks, shape, last, EdgeMode.BROKEN)
        return shape

    def __call__(self, body: Any = None, kwargs: Mapping[str, Any] | None = None, **options: Any) -> Any:
        """Send it, with this body."""
        sent = copy(self)
        sent["kwargs"] = {**self.kwargs, "body": self.body if body is None else as_signature(body)}
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

    def _first(self) -> Sequence[Signature]:
        return (self.header,)

    def _take(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        body = None if self.body is None else self.body.clone()
        self["kwargs"] = {"header": self.header.clone(args, kwargs), "body": body}

    def _restore(self) -> None:
        kwargs = self["kwargs"]
        kwargs["header"] = _header(kwargs["header"])
        kwargs["body"] = maybe_signature(kwargs.get("body"))

    def _fix_ids(self, task_id: str | None) -> None:
        header, body = self.header.clone(), self._whole_body().clone()
        self["kwargs"] = {"header": header, "body": body}
        header._fix_ids(None)
        body._fix_ids(task_id)

    def _link(self, kind: str, callback: Signature) -> None:
        if kind == "link_error":
            super()._link(kind, callback)
        else:
            self._whole_body()._link(kind, callback)

    def _whole_body(self) -> Signature:
        if self.body is None:
            raise GraphError("A chord needs a body: chord(header)(body).")
        return self.body


def _changed(members: Iterable[Any], change: Callable[[Signature], object]) -> Iterator[Signature]:
    for member in map(as_signature, members):
        change(member)
        yield member


def _header(members: Any) -> group:
    """The group of a header: given as one, as one member, or as several."""
    found = as_signature(members) if isinstance(members, Mapping) else group(members)
    return found if isinstance(found, group) else group(found)


class _Spent(Iterator[Signature]):
    """In place of a generator that was read."""

    def __next__(self) -> Signature:
        raise UsageError(
            "The generator of this group was read when it was sent: make the group anew, or of a list."
        )


def _spread(tasks: tuple[Any, ...]) -> Iterable[Any]:
    """The members of a canvas: given one by one, or as one iterable of them."""
    if len(tasks) == 1 and isinstance(tasks[0], Iterable) and not isinstance(tasks[0], (Mapping, str)):
        return tasks[0]
    return tasks
