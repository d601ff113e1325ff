"""Objects to bytes and back: by cloudpickle, futures as inputs, large parts apart, buffers without a copy.

*Packed* bytes are what a blob holds::

    buffers u32 | pickle u64 | length u64 of each buffer | pickle | buffers, each aligned to 64 bytes

The first part, up to the end of the pickle, is the *head*: all that is ever interpreted. The buffers
are plain data and are handed to the unpickler where they lie.
"""

from __future__ import annotations

import copyreg
import functools
import io
import pickle
import struct
import sys
import types
import typing
import weakref
from collections.abc import Callable, Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple, TypeAlias

from taskflow.codec.sources import lasting, show, source
from taskflow.errors import CannotPickle, Untrusted
from taskflow.ids import NodeId

__all__ = [
    "ATOMS",
    "Inputs",
    "Kept",
    "Lender",
    "Lent",
    "Packed",
    "Position",
    "Reference",
    "Snapshot",
    "TooLarge",
    "dumps",
    "dumps_small",
    "importable",
    "load",
    "no_inputs",
    "pack",
    "unpack",
]

ATOMS = frozenset({int, float, str, bytes, bool, complex, type(None)})
"""Types that plain pickle treats as cloudpickle does, and that cannot change."""

SOURCE_CHARS = 8 * 1024
"""The longest cell whose text travels with arguments, items and results; these are stored many times."""

_ALIGN = 64
_LEAST_BUFFER_BYTES = 4096
_LEAST_ROW_BYTES = 64 * 1024
_COUNTS = struct.Struct("<IQ")
_NOTHING = memoryview(b"")

Position: TypeAlias = "Callable[[Reference], int]"
Inputs: TypeAlias = Callable[[int, int | None], Any]
Lender: TypeAlias = "Callable[[memoryview], Lent | None]"


class Reference:
    """Stands for the value of a node, or of one item of it; a future and a node of a workflow are ones.

    As an argument it becomes an input of the call, wherever it is inside the argument.
    """

    __slots__ = ()

    node_id: NodeId
    index: int | None

    def is_needed(self) -> None:
        """Told when something is to wait for it; nothing by default."""


class Kept:
    """Stands for an object that is stored already; among arguments and items it travels as its name.

    Attributes:
        blob: Where it is, as `taskflow.codec.Codec.keep` said.
    """

    __slots__ = ()

    blob: Any


class Snapshot:
    """A pickled object that is loaded as itself, wherever it is inside another."""

    __slots__ = ("data",)

    def __init__(self, data: bytes) -> None:
        self.data = data

    def __reduce__(self) -> Any:
        return pickle.loads, (self.data,)


class Rows(NamedTuple):
    """The buffer of an array whose rows lie apart, as those of a slice of a DataFrame do: in pieces, so that
    nothing is copied before it is written."""

    parts: list[memoryview]

    @property
    def nbytes(self) -> int:
        """Bytes of all of them."""
        return sum(part.nbytes for part in self.parts)


class Lent(NamedTuple):
    """A buffer whose bytes are in a blob, from `at` on; `raw` is where they were mapped."""

    blob: Any
    at: int
    raw: memoryview


