"""What a function is, takes along and is called.

`Capture` watches all that travels with a function by value, so that a function that did not change
need not be pickled again, and one that did is never mistaken for what it was.
"""

from __future__ import annotations

import abc
import contextlib
import functools
import itertools
import operator
import os
import sys
import types
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from enum import Enum
from typing import Any, NamedTuple

from taskflow.codec.pickling import ATOMS, importable
from taskflow.errors import VersionMismatch

__all__ = [
    "GENERATED",
    "Capture",
    "Loaded",
    "captured",
    "check_header",
    "children",
    "describe",
    "globals_of",
    "header",
    "host",
    "is_here",
    "packages_in_use",
    "settle_in",
]

_MOST_LABEL_CHARS = 200
PACKAGES = ("numpy", "pandas")
"""Packages whose objects are pickled often, and by major versions differently."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A function, ready to be called.

    Args:
        fn: The function.
        retry: The `RetryPolicy` it was sent with, or `None`.
        breaker: The `CircuitBreaker`, where it does not count every exception.
        label: What a person reads.
        cwd: The directory of the client when it was sent.
    """

    fn: Callable[..., Any]
    retry: Any
    label: str
    cwd: str
    breaker: Any = None


def describe(fn: Any) -> str:
    """What a person reads: the name, without the functions around it.

    Example:
        >>> describe(functools.partial(os.path.join, "a"))
        'join'
    """
    while isinstance(fn, functools.partial):
        fn = fn.func
    if isinstance(label := getattr(type(fn), "__label__", None), property):
        return str(label.__get__(fn))[:_MOST_LABEL_CHARS]
    owner = getattr(fn, "__self__", None)
    name = getattr(fn, "__qualname__", None) or getattr(fn, "__name__", None)
    if not isinstance(name, str):
        name = type(fn).__qualname__
    elif owner is not None and not isinstance(owner, (type, types.ModuleType)) and "." not in name:
        name = f"{type(owner).__qualname__}.{name}"
    return name.rpartition("<locals>.")[2][:_MOST_LABEL_CHARS]


# ── what travels with it ─────────────────────────────────────────────────────────────


@functools.lru_cache(maxsize=1024)
def globals_of(code: types.CodeType) -> tuple[str, ...]:
    """Names of the globals that a function, or a function inside it, reads or writes."""
    import dis

    names = {
        step.argval
        for step in dis.get_instructions(code)
        if step.opname.endswith("_GLOBAL") or step.opname.endswith("_GLOBALS")
    }
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            names.update(globals_of(constant))
    return tuple(sorted(names))


def children(obj: Any) -> Iterator[tuple[str, str, Any]]:
    """What an object that travels by value takes along.

    Yields:
        How it is found (``"variable"``, ``"attribute"``, ``"item"`` or ``"argument"``), its name and itself.
    """
    if isinstance(obj, types.FunctionType):
        yield from _children_of_function(obj)
    elif isinstance(obj, types.MethodType):
        yield "variable", "self", obj.__self__
        yield "variable", describe(obj.__func__), obj.__func__
    elif isinstance(obj, functools.partial):
        yield "variable", describe(obj.func), obj.func
        yield from (("argument", str(i), value) for i, value in enumerate(obj.args))
        yield from (("argument", name, value) for name, value in obj.keywords.items())
    elif isinstance(obj, type):
        yield from (
            ("attribute", name, value) for name, value in list(vars(obj).items()) if name not in GENERATED
        )
    elif isinstance(obj, (staticmethod, classmethod)):
        yield "variable", describe(obj.__func__), obj.__func__
    elif isinstance(obj, property):
        yield from (("variable", part.__name__, part) for part in (obj.fget, obj.fset, obj.fdel) if part)
    elif isinstance(obj, Mapping):
        yield from (("item", _spell(key), value) for key, value in obj.items())
    elif isinstance(obj, (list, tuple, set, frozenset)):
        yield from (("item", str(i), value) for i, value in enumerate(obj))
    else:
        yield from (("attribute", name, value) for name, value in _attributes(obj).items())


def captured(fn: Any) -> Iterator[Any]:
    """The objects that a function captures, also through the functions and classes that travel with it."""
    seen: set[int] = set()
    todo = [fn]
    while todo:
        holder = todo.pop()
        if id(holder) in seen:
            continue
        seen.add(id(holder))
        for _, _, value in children(holder):
            if isinstance(value, _HOLDERS):
                if not importable(value):
                    todo.append(value)
            else:
                yield value


_HOLDERS = (
    types.FunctionType,
    types.MethodType,
    functools.partial,
    type,
    staticmethod,
    classmethod,
    property,
)


