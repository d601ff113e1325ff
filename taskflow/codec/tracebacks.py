"""The frames of a worker, as real frames of this process: tracebacks show them, debuggers stand in them.

A frame is made by running a line that raises, compiled as if it stood where the worker's did, over the
variables that came along. These are loaded when they are looked at. A debugger needs nothing else.
"""

from __future__ import annotations

import ast
import importlib
import linecache
import pickle
import types
from collections.abc import Iterator, MutableMapping, Sequence
from typing import Any

from taskflow.codec.failure import message_of, stand_in, type_name
from taskflow.codec.frames import FrameRecord, Linked, Story, Variable
from taskflow.codec.sources import lasting
from taskflow.records import Failure

__all__ = ["Absent", "rebuilt"]


class Absent:
    """In the place of a variable that did not travel, or cannot be had here; prints what is known of it."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return self._text


def rebuilt(error: BaseException, story: Story) -> BaseException:
    """Give an exception the frames of the worker, and what it came from.

    Args:
        error: It, or what stands in its place.
        story: Its story, which was verified.
    """
    return _Rebuilding(error, story).done()


class _Rebuilding:
    def __init__(self, error: BaseException, story: Story) -> None:
        self._story = story
        self._values = _Values(story.values)
        self._values.loaded[story.errors[0].value] = error
        self._made: dict[int, BaseException] = {0: error}

    def done(self) -> BaseException:
        error = self._fill(0, self._made[0])
        error.add_note(f"Raised by {self._story.where}: the frames above are its own, %debug opens them.")
        return error

    def _of(self, number: int | None) -> BaseException | None:
        """The exception of a number, whole."""
        if number is None:
            return None
        if number not in self._made:
            linked = self._story.errors[number]
            found = self._values[linked.value]
            self._made[number] = found if isinstance(found, BaseException) else _stand_in(linked, found)
            self._fill(number, self._made[number])
        return self._made[number]

    def _fill(self, number: int, error: BaseException) -> BaseException:
        linked = self._story.errors[number]
        if isinstance(error, BaseExceptionGroup):
            for part, one in zip(linked.parts, error.exceptions, strict=False):
                if part not in self._made:
                    self._made[part] = one
                    self._fill(part, one)
        elif linked.parts:  # the group could not travel as a whole
            parts = [one for part in linked.parts if (one := self._of(part)) is not None]
            error.__cause__ = BaseExceptionGroup(str(error), parts)
            return error.with_traceback(self._trace(linked.frames))
        # Setting a cause says that the context is not to be shown: what was said comes last.
        error.__cause__ = self._of(linked.cause)
        error.__context__ = self._of(linked.context)
        error.__suppress_context__ = linked.is_suppressed
        return error.with_traceback(self._trace(linked.frames))

    def _trace(self, frames: Sequence[FrameRecord]) -> types.TracebackType | None:
        trace = None
        for record in reversed(frames):
            here = self._frame(record)
            trace = types.TracebackType(trace, here.tb_frame, here.tb_lasti, record.line)
        return trace

    def _frame(self, record: FrameRecord) -> types.TracebackType:
        """The step of a traceback whose frame is this one."""
        first, lines = self._story.sources[record.source]
        code = _code(record, _shown(record.file, first, lines, self._story.where))
        outer = _Outer(self._values, record.outer, record.names)
        try:
            exec(code, outer, _Names(self._values, record.names, outer))  # noqa: S102 - one line of our own
        except _Here as stop:
            trace = stop.__traceback__
            assert trace is not None and trace.tb_next is not None
            return trace.tb_next
        raise AssertionError("the line raises")


def _stand_in(linked: Linked, said: object) -> BaseException:
    return stand_in(Failure("failed", linked.type, repr(said) if isinstance(said, Absent) else ""))


# ── variables ────────────────────────────────────────────────────────────────────────


class _Values:
    """What the variables held, by number; each is loaded once, when it is asked for."""

    def __init__(self, values: Sequence[Variable]) -> None:
        self._values = values
        self.loaded: dict[int, Any] = {}

    def __getitem__(self, number: int) -> Any:
        if number not in self.loaded:
            self.loaded[number] = _loaded(self._values[number])
        return self.loaded[number]


def _loaded(value: Variable) -> Any:
    kind, data = value
    try:
        if isinstance(data, bytes):
            return pickle.loads(data)
        return importlib.import_module(data) if kind == "module" else Absent(data)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - unpickling runs the user's code
        return Absent(f"<this {kind} cannot be had here> {type_name(error)}: {message_of(error)}")


class _Names(MutableMapping[str, Any]):
    """The variables of a frame; what its code names of its module can be read as well.

    Not a dict: what copies one does not ask for its values one by one.
    """

    def __init__(self, values: _Values, names: dict[str, int], outer: _Outer) -> None:
        self._values = values
        self._names = names
        self._own: dict[str, Any] = {}
        self._gone: set[str] = set()
        self._outer = outer

    def __getitem__(self, name: str) -> Any:
        if name in self._own:
            return self._own[name]
        if name in self._names and name not in self._gone:
            return self._values[self._names[name]]
        # The interpreter looks into the module by itself, but there it finds only what was loaded before.
        if name in self._outer.names:
            return self._outer[name]
        raise KeyError(name)

    def __setitem__(self, name: str, value: Any) -> None:
        self._own[name] = value

    def __delitem__(self, name: str) -> None:
        if name not in self:
            raise KeyError(name)
        self._own.pop(name, None)
        self._gone.add(name)

    def __contains__(self, name: object) -> bool:
        return name in self._own or (name in self._names and name not in self._gone)

    def __iter__(self) -> Iterator[str]:
        yield from (name for name in self._names if name not in self._gone and name not in self._own)
        yield from self._own

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def copy(self) -> dict[str, Any]:
        """All of them, loaded."""
        return dict(self)


class _Outer(dict[str, Any]):
    """The names of a module, as far as the code of a frame uses them; loaded when they are asked for.

    The interpreter takes only a dict for this, and asks `__missing__`. In a nested function, such as a
    generator expression that is typed into a debugger, the variables of the frame are found here too.
    """

    def __init__(self, values: _Values, names: dict[str, int], inner: dict[str, int]) -> None:
        super().__init__(__name__="taskflow.remote", __taskflow_here__=_Here)
        self._values = values
        self.names = names
        self._inner = inner

    def __missing__(self, name: str) -> Any:
        number = self.names.get(name, self._inner.get(name))
        if number is None:
            raise KeyError(name)
        self[name] = self._values[number]
        return self[name]


# ── code ─────────────────────────────────────────────────────────────────────────────


class _Here(BaseException):
    """Raised to have a frame."""


def _code(record: FrameRecord, file: str) -> types.CodeType:
    """A line that raises, where the worker's did: in a function of that name, which begins where it did."""
    line, end, column, end_column = _position(record)
    at: dict[str, int] = {
        "lineno": line,
        "end_lineno": end,
        "col_offset": column,
        "end_col_offset": end_column,
    }
    stop = ast.Raise(ast.Name("__taskflow_here__", ast.Load(), **at), None, **at)
    first = {"lineno": record.first_line, "end_lineno": max(end, record.first_line)}
    around = {**first, "col_offset": 0, "end_col_offset": 0}
    nothing = ast.arguments([], [], None, [], [], None, [])
    module = ast.Module([ast.FunctionDef("here", nothing, [stop], [], None, None, **around)], [])
    made = compile(_typed(module), file, "exec")
    code = next(const for const in made.co_consts if isinstance(const, types.CodeType))
    flags = code.co_flags & ~_OWN_LOCALS
    return code.replace(co_name=record.name, co_qualname=record.qualname, co_flags=flags)