class Packed(NamedTuple):
    """A pickled object: `linked` when it names inputs or shared parts, and needs them to be loaded.

    Where a buffer is `lent`, by its number, `buffers` has nothing.
    """

    pickle: bytes
    buffers: list[memoryview | Rows]
    linked: bool
    lent: Mapping[int, Lent] = MappingProxyType({})

    @property
    def size(self) -> int:
        """Bytes it takes, roughly."""
        return len(self.pickle) + sum(buffer.nbytes for buffer in self.buffers)

    @property
    def lent_bytes(self) -> int:
        """Bytes that it needs of others."""
        return sum(loan.raw.nbytes for loan in self.lent.values())

    def without(self, numbers: Collection[int]) -> Packed:
        """The same, where these buffers are no more lent."""
        buffers = [self.lent[at].raw if at in numbers else each for at, each in enumerate(self.buffers)]
        left = {number: loan for number, loan in self.lent.items() if number not in numbers}
        return self._replace(buffers=buffers, lent=left)

    def head(self) -> bytes:
        """What comes before the buffers."""
        lengths = [buffer.nbytes for buffer in self.buffers]
        counts = _COUNTS.pack(len(lengths), len(self.pickle)) + struct.pack(f"<{len(lengths)}Q", *lengths)
        return counts + self.pickle

    def parts(self) -> list[bytes | memoryview]:
        """The packed bytes, in pieces."""
        parts: list[bytes | memoryview] = [self.head()]
        at = len(parts[0])
        for buffer in self.buffers:
            gap = -at % _ALIGN
            parts += [bytes(gap), *(buffer.parts if isinstance(buffer, Rows) else (buffer,))]
            at += gap + buffer.nbytes
        return parts


def pack(
    obj: Any,
    position: Position | None = None,
    *,
    shared: Mapping[int, int] | None = None,
    source_chars: int = SOURCE_CHARS,
    kept: list[Any] | None = None,
    lender: Lender | None = None,
) -> Packed:
    """Pickle an object; functions and classes of ``__main__`` travel by value.

    Args:
        obj: Anything.
        position: Gives each `Reference` its place among the inputs; without it none may occur.
        shared: Objects, by `id`, that are kept elsewhere, and the number of each.
        source_chars: Code that travels by value takes along the text of a cell of at most this length.
        kept: Takes the blob of each `Kept`, numbered behind `shared`; without it none may occur.
        lender: Says of a buffer in which blob it is, if it is in one.

    Raises:
        Exception: Whatever the object raises when it is pickled; `CannotPickle` for a stray `Reference`.
    """
    buffers: list[memoryview | Rows] = []
    apart: dict[int, tuple[pickle.PickleBuffer, Rows]] = {}
    lent: dict[int, Lent] = {}

    def aside(buffer: pickle.PickleBuffer) -> bool:
        if id(buffer) in apart:
            buffers.append(apart[id(buffer)][1])
            return False
        raw = buffer.raw()
        if raw.nbytes < _LEAST_BUFFER_BYTES:
            return True
        loan = lender(raw) if lender is not None else None
        if loan is not None:
            lent[len(buffers)] = loan
        buffers.append(raw if loan is None else _NOTHING)
        return False

    file = io.BytesIO()
    pickler = _pickler(_SharingRules if shared else _Rules)(file, protocol=5, buffer_callback=aside)
    pickler.position, pickler.shared = position, shared
    pickler.kept, pickler.first_kept = kept, len(shared or ())
    pickler.source_chars = source_chars
    pickler.apart = apart
    pickler.dump(obj)
    return Packed(file.getvalue(), buffers, pickler.linked, lent)


def dumps(obj: Any) -> bytes:
    """Pickle an object by the same rules into one piece, for plain `pickle.loads`.

    Raises:
        Exception: As `pack`.
    """
    file = io.BytesIO()
    _pickler(_Rules)(file, protocol=5).dump(obj)
    return file.getvalue()


class TooLarge(Exception):
    """The object takes more bytes than it may."""


def dumps_small(obj: Any, most_bytes: int) -> bytes:
    """As `dumps`, for an object that may be far too large: of that no copy is made.

    Raises:
        TooLarge: It takes more than `most_bytes`.
        Exception: As `pack`.
    """

    def within(buffer: pickle.PickleBuffer) -> bool:
        if buffer.raw().nbytes > most_bytes:
            raise TooLarge
        return True

    file = _Small(most_bytes)
    pickler = _pickler(_SmallRules)(file, protocol=5, buffer_callback=within)
    pickler.most_bytes = most_bytes
    pickler.dump(obj)
    return file.getvalue()