def _spell(key: Any) -> str:
    """A key as text, without running code of the user."""
    return repr(key)[:40] if type(key) in ATOMS else f"<{type(key).__name__}>"


def _children_of_function(fn: types.FunctionType) -> Iterator[tuple[str, str, Any]]:
    for name, cell in zip(fn.__code__.co_freevars, fn.__closure__ or (), strict=False):
        if (value := _content(cell)) is not _EMPTY:
            yield "variable", name, value
    for name in globals_of(fn.__code__):
        if name in fn.__globals__:
            yield "variable", name, fn.__globals__[name]
    names = fn.__code__.co_varnames[: fn.__code__.co_argcount]
    defaults = fn.__defaults__ or ()
    for name, value in zip(names[len(names) - len(defaults) :], defaults, strict=False):
        yield "variable", name, value
    for name, value in itertools.chain((fn.__kwdefaults__ or {}).items(), vars(fn).items()):
        yield "variable", name, value


def _attributes(obj: Any) -> dict[str, Any]:
    try:
        found = dict(vars(obj))
    except TypeError:
        found = {}
    for cls in type(obj).__mro__:
        slots = cls.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            with_default = getattr(obj, name, _EMPTY)
            if with_default is not _EMPTY and name not in ("__dict__", "__weakref__"):
                found[name] = with_default
    return found


_WRAPPERS = (functools.partial, property, staticmethod, classmethod)


class _Unstable(Exception):
    """Something mutable is captured: only pickling tells whether it changed."""


_EMPTY = object()
GENERATED = frozenset(
    "__annotations__ __dataclass_fields__ __dataclass_params__ __dict__ __weakref__ _abc_impl __doc__"  # noqa: SIM905 - names read best as words
    " __module__ __qualname__ __match_args__ __slots__ __static_attributes__ __firstlineno__"
    " __abstractmethods__".split()
)


