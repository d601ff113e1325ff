"""What a function does, as a digest: the same in every process, until something changes that it depends on.

The digest of a pickled function is not that: the file name of a cell holds the process of its kernel, and
below an edit every line has another number. Here counts what runs::

    code, constants, names, defaults  ──┐
    closure, globals that it reads  ────┼──► by value: data by content, functions and classes in their turn
    the same of functions inside it  ───┘
    what is installed  ─────────────────────► by module, name and version of the package

Python's minor version counts too, for it is Python that makes the code.
"""

from __future__ import annotations
import __future__

import copyreg
import functools
import hashlib
import types
from collections.abc import Callable, Iterable
from pathlib import PurePath
from typing import Any, Final

from taskflow.codec.functions import GENERATED, describe, globals_of
from taskflow.codec.installed import PYTHON, is_installed, version_of
from taskflow.codec.instructions import steps_of
from taskflow.codec.pickling import Kept, Reference, importable
from taskflow.errors import UsageError

__all__ = ["NO_VALUE", "digest", "fingerprint"]

NO_VALUE: Final = (
    "A future among the arguments has no value yet, and memo compares values: take its result(), or make a"
    " workflow of it."
)

_BYTES: Final = 20
_MOST_SHOWN: Final = 6
_FUTURE_ANNOTATIONS: Final = __future__.annotations.compiler_flag


def fingerprint(fn: Callable[..., Any], *, by_name: bool = False) -> str:
    """A digest of what a function does: of its code and of all that it takes along, in whatever process.

    Blank lines, comments, annotations and the place of the file are no part of it; a docstring is. Functions
    of installed packages, and of Python itself, count by module, name and version of the package; those of
    other modules by what they do. What a function imports in its body counts by its name only.

    An object of a class with a method ``__fingerprint__`` counts as what that gives.

    Args:
        fn: A function, method, partial or object that can be called.
        by_name: Functions and classes count by module and name, so that an edited one has the fingerprint
            that it had before; what was given to them counts (a partial's arguments, a closure, a method's
            object).

    Raises:
        UsageError: Something that it takes along has no such digest; the message names it, and the cure.

    Example:
        >>> fingerprint(lambda x: x + 1) == fingerprint(lambda x: (x + 1))  # a comment
        True
        >>> fingerprint(lambda x: x + 1) == fingerprint(lambda x: x + 2)
        False
    """
    reader = _Reader(by_name=by_name)
    reader.explained(f"The function {describe(fn)!r}", fn)
    return reader.digest()


def digest(obj: Any, *, kept: Callable[[Any], Any] | None = None) -> str:
    """A digest of a value: equal values of the same types have the same in every process.

    Text, numbers, containers, arrays and frames count by content, a dict by its order too; other objects by
    their class and what `pickle` would rebuild them from.

    Args:
        obj: Anything that can be pickled.
        kept: Gives the object that a `Ref` stands for.

    Raises:
        UsageError: It has no such digest; the message names the part.

    Example:
        >>> digest({"a": [1, 2.0, {3, 4}]})
        'd22c38ff8af5e085f4e7812a0f7324991479e547'
    """
    reader = _Reader(kept=kept)
    reader.explained(f"This {type(obj).__name__}", obj)
    return reader.digest()