def unpack(
    data: memoryview,
    head: bytes,
    inputs: Inputs | None = None,
    shared: Callable[[int], Any] | None = None,
    lent: Mapping[int, memoryview] = MappingProxyType({}),
) -> Any:
    """Load packed bytes.

    Args:
        data: All of them; arrays keep views into it.
        head: A private copy of their first part, which was verified.
        inputs: Gives the value of each input.
        shared: Gives each object that is kept elsewhere.
        lent: The buffers that are kept elsewhere, by number.
    """
    try:
        count, length = _COUNTS.unpack_from(head)
        sizes = struct.unpack_from(f"<{count}Q", head, _COUNTS.size)
    except struct.error:
        raise Untrusted("This payload is damaged. It was not opened.") from None
    start = _COUNTS.size + 8 * count
    at = start + length
    buffers = []
    for number, size in enumerate(sizes):
        at += -at % _ALIGN
        buffers.append(lent[number] if number in lent else data[at : at + size])
        at += size
    return load(memoryview(head)[start : start + length], buffers, inputs, shared)


def load(
    data: bytes | memoryview,
    buffers: Sequence[memoryview | bytearray] = (),
    inputs: Inputs | None = None,
    shared: Callable[[int], Any] | None = None,
) -> Any:
    """Unpickle, asking for inputs and shared objects where they occur."""
    if inputs is None and shared is None:
        return pickle.loads(data, buffers=buffers)
    return _Unpickler(data, buffers, inputs, shared).load()


class _Unpickler(pickle.Unpickler):
    def __init__(
        self,
        data: bytes | memoryview,
        buffers: Sequence[memoryview | bytearray],
        inputs: Inputs | None,
        shared: Callable[[int], Any] | None,
    ) -> None:
        super().__init__(io.BytesIO(data), buffers=buffers)
        self._inputs = inputs
        self._shared = shared

    def find_class(self, module: str, name: str) -> Any:
        if name == "no_inputs" and module == __name__:
            return self._inputs or no_inputs
        if name == "_kept" and module == __name__:
            return self.persistent_load
        return super().find_class(module, name)

    def persistent_load(self, number: Any) -> Any:
        if self._shared is None:
            raise pickle.UnpicklingError("no shared objects here")
        return self._shared(number)


def no_inputs(position: int, index: int | None) -> Any:
    """Takes the place of a `Reference`; `_Unpickler` puts the source of inputs here."""
    raise pickle.UnpicklingError("no inputs here")


def _kept(number: int) -> Any:
    """Takes the place of a `Kept`; `_Unpickler` puts the source of shared objects here."""
    raise pickle.UnpicklingError("no stored objects here")


# ── the picklers ─────────────────────────────────────────────────────────────────────