def _content(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        return _EMPTY


class Capture:
    """All that a function takes along by value, as it was when this was made."""

    __slots__ = ("_cells", "_functions", "_seen", "_tables")

    def __init__(self) -> None:
        self._seen: set[int] = set()
        self._functions: list[tuple[Any, ...]] = []
        self._cells: list[tuple[types.CellType, Any]] = []
        self._tables: list[_Table] = []

    @classmethod
    def of(cls, *objects: Any) -> Capture | None:
        """The capture of these, or `None` when they hold something that may change unseen."""
        capture = cls()
        try:
            for obj in objects:
                capture._walk(obj)
        except (_Unstable, RecursionError):
            return None
        return capture

    def is_unchanged(self) -> bool:
        """Whether every variable still holds the very same object."""
        for fn, code, defaults, keyword_defaults, has_attributes in self._functions:
            if (
                fn.__code__ is not code
                or fn.__defaults__ is not defaults
                or fn.__kwdefaults__ is not keyword_defaults
                or bool(fn.__dict__) is not has_attributes
            ):
                return False
        for cell, value in self._cells:
            if _content(cell) is not value:
                return False
        return not self._tables or self._are_tables_unchanged()

    def _are_tables_unchanged(self) -> bool:
        try:
            for table, pick, values, absent, size in self._tables:
                if (
                    not all(map(operator.is_, pick(table), values))
                    or (absent and not table.keys().isdisjoint(absent))
                    or (size is not None and len(table) != size)
                ):
                    return False
        except KeyError:
            return False
        return True

    # Only objects that something else keeps alive may come here: `_seen` knows them by their id.
    def _walk(self, obj: Any) -> None:
        kind = type(obj)
        if kind in ATOMS or id(obj) in self._seen:
            return
        self._seen.add(id(obj))
        if kind in (tuple, frozenset):
            self._walk_all(obj)
        elif kind is types.FunctionType:
            if not importable(obj):
                self._watch_function(obj)
        elif isinstance(obj, type):
            if not importable(obj):
                self._watch_class(obj)
        elif kind in _WRAPPERS:
            self._walk_wrapper(obj)
        elif is_dataclass(kind) and vars(kind)["__dataclass_params__"].frozen and importable(kind):
            self._walk_all(getattr(obj, field.name) for field in fields(kind))
        elif hasattr(kind, "__captured__"):
            self._walk_all(obj.__captured__())
        else:
            _require(_is_fixed(obj))

    def _walk_wrapper(self, obj: Any) -> None:
        if isinstance(obj, functools.partial):
            self._walk(obj.func)
            self._walk(obj.args)
            self._watch_all_of(obj.keywords)
            _require(not vars(obj))
        elif isinstance(obj, property):
            self._walk_all((obj.fget, obj.fset, obj.fdel))
        else:
            self._walk(obj.__func__)

    def _walk_all(self, objects: Iterable[Any]) -> None:
        for obj in objects:
            self._walk(obj)

    def _watch_function(self, fn: types.FunctionType) -> None:
        self._functions.append((fn, fn.__code__, fn.__defaults__, fn.__kwdefaults__, bool(vars(fn))))
        self._watch_all_of(vars(fn))
        self._walk_all(fn.__defaults__ or ())
        self._watch_all_of(fn.__kwdefaults__ or {})
        for cell in fn.__closure__ or ():
            value = _content(cell)
            self._cells.append((cell, value))
            if value is not _EMPTY:
                self._walk(value)
        self._watch_names(fn.__globals__, globals_of(fn.__code__))

    def _watch_class(self, cls: type) -> None:
        _require(type(cls) in (type, abc.ABCMeta))
        self._walk_all(cls.__bases__)
        self._watch_all_of(cls.__dict__, skip=GENERATED)

    def _watch_names(self, table: dict[str, Any], names: Sequence[str]) -> None:
        present = [name for name in names if name in table]
        absent = frozenset(names) - frozenset(present)
        if names:
            self._watch(_Table(table, _picker(present), _picker(present)(table), absent, None))

    def _watch_all_of(self, table: Any, skip: Collection[str] = ()) -> None:
        if not table:
            return
        names = list(table)
        self._tables.append(_Table(table, _picker(names), _picker(names)(table), frozenset(), len(names)))
        made = _made_by_dataclass(table)
        self._walk_all(value for name, value in table.items() if name not in skip and name not in made)

    def _watch(self, table: _Table) -> None:
        self._tables.append(table)
        self._walk_all(table.values)


class _Table(NamedTuple):
    """Variables of a namespace: those present as they were, those absent, or the size of the whole."""

    table: Any
    pick: Callable[[Any], tuple[Any, ...]]
    values: tuple[Any, ...]
    absent: frozenset[str]
    size: int | None


def _picker(names: Sequence[str]) -> Callable[[Any], tuple[Any, ...]]:
    # One name alone would be picked without a tuple around it.
    return operator.itemgetter(*names, names[0]) if names else _nothing


def _nothing(_: Any) -> tuple[Any, ...]:
    return ()


def _require(stable: bool) -> None:
    if not stable:
        raise _Unstable


def _is_fixed(obj: Any) -> bool:
    """Whether an object of Python's own cannot change, or is pickled by its name."""
    kind = type(obj)
    if kind is types.ModuleType:
        return sys.modules.get(obj.__name__) is obj
    if kind is types.BuiltinFunctionType:
        return isinstance(obj.__self__, types.ModuleType)
    return f"{kind.__module__}.{kind.__qualname__}" in _FIXED or (isinstance(obj, Enum) and importable(kind))


_FIXED = frozenset(
    "builtins.ellipsis builtins.range builtins.member_descriptor builtins.getset_descriptor"  # noqa: SIM905
    " builtins.NotImplementedType datetime.timedelta datetime.datetime datetime.date datetime.timezone"
    " decimal.Decimal fractions.Fraction logging.Logger logging.RootLogger pathlib.PosixPath"
    " pathlib.PurePosixPath re.Pattern uuid.UUID numpy.bool numpy.float32 numpy.float64 numpy.int32"
    " numpy.int64 numpy.ufunc".split()
)


def _made_by_dataclass(table: Mapping[str, Any]) -> frozenset[str]:
    """The methods that `dataclass` wrote; their closures hold mutable things, but none of the user's."""
    if "__dataclass_params__" not in table:
        return frozenset()
    methods = {name: getattr(value, "__wrapped__", value) for name, value in table.items()}
    return frozenset(
        name
        for name, fn in methods.items()
        if isinstance(fn, types.FunctionType)
        and name.startswith("__")
        and fn.__code__.co_filename == "<string>"
    )


# ── the header ───────────────────────────────────────────────────────────────────────


def header(label: str) -> dict[str, Any]:
    """What a worker must know before it unpickles a function."""
    return {
        **_versions(),
        "packages": versions_in_use(),
        "name": label,
        "host": host(),
        "cwd": working_directory(),
        "path": _search_path(working_directory(), tuple(sys.path)),
    }


@functools.lru_cache(maxsize=1)
def host() -> str:
    """This machine, as far as its paths go: a container has others."""
    import socket

    with contextlib.suppress(OSError):
        return f"{socket.gethostname()}/{os.stat('/').st_dev:x}/{os.readlink('/proc/self/ns/mnt')}"
    return socket.gethostname()


def working_directory() -> str:
    """The current directory, or an empty text when it was removed."""
    try:
        return os.getcwd()
    except OSError:
        return ""


def is_here(cwd: str) -> bool:
    """Whether that is the current directory, as `working_directory` says it.

    `os.getcwd` lets other threads run, who then keep the interpreter for a while: asked at every call of a
    burst, it would be half of what that costs.
    """
    getcwd, path = _held_getcwd()
    return bool(getcwd(path, len(path))) and path.value == _encoded(cwd)


_encoded = functools.lru_cache(maxsize=8)(os.fsencode)


@functools.lru_cache(maxsize=1)
def _held_getcwd() -> tuple[Callable[[Any, int], int | None], Any]:
    import ctypes

    getcwd = ctypes.PyDLL(None).getcwd  # a PyDLL keeps the interpreter locked
    getcwd.restype, getcwd.argtypes = ctypes.c_void_p, (ctypes.c_char_p, ctypes.c_size_t)
    return getcwd, ctypes.create_string_buffer(4096)


@functools.lru_cache(maxsize=1)
def _versions() -> dict[str, str]:
    import cloudpickle

    return {
        "python": f"{sys.version_info.major}.{sys.version_info.minor}",
        "implementation": sys.implementation.name,
        "cloudpickle": cloudpickle.__version__,
        "taskflow": str(getattr(sys.modules.get("taskflow"), "__version__", "unknown")),
    }


@functools.lru_cache(maxsize=8)
def _search_path(cwd: str, path: tuple[str, ...]) -> tuple[list[str], list[str]]:
    """Directories the client imports from, apart from those of Python itself: before and after these."""
    import sysconfig

    places = sysconfig.get_paths()
    own = {os.path.realpath(places[name]) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    before: list[str] = []
    after: list[str] = []
    seen_own = False
    for entry in path:
        full = os.path.join(cwd, entry)
        if (
            os.path.realpath(full) in own
            or os.path.dirname(os.path.realpath(full)) in own
            or full.endswith(".zip")
        ):
            seen_own = True
        else:
            (after if seen_own else before).append(full)
    return before, after


def check_header(sent: Mapping[str, Any]) -> None:
    """Refuse a function of another Python; warn of one with other versions of `PACKAGES`.

    Raises:
        VersionMismatch: With a table of both sides.
    """
    here = _versions()
    same = all(sent.get(name) == here[name] for name in ("python", "implementation"))
    if same and _major(sent.get("cloudpickle")) == _major(here["cloudpickle"]):
        _warn_of_packages(sent)
        return
    rows = [f"  {name:<16}{sent.get(name, '?')!s:<12}{here[name]}" for name in here]
    raise VersionMismatch(
        f"The function {sent.get('name', '?')!r} was sent by another Python, so it was not opened.\n"
        f"  {'':<16}{'client':<12}here\n"
        + "\n".join(rows)
        + "\nStart client and worker with the same Python."
    )


def _warn_of_packages(sent: Mapping[str, Any]) -> None:
    """Say before anything is opened that arrays or frames may not be understood."""
    theirs = dict(sent.get("packages") or {})
    pairs = {name: (str(version), _installed(name)) for name, version in theirs.items() if name in PACKAGES}
    if all(here is None or _major(here) == _major(version) for version, here in pairs.values()):
        return
    rows = [f"  {name:<16}{version:<12}{here or 'none'}" for name, (version, here) in pairs.items()]
    warnings.warn(
        f"The function {sent.get('name', '?')!r} was sent by a client with other packages. Arrays and frames"
        f" may not be understood, there or here.\n  {'':<16}{'client':<12}here\n"
        + "\n".join(rows)
        + "\nInstall the same major versions on both sides.",
        stacklevel=2,
    )


@functools.lru_cache(maxsize=8)
def _installed(name: str) -> str | None:
    import importlib.metadata

    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        return importlib.metadata.version(name)
    return None


def packages_in_use() -> tuple[bool, ...]:
    """Which of `PACKAGES` this process has imported."""
    modules = sys.modules
    return tuple([name in modules for name in PACKAGES])


def versions_in_use() -> dict[str, str]:
    """The versions of those of `PACKAGES` that this process has imported: only their objects can be sent."""
    found = {name: getattr(sys.modules.get(name), "__version__", None) for name in PACKAGES}
    return {name: str(version) for name, version in found.items() if version is not None}


def _major(version: Any) -> str:
    return str(version).partition(".")[0]


def settle_in(sent: Mapping[str, Any]) -> None:
    """Make this process one in which the function can be loaded: on the same host, by its search path."""
    if sent.get("host") != host():
        return
    before, after = sent["path"]
    sys.path[:0] = [entry for entry in before if entry not in sys.path]
    sys.path.extend(entry for entry in after if entry not in sys.path)