class _Reader:
    """Reads an object and what it holds, in an order that depends on nothing but these.

    Functions, classes and modules that were met before are known by their number, so that those which call
    each other end. Data is read as often as it occurs, unless it is inside itself: whether equal parts are
    one object makes no difference.
    """

    def __init__(self, *, by_name: bool = False, kept: Callable[[Any], Any] | None = None) -> None:
        self._hash = hashlib.blake2b(digest_size=_BYTES)
        self._by_name = by_name
        self._kept = kept
        self._met: dict[object, tuple[int, Any]] = {}
        self._open: dict[int, int] = {}
        self._path: list[str] = []

    def digest(self) -> str:
        """Of all that was read."""
        return self._hash.hexdigest()

    def explained(self, what: str, obj: Any) -> None:
        """Read an object; what has no digest is told by where it is."""
        try:
            self.read(obj)
        except UsageError:
            raise
        except Exception as error:
            where = f", for {' → '.join(self._path[-_MOST_SHOWN:])}" if self._path else ""
            reason = "it is too deep" if isinstance(error, RecursionError) else str(error)
            raise UsageError(
                f"{what} has no digest that is the same in every process{where}:"
                f" {reason or type(error).__name__:.200}. Make it inside the function, give its class a"
                " method __fingerprint__ that returns what it stands for, or do without memo."
            ) from error

    def read(self, obj: Any) -> None:
        """Read one object."""
        kind = type(obj)
        known = _READERS.get(kind)
        if known is not None:
            known(self, obj)
        elif isinstance(obj, type):
            self._class(obj)
        else:
            self._other(kind, obj)

    def _put(self, *texts: str | bytes) -> None:
        for text in texts:
            raw = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
            self._hash.update(b"%d:" % len(raw))
            self._hash.update(raw)

    def _at(self, name: str, obj: Any) -> None:
        """Read what has a name in what is being read."""
        self._put(name)
        self._path.append(name)
        self.read(obj)
        self._path.pop()

    def _is_new(self, obj: Any, key: object = None) -> bool:
        """Whether a function, class or module is met for the first time; else its number is put."""
        key = id(obj) if key is None else key
        known = self._met.get(key)
        if known is not None:
            self._put("again", str(known[0]))
            return False
        self._met[key] = len(self._met), obj  # it is kept, so that no other has its id
        return True

    def _within(self, obj: Any, parts: Iterable[Any]) -> None:
        """Read the parts of an object, or say how far above it stands where it is a part of itself."""
        above = self._open.get(id(obj))
        if above is not None:
            self._put("above", str(above))
            return
        self._open[id(obj)] = len(self._open)
        for part in parts:
            self.read(part)
        del self._open[id(obj)]

    # ── data ─────────────────────────────────────────────────────────────────────────

    def _flat(self, obj: Any) -> None:
        self._put(type(obj).__name__, repr(obj))

    def _text(self, obj: Any) -> None:
        self._put(type(obj).__name__, obj)

    def _sequence(self, obj: Any) -> None:
        self._put(type(obj).__name__, str(len(obj)))
        self._within(obj, obj)

    def _mapping(self, obj: Any) -> None:
        self._put(type(obj).__name__, str(len(obj)))
        self._within(obj, (part for pair in obj.items() for part in pair))

    def _set(self, obj: Any) -> None:
        """In the order of the digests of its parts: its own depends on the process."""
        self._put(type(obj).__name__, *sorted(self._apart(part) for part in obj))

    def _apart(self, obj: Any) -> str:
        reader = _Reader(by_name=self._by_name, kept=self._kept)
        reader.read(obj)
        return reader.digest()

    def _other(self, kind: type, obj: Any) -> None:
        if issubclass(kind, Reference):
            raise UsageError(NO_VALUE)
        if issubclass(kind, Kept) and self._kept is not None:
            self.read(self._kept(obj))
        elif hasattr(kind, "__fingerprint__"):
            self._put("stands for", kind.__module__, kind.__qualname__)
            self.read(obj.__fingerprint__())
        elif issubclass(kind, PurePath):
            self._put("path", kind.__name__, str(obj))  # equal paths may be rebuilt from other pieces
        elif kind.__module__ == "numpy" and kind.__name__ == "ndarray":
            self._array(obj)
        elif kind.__module__.startswith("pandas.") and hasattr(kind, "memory_usage"):
            self._frame(kind, obj)
        else:
            self._rebuilt(kind, obj)

    def _array(self, obj: Any) -> None:
        self._put("array", obj.dtype.str, str(obj.dtype), repr(obj.shape))
        if obj.dtype.hasobject:
            self._within(obj, obj.ravel().tolist())
        elif obj.size:
            self._hash.update(obj.reshape(-1).view("u1"))

    def _frame(self, kind: type, obj: Any) -> None:
        """A DataFrame, Series or Index: of equal ones pickle may make other bytes."""
        from pandas.util import hash_pandas_object

        try:
            rows = hash_pandas_object(obj)
        except TypeError:  # it holds lists, or the like
            self._rebuilt(kind, obj)
            return
        self._put("frame", kind.__name__)
        index = getattr(obj, "index", obj)
        columns = getattr(obj, "columns", None)
        told = [list(index.names), str(index.dtype), getattr(obj, "name", None)]
        if columns is None:
            told.append(str(obj.dtype))
        else:
            told += [list(columns), list(columns.names), list(map(str, obj.dtypes))]
        self._within(obj, told)
        self._array(rows.to_numpy())

    def _rebuilt(self, kind: type, obj: Any) -> None:
        """By what `pickle` would rebuild it from."""
        known = copyreg.dispatch_table.get(kind)
        parts: Any = known(obj) if known is not None else obj.__reduce_ex__(4)
        if isinstance(parts, str):
            self._put("global", kind.__module__, parts)
            return
        self.read(kind)
        made, state, items, pairs = parts[:2], *(*parts[2:5], None, None, None)[:3]
        if isinstance(state, dict) and all(type(name) is str for name in state):
            state = dict(sorted(state.items()))  # the order tells only when attributes were set
        self._within(obj, [*made, state, list(items or ()), list(pairs or ())])

    # ── code ─────────────────────────────────────────────────────────────────────────

    def _is_installed(self, what: str, obj: Any) -> bool:
        """Whether a function or class is installed, and can be imported; its name is put where it is."""
        if not is_installed(obj.__module__) or not importable(obj):
            return False
        self._put(what, obj.__module__, obj.__qualname__, version_of(obj.__module__))
        return True

    def _function(self, fn: types.FunctionType) -> None:
        if self._is_installed("function", fn) or not self._is_new(fn):
            return
        self._put("function", fn.__qualname__)
        if self._by_name:
            self._put(str(fn.__module__))
        else:
            self._put(PYTHON)
            self._code(fn.__code__)
            self._globals(fn)
            self._at("defaults", fn.__defaults__)
            self._at("keyword defaults", fn.__kwdefaults__)
            for name, value in sorted(vars(fn).items()):
                self._at(name, value)
        self._closure(fn)

    def _closure(self, fn: types.FunctionType) -> None:
        for name, cell in zip(fn.__code__.co_freevars, fn.__closure__ or (), strict=True):
            try:
                value = cell.cell_contents
            except ValueError:
                self._put("unset", name)
            else:
                self._at(name, value)

    def _code(self, code: types.CodeType) -> None:
        """Without file, line numbers and positions."""
        flags = code.co_flags & ~_FUTURE_ANNOTATIONS
        counts = flags, code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount
        names = code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars
        self._put(steps_of(code), code.co_name, repr((counts, names)))
        self._sequence(code.co_consts)

    def _globals(self, fn: types.FunctionType) -> None:
        travels = not importable(fn)
        for name in globals_of(fn.__code__):
            value = fn.__globals__.get(name, _ABSENT)
            if value is _ABSENT:
                self._put("absent", name)
            elif isinstance(value, types.ModuleType):
                self._put(name)
                self._module(value, _names_in(fn.__code__))
            elif travels or isinstance(value, (types.FunctionType, type)):
                self._at(name, value)
            else:
                self._variable(name, value)

    def _variable(self, name: str, value: Any) -> None:
        """A variable of a module that workers import: what cannot travel need not."""
        self._put(name)
        try:
            self._put(self._apart(value))
        except Exception:  # noqa: BLE001 - whatever it is, each process makes its own
            self._put("its own", type(value).__module__, type(value).__qualname__)

    def _module(self, module: types.ModuleType, names: tuple[str, ...] = ()) -> None:
        """An installed module by its name; of another what has one of these names, for it may be used."""
        self._put("module", module.__name__)
        if is_installed(module.__name__):
            self._put(version_of(module.__name__))
        elif not self._by_name and self._is_new(module, (id(module), names)):
            for name in names:
                found = vars(module).get(name, _ABSENT)
                if isinstance(found, types.ModuleType):
                    self._module(found, names)
                elif isinstance(found, (types.FunctionType, type)):
                    self._at(name, found)
                elif found is not _ABSENT:
                    self._variable(name, found)

    def _class(self, cls: type) -> None:
        if self._is_installed("class", cls) or not self._is_new(cls):
            return
        self._put("class", cls.__qualname__)
        if self._by_name:
            self._put(str(cls.__module__))
            return
        self.read(type(cls))
        self._sequence(cls.__bases__)
        for name, value in sorted(vars(cls).items()):
            if name not in GENERATED:
                self._at(name, value)

    def _method(self, method: types.MethodType) -> None:
        self._put("method")
        self._at("self", method.__self__)
        self._at(describe(method.__func__), method.__func__)

    def _builtin(self, fn: Any) -> None:
        self._put("built in", fn.__qualname__)
        owner = fn.__self__
        if isinstance(owner, types.ModuleType):
            self._put(owner.__name__, version_of(owner.__name__))
        else:
            self._at("self", owner)

    def _descriptor(self, obj: Any) -> None:
        owner = obj.__objclass__
        self._put(type(obj).__name__, owner.__module__, owner.__qualname__, obj.__name__)

    def _partial(self, obj: Any) -> None:
        self._put("partial")
        self._at(describe(obj.func), obj.func)
        self._at("arguments", obj.args)
        self._at("keywords", obj.keywords)
        self._at("attributes", vars(obj))

    def _wrapper(self, obj: Any) -> None:
        self._put(type(obj).__name__)
        self.read(obj.__func__)

    def _property(self, obj: Any) -> None:
        self._put("property")
        self._within(obj, (obj.fget, obj.fset, obj.fdel))

    def _cached_property(self, obj: Any) -> None:
        self._put("cached property")
        self.read(obj.func)

    def _cached(self, obj: Any) -> None:
        self._put("cached")
        self._at(describe(obj), obj.__wrapped__)
        self.read(obj.cache_parameters())