class _Rules:
    """What is added to cloudpickle's pickler."""

    position: Position | None = None
    shared: Mapping[int, int]
    kept: list[Any] | None = None
    first_kept = 0
    linked = False
    source_chars = SOURCE_CHARS
    apart: dict[int, tuple[pickle.PickleBuffer, Rows]] | None = None
    origins: dict[str, tuple[str, str | None]]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.origins = {}

    # A Reference is found here and not by `persistent_id`, which would be called for each int of a list.
    def reducer_override(self, obj: Any) -> Any:
        # By type: the `__class__` of a proxy may be another's, or raise.
        kind = type(obj)
        if issubclass(kind, Reference):
            return self._refer(obj)
        if issubclass(kind, Kept):
            return self._name(obj)
        reduced = _reduce_special(kind, obj)
        if reduced is NotImplemented and _is_taken_over(kind):
            reduced = obj.__reduce_ex__(5)
        if kind.__module__ in _HAVE_ROWS and self.apart is not None:
            reduced = self._reduce_rows(obj)
        if reduced is NotImplemented:
            reduced = super().reducer_override(obj)  # type: ignore[misc]
        if kind is _CODE:
            return self._reduce_code(obj, reduced)
        if isinstance(reduced, tuple) and issubclass(kind, type):
            return _keep_originals(obj, reduced)
        return reduced

    def _reduce_rows(self, obj: Any) -> Any:
        """As numpy and pandas do it, but for the copy of an array whose rows lie apart."""
        if _has_rows(getattr(obj, "values", None)):
            return obj.__reduce__()  # from protocol 5 on, `__reduce_ex__` of a block makes a copy
        if not _has_rows(obj) or self.apart is None:
            return NotImplemented
        rows = Rows([memoryview(row).cast("B") for row in obj])
        first = pickle.PickleBuffer(rows.parts[0])  # it stands for all of them until `pack` has it
        self.apart[id(first)] = first, rows
        return _array, (first, obj.dtype, obj.shape)

    def _reduce_code(self, code: types.CodeType, reduced: Any) -> Any:
        """Keep the name of the file, which cloudpickle leaves out from 3.1.3 on."""
        if reduced is NotImplemented:
            reduced = self.dispatch_table[_CODE](code)  # type: ignore[attr-defined]
        make, args = reduced
        name, text = self._origin(code)
        return _code, (make, tuple(name if arg is code.co_filename else arg for arg in args), name, text)

    def _origin(self, code: types.CodeType) -> tuple[str, str | None]:
        """The name of the file, and its text when it is in no file."""
        name = code.co_filename
        origin = self.origins.get(name)
        if origin is None:
            text = source(code)
            short = text if text and len(text) <= self.source_chars else None
            # A copy of the name, so that the bytes do not tell which texts are one object in this process.
            origin = self.origins[name] = "".join(lasting(name)), short
        return origin

    def _refer(self, reference: Reference) -> Any:
        if self.position is None:
            raise CannotPickle(
                "A future cannot be sent inside something else: pass it as an argument, and the task is given"
                " its value.",
                culprit="",
            )
        self.linked = True
        return no_inputs, (self.position(reference), reference.index)

    def _name(self, obj: Kept) -> Any:
        if self.kept is None:
            raise CannotPickle(
                "A Ref cannot be sent inside a function: pass it as an argument, and the task is given the"
                " object.",
                culprit="",
            )
        self.linked = True
        if obj.blob not in self.kept:
            self.kept.append(obj.blob)
        return _kept, (self.first_kept + self.kept.index(obj.blob),)


def _is_taken_over(kind: type) -> bool:
    """Whether this process pickles exceptions of a kind as tblib wants it: with their tracebacks, and without
    what their constructors keep. Libraries turn that on for everybody, Dask's `distributed` among them.
    """
    if kind not in copyreg.dispatch_table or not issubclass(kind, BaseException):
        return False
    return getattr(copyreg.dispatch_table[kind], "__module__", "").partition(".")[0] == "tblib"


class _SharingRules(_Rules):
    def persistent_id(self, obj: Any) -> int | None:
        number = self.shared.get(id(obj))
        if number is not None:
            self.linked = True
        return number


class _SmallRules(_Rules):
    most_bytes = 0

    def reducer_override(self, obj: Any) -> Any:
        if type(obj).__module__.partition(".")[0] in _HAVE_BYTES:
            size = getattr(obj, "nbytes", 0)
            if isinstance(size, int) and size > self.most_bytes:
                raise TooLarge
        return super().reducer_override(obj)


_HAVE_BYTES = frozenset({"numpy", "pandas"})


class _Small(io.BytesIO):
    """Takes no more than so many bytes."""

    def __init__(self, most_bytes: int) -> None:
        super().__init__()
        self._left = most_bytes

    def write(self, data: Any, /) -> int:
        self._left -= len(data)
        if self._left < 0:
            raise TooLarge
        return super().write(data)


@functools.lru_cache(maxsize=3)
def _pickler(rules: type[_Rules]) -> Any:
    """The class, made on first use: cloudpickle takes long to import."""
    import cloudpickle

    return type("Pickler", (rules, cloudpickle.Pickler), {})


def _code(make: Callable[..., types.CodeType], args: tuple[Any, ...], name: str, text: str | None) -> Any:
    return make(*args).replace(co_filename=name if text is None else show(name, text))


