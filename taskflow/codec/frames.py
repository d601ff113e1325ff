"""What the frames of an exception held, as bytes: taken where it was raised, for a debugger elsewhere.

Only plain facts are read in the thread that failed. What runs the user's code, pickling a variable or asking
it for its `repr`, is done in another thread, for a bounded time: what is not done by then is missing.
`taskflow.codec.tracebacks` makes real frames of it again.
"""

from __future__ import annotations

import ctypes
import itertools
import linecache
import os
import pickle
import reprlib
import threading
import types
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from taskflow.codec.failure import MOST_CHAIN, MOST_GROUP, message_of, type_name, users_frames
from taskflow.codec.pickling import TooLarge, dumps_small

__all__ = ["Captured", "FrameRecord", "Linked", "Story", "Variable", "capture"]

VALUE_BYTES = 256 * 1024
"""The largest variable that travels; of a larger one the text does."""
STORY_BYTES = 4 << 20
"""What all variables of an exception may take together; those of the innermost frame come first."""

_WITHIN_S = 2.0
_STOPS = 3
_FIRST_FRAMES, _LAST_FRAMES = 20, 30
_MOST_FRAMES = 150
_MOST_NAMES = 200
_MOST_LINES_BEFORE, _MOST_LINES_AFTER = 200, 100
_MOST_CHARS = 4000
_LEAST_ROOM = 64


class Variable(NamedTuple):
    """A value: `kind` is ``"pickle"``; ``"text"`` of what did not travel; or ``"module"``, with its name."""

    kind: str
    data: bytes | str


class FrameRecord(NamedTuple):
    """One frame: where it stood, and its variables, by their number in `Story.values`.

    Args:
        file, name, qualname, first_line: Of its code.
        line: Where it was; `position` is that with columns, as `codeobject.co_positions` has it.
        source: The number of its text in `Story.sources`.
        names: Its variables.
        outer: Those of its module that its code names.
    """

    file: str
    name: str
    qualname: str
    first_line: int
    line: int
    position: tuple[int | None, ...]
    source: int
    names: dict[str, int]
    outer: dict[str, int]


class Linked(NamedTuple):
    """One exception: `value` is its number in `Story.values`, the others are numbers in `Story.errors`."""

    value: int
    type: str
    frames: list[FrameRecord]
    cause: int | None
    context: int | None
    is_suppressed: bool
    parts: list[int]


class Story(NamedTuple):
    """An exception, the first of `errors`, and those that it came from.

    Args:
        where: Who raised it.
        errors: All of them.
        values: What their variables held.
        sources: Pieces of text that their frames show: the number of the first line, and the lines.
    """

    where: str
    errors: list[Linked]
    values: list[Variable]
    sources: list[tuple[int, list[str]]]

    @staticmethod
    def loads(data: bytes) -> Story:
        """Read `Captured.data`, which was verified; the variables in it are not loaded."""
        story = pickle.loads(data)
        if not isinstance(story, Story):
            raise pickle.UnpicklingError("no story")
        return story


class Captured(NamedTuple):
    """A story as bytes; `is_held_up`: some variable did not let go of the thread that asked for it."""

    data: bytes
    is_held_up: bool


def capture(error: BaseException, where: str, *, within_s: float = _WITHIN_S) -> Captured | None:
    """The frames of an exception and of those that it came from, without ours; `None` when there are none.

    Args:
        error: Was raised.
        where: Names the process to people.
        within_s: How long variables may take to be pickled.
    """
    walk = _Walk()
    walk.add(error)
    if not any(one.frames for one in walk.errors):
        return None
    packing = _Packing(walk.found)
    is_held_up = packing.run(within_s)
    return Captured(pickle.dumps(Story(where, walk.errors, packing.values, walk.sources), 5), is_held_up)


# ── where it was ─────────────────────────────────────────────────────────────────────