_OWN_LOCALS = (
    0x1 | 0x2
)  # CO_OPTIMIZED and CO_NEWLOCALS: without them the names are those that `exec` is given


def _typed(module: ast.Module) -> ast.Module:
    for node in ast.walk(module):
        if isinstance(node, ast.FunctionDef) and "type_params" in node._fields:
            vars(node)["type_params"] = []  # from Python 3.12 on
    return module


def _position(record: FrameRecord) -> tuple[int, int, int, int]:
    """Lines and columns that the compiler takes: it refuses those that make no sense."""
    line, end, column, end_column = record.position
    if line != record.line or end is None or column is None or end_column is None:
        return record.line, record.line, -1, -1
    if end < line or (end == line and end_column < column) or min(column, end_column) < 0:
        return record.line, record.line, -1, -1
    return line, end, column, end_column


# ── text ─────────────────────────────────────────────────────────────────────────────


def _shown(file: str, first: int, lines: Sequence[str], where: str) -> str:
    """A name under which the lines can be shown: that of the file, or cell, if these are its lines here."""
    last = first + len(lines) - 1
    for name in _candidates(file):
        if not lines or _same(linecache.getlines(name)[first - 1 : last], lines):
            return name
    # In these brackets debuggers take a name for what it is, and not for a file.
    number, name = 1, f"<{where}: {file}>"
    while not _placed(name, first, lines):
        number += 1
        name = f"<{where}: {file} {number}>"
    return name


def _candidates(file: str) -> Iterator[str]:
    yield file
    if file.startswith("<"):
        yield from [name for name in list(linecache.cache) if name != file and lasting(name) == file]


def _same(here: Sequence[str], there: Sequence[str]) -> bool:
    return [line.rstrip() for line in here] == [line.rstrip() for line in there]


def _placed(name: str, first: int, lines: Sequence[str]) -> bool:
    """Put lines where tracebacks look for them; `False` when others are there."""
    known = linecache.cache.get(name)
    before = list(known[2]) if known is not None and len(known) == 4 else []
    shown = before + [""] * (first - 1 + len(lines) - len(before))
    for at, line in enumerate(lines, first - 1):
        if shown[at].strip() and shown[at].rstrip() != line.rstrip():
            return False
        shown[at] = line if line.endswith("\n") else line + "\n"
    shown = [line or "\n" for line in shown]
    linecache.cache[name] = (sum(map(len, shown)), None, shown, name)
    return True