_HAVE_ROWS = frozenset({"numpy", "pandas.core.internals.blocks"})


def _has_rows(obj: Any) -> bool:
    """Whether an object is an array in large rows that do not follow one another."""
    kind = type(obj)
    return bool(
        kind.__module__ == "numpy"
        and kind.__name__ == "ndarray"
        and obj.ndim == 2
        and obj.strides[1] == obj.itemsize
        and obj.shape[1] * obj.itemsize >= _LEAST_ROW_BYTES
        and not obj.flags.c_contiguous
        and not obj.dtype.hasobject
        and obj.dtype.kind in "biufc"
    )


def _array(buffer: memoryview, dtype: Any, shape: tuple[int, ...]) -> Any:
    import numpy as np

    return np.frombuffer(buffer, dtype).reshape(shape)


_CODE = types.CodeType
_FUNCTION = types.FunctionType
_CACHED = type(functools.lru_cache(lambda: None))


def importable(obj: Any) -> bool:
    """Whether a function or class is pickled by its name, as cloudpickle decides it."""
    module = getattr(obj, "__module__", None)
    if not isinstance(module, str) or module == "__main__" or _is_by_value(module):
        return False
    found: Any = sys.modules.get(module)
    for name in getattr(obj, "__qualname__", "<unnamed>").split("."):
        found = getattr(found, name, None)
    return found is obj


def _is_by_value(module: str) -> bool:
    cloudpickle = sys.modules.get("cloudpickle")
    chosen = cloudpickle.list_registry_pickle_by_value() if cloudpickle else ()
    return any(module == name or module.startswith(name + ".") for name in chosen)


def _reduce_special(kind: type, obj: Any) -> Any:
    """Objects that would be pickled, and then could not be unpickled."""
    if issubclass(kind, BaseException):
        return _reduce_exception(obj)
    if kind is _CACHED and not importable(obj):
        return _cache_again, (obj.__wrapped__, obj.cache_parameters())
    if issubclass(kind, typing.NewType) and not importable(obj):
        return typing.NewType, (obj.__name__, obj.__supertype__)
    return NotImplemented


def _reduce_exception(error: BaseException) -> Any:
    """Leave the constructor out: many a class wants other arguments than it hands on to `Exception`."""
    kind = type(error)
    usual = kind.__reduce__ is BaseException.__reduce__ and kind.__reduce_ex__ is object.__reduce_ex__
    constructor: Any = kind.__init__
    if usual and isinstance(constructor, _FUNCTION):
        return _revive, (kind, error.args), dict(error.__dict__)
    return NotImplemented


def _revive(kind: type[BaseException], args: tuple[Any, ...]) -> BaseException:
    error = kind.__new__(kind, *args)
    # The built-in class beneath may keep things outside of the dictionary: StopIteration its value.
    built_in = (base.__dict__["__init__"] for base in kind.__mro__ if "__init__" in base.__dict__)
    next(init for init in built_in if not isinstance(init, _FUNCTION))(error, *args)
    return error


def _cache_again(fn: Callable[..., Any], parameters: Mapping[str, Any]) -> Any:
    return functools.lru_cache(**parameters)(fn)


# ── classes that travel by value ─────────────────────────────────────────────────────

_originals: weakref.WeakSet[type] = weakref.WeakSet()
_copies: weakref.WeakSet[type] = weakref.WeakSet()


def _keep_originals(cls: type, reduced: tuple[Any, ...]) -> tuple[Any, ...]:
    """Let a class that comes home keep its own attributes.

    cloudpickle knows the class again, and then sets all of its attributes anew: the methods of a class in the
    user's session would be exchanged for copies that no longer see the session's globals.
    """
    if len(reduced) != 6:
        return reduced
    if cls not in _copies:
        _originals.add(cls)
    return (*reduced[:5], _fill_class)


def _fill_class(cls: type, state: Any) -> None:
    from cloudpickle import cloudpickle

    if cls not in _originals:
        _copies.add(cls)
        cloudpickle._class_setstate(cls, state)