class _Walk:
    """Reads exceptions and frames; runs nothing of the user's.

    Attributes:
        errors, sources: As in `Story`.
        found: The values, with what tells their text, in the order in which they matter.
    """

    def __init__(self) -> None:
        self.errors: list[Linked] = []
        self.sources: list[tuple[int, list[str]]] = []
        self.found: list[tuple[Any, Callable[[Any], str]]] = []
        self._numbers: dict[int, int] = {}
        self._values: dict[int, int] = {}
        self._sources: dict[tuple[str, int, int], int] = {}
        self._room = _MOST_FRAMES

    def add(self, error: BaseException, depth: int = 0) -> int | None:
        """The number of an exception; `None` where there are too many."""
        known = self._numbers.get(id(error))
        if known is not None or depth >= MOST_CHAIN:
            return known
        number = self._numbers[id(error)] = len(self.errors)
        blank = Linked(self._value(error, message_of), type_name(error), [], None, None, False, [])
        self.errors.append(blank)
        frames = [self._frame(trace) for trace in reversed(self._shown(error.__traceback__))]
        parts = error.exceptions[:MOST_GROUP] if isinstance(error, BaseExceptionGroup) else ()
        self.errors[number] = blank._replace(
            frames=frames[::-1],
            parts=[part for one in parts if (part := self.add(one, depth + 1)) is not None],
            cause=None if error.__cause__ is None else self.add(error.__cause__, depth + 1),
            context=None if error.__context__ is None else self.add(error.__context__, depth + 1),
            is_suppressed=error.__suppress_context__,
        )
        return number

    def _shown(self, trace: types.TracebackType | None) -> list[types.TracebackType]:
        found = users_frames(trace)
        if len(found) > _FIRST_FRAMES + _LAST_FRAMES:
            found = found[:_FIRST_FRAMES] + found[-_LAST_FRAMES:]
        found = found[max(0, len(found) - self._room) :]
        self._room -= len(found)
        return found

    def _frame(self, trace: types.TracebackType) -> FrameRecord:
        frame, code = trace.tb_frame, trace.tb_frame.f_code
        line = trace.tb_lineno or code.co_firstlineno
        names = {} if frame.f_locals is frame.f_globals else self._named(frame.f_locals)
        used = ((name, frame.f_globals[name]) for name in code.co_names if name in frame.f_globals)
        return FrameRecord(
            code.co_filename, code.co_name, code.co_qualname, code.co_firstlineno, line,
            _position(code, trace.tb_lasti), self._source(frame, line), names, self._named(dict(used)),
        )  # fmt: skip

    def _named(self, names: Mapping[str, Any]) -> dict[str, int]:
        try:
            own = ((name, value) for name, value in names.items() if _is_own(name))
            return {name: self._value(value, _text) for name, value in itertools.islice(own, _MOST_NAMES)}
        except Exception:  # noqa: BLE001 - code that is run in a mapping of the user's own may see anything
            return {}

    def _value(self, value: Any, text: Callable[[Any], str]) -> int:
        """The number of a value: the same for the same object, in whatever frames it is."""
        number = self._values.setdefault(id(value), len(self.found))
        if number == len(self.found):
            self.found.append((value, text))
        return number

    def _source(self, frame: types.FrameType, line: int) -> int:
        code = frame.f_code
        last = max((number for *_, number in code.co_lines() if number), default=line)
        first = max(1, min(code.co_firstlineno, line), line - _MOST_LINES_BEFORE)
        last = min(max(last, line), line + _MOST_LINES_AFTER)
        key = code.co_filename, first, last
        number = self._sources.setdefault(key, len(self.sources))
        if number == len(self.sources):
            lines = linecache.getlines(code.co_filename, frame.f_globals)
            self.sources.append((first, lines[first - 1 : last]))
        return number


def _is_own(name: Any) -> bool:
    return isinstance(name, str) and name.isidentifier() and not (name[:2] == name[-2:] == "__")


def _position(code: types.CodeType, lasti: int) -> tuple[int | None, ...]:
    found = itertools.islice(code.co_positions(), max(0, lasti) // 2, None)
    return tuple(next(found, (None, None, None, None)))


# ── what it held ─────────────────────────────────────────────────────────────────────


class _Packing:
    """Pickles values one by one, in a thread that is not waited for longer than it may take.

    Attributes:
        values: As in `Story`; what was not reached says so.
    """

    def __init__(self, found: Iterable[tuple[Any, Callable[[Any], str]]]) -> None:
        self._found = list(found)
        self._given_up = False
        self.values = [Variable("text", "<not carried: there was no time for it>")] * len(self._found)

    def run(self, within_s: float) -> bool:
        """Pickle for so long; whether the thread is held up by some value still."""
        thread = threading.Thread(target=self._pack_all, args=(self.values,), daemon=True)
        thread.start()
        thread.join(within_s)
        if not thread.is_alive():
            return False
        self._given_up = True
        self.values = list(self.values)  # what comes later is not seen
        for _ in range(_STOPS):  # what pickles may catch what stops it, and its `repr` may be as slow
            _stop(thread)
            thread.join(0.1)
            if not thread.is_alive():
                return False
        return True

    def _pack_all(self, values: list[Variable]) -> None:
        room = STORY_BYTES
        for number, (value, text) in enumerate(self._found):
            if self._given_up:
                return
            made = _packed(value, text, min(VALUE_BYTES, room))
            room -= len(made.data)
            values[number] = made


def _packed(value: Any, text: Callable[[Any], str], most_bytes: int) -> Variable:
    if isinstance(value, types.ModuleType):
        return Variable("module", value.__name__)
    try:
        if type(value) in (str, bytes, bytearray) and len(value) > most_bytes:
            raise TooLarge
        return Variable("pickle", dumps_small(value, most_bytes))
    except TooLarge:
        why = "too large" if most_bytes == VALUE_BYTES else "too much in all"
    except BaseException as error:  # noqa: BLE001 - whatever the user's object does, its text is sent
        why = type_name(error)
    told = _told(value, text, most_bytes)
    gap = "\n" if "\n" in told else " "  # a table begins on a line of its own
    return Variable("text", told if text is message_of else f"<not carried, {why}>{gap}{told}")


def _told(value: Any, text: Callable[[Any], str], most_chars: int) -> str:
    try:
        said = text(value)
        return said.encode("utf-8", "backslashreplace").decode()[: max(_LEAST_ROOM, most_chars)]
    except BaseException as error:  # noqa: BLE001 - likewise
        return f"{type_name(value)} object, whose repr raises {type_name(error)}"


def _text(value: Any) -> str:
    said = _shortener.repr(value)
    return said if len(said) <= _MOST_CHARS else f"{said[: _MOST_CHARS // 2]} … {said[-_MOST_CHARS // 2 :]}"


_shortener = reprlib.Repr()
_shortener.maxlist = _shortener.maxtuple = _shortener.maxset = _shortener.maxfrozenset = 20
_shortener.maxdict = _shortener.maxdeque = _shortener.maxarray = 20
_shortener.maxstring = 1000
_shortener.maxother = _MOST_CHARS


def _stop(thread: threading.Thread) -> None:
    """Let a thread that runs Python code leave it; one that waits in C stays."""
    ctypes.pythonapi.PyThreadState_SetAsyncExc(
        ctypes.c_ulong(thread.ident or 0), ctypes.py_object(SystemExit)
    )


def place(worker: str) -> str:
    """Names this process to people."""
    return f"{worker or os.uname().nodename}, process {os.getpid()}"