_ABSENT: Final = object()
_DESCRIPTORS = (
    types.WrapperDescriptorType, types.MethodDescriptorType, types.ClassMethodDescriptorType,
    types.GetSetDescriptorType, types.MemberDescriptorType,
)  # fmt: skip
_FLAT = (type(None), bool, int, float, complex, type(...), type(NotImplemented))
_READERS: Final[dict[type, Callable[[_Reader, Any], None]]] = {
    **dict.fromkeys(_FLAT, _Reader._flat),
    **dict.fromkeys((str, bytes, bytearray), _Reader._text),
    **dict.fromkeys((list, tuple), _Reader._sequence),
    **dict.fromkeys((dict, types.MappingProxyType), _Reader._mapping),
    **dict.fromkeys((set, frozenset), _Reader._set),
    **dict.fromkeys((staticmethod, classmethod), _Reader._wrapper),
    **dict.fromkeys(_DESCRIPTORS, _Reader._descriptor),
    types.FunctionType: _Reader._function,
    types.CodeType: _Reader._code,
    types.ModuleType: _Reader._module,
    types.MethodType: _Reader._method,
    types.BuiltinFunctionType: _Reader._builtin,
    functools.partial: _Reader._partial,
    property: _Reader._property,
    functools.cached_property: _Reader._cached_property,
    type(functools.lru_cache(lambda: None)): _Reader._cached,
}


@functools.lru_cache(maxsize=1024)
def _names_in(code: types.CodeType) -> tuple[str, ...]:
    """All names of globals and attributes in a function, and in the functions inside it."""
    found = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            found.update(_names_in(constant))
    return tuple(sorted(found))
