"""Objects that are stored on their own, as blobs named by their content; and what names them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

from taskflow.codec.lending import Mappings, worthwhile
from taskflow.codec.pickling import Inputs, Packed, Position, pack, unpack
from taskflow.codec.plain import SMALL
from taskflow.codec.recent import keep
from taskflow.errors import CannotPickle, ResultExpired, Untrusted

__all__ = ["SHARE_FROM", "Blob", "Blobs", "Objects", "opened"]

SHARE_FROM = 1 << 20
"""Bytes from which an object that a function captured is stored on its own."""

_KEPT_OBJECTS = 16


class Blobs(Protocol):
    """The part of `taskflow.ports.Blobs` that is needed here, one floor below it."""

    @property
    def guarded(self) -> bool:
        """Whether nobody but the user can have written them."""
        ...

    def put(self, name: str, parts: Sequence[bytes | memoryview], /) -> None:
        """Keep the parts, one behind the other, under a name."""
        ...

    def open(self, name: str, /) -> memoryview:
        """The bytes."""
        ...

    def has(self, name: str, /) -> bool:
        """Whether the name is there."""
        ...

    def drop(self, name: str, /) -> None:
        """Forget a copy of this host."""
        ...


class Blob(NamedTuple):
    """A blob as a payload names it: `head` bytes of it are interpreted. `digest` is theirs where nobody else
    can write to the blobs, else that of the whole."""

    name: str
    size: int
    head: int
    digest: str


class Objects:
    """Stores objects and loads them again.

    Args:
        blobs: Where they are kept.
    """

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs
        self._kept_of: dict[int, tuple[str, memoryview]] = {}
        self._mappings = Mappings()

    def pack(self, obj: Any, position: Position | None = None, **how: Any) -> Packed:
        """As `pickling.pack`; what is there already, in a blob that is mapped here, is named and not held."""
        packed = pack(obj, position, lender=self._mappings.find, **how)
        if not packed.lent:
            return packed
        packed = worthwhile(packed)
        there = {
            blob.name: self._blobs.has(blob.name) for blob in {loan.blob for loan in packed.lent.values()}
        }
        return packed.without({at for at, loan in packed.lent.items() if not there[loan.blob.name]})

    def put(self, packed: Packed, name: str | None = None, of: object = None) -> Blob:
        """Store packed bytes, by their digest when no name is given.

        Args:
            packed: The bytes.
            name: What to call them.
            of: The object that they are made of: it is often stored again, and has rarely changed. To compare
                it with what was stored is five times as fast as to make a digest of it.
        """
        parts = packed.parts()
        known = self._kept_of.get(id(of)) if of is not None else None
        if known is not None and not _is_same(known[1], parts):
            known = None
        told = ""
        if name is None:
            name = told = _digest(parts) if known is None else known[0]
        self._blobs.put(name, parts)
        if of is not None and packed.size >= SHARE_FROM:
            with suppress(ResultExpired):  # it was only weighed
                keep(self._kept_of, id(of), known or (name, self._blobs.open(name)), _KEPT_OBJECTS)
        if self._blobs.guarded or not told:
            told = _digest(parts[:1] if self._blobs.guarded else parts)
        return Blob(name, sum(len(part) for part in parts), len(parts[0]), told)

    def share(self, objects: Iterable[Any], size: int) -> dict[int, Blob]:
        """Store those of the objects that take more than `size` bytes on their own, by content.

        Returns:
            By the `id` of each object where it is.
        """
        large: dict[int, tuple[Any, Packed]] = {}
        for obj in objects:
            if type(obj) not in SMALL and id(obj) not in large:
                with suppress(CannotPickle):  # A future is somewhere inside: it stays with the arguments.
                    packed = pack(obj)
                    if packed.size > size:
                        large[id(obj)] = obj, packed
        shared: dict[int, Blob] = {}
        numbers: dict[int, int] = {}
        # What is inside of another is smaller: it is stored first, and so stays the same object.
        for obj, packed in sorted(large.values(), key=lambda pair: pair[1].size):
            if numbers and pack(obj, shared=numbers).linked:
                continue
            numbers[id(obj)] = len(shared)
            shared[id(obj)] = self.put(packed, of=obj)
        return shared

    def load(
        self,
        blob: Blob,
        inputs: Inputs | None = None,
        shared: Callable[[int], Any] | None = None,
        lent: Mapping[int, memoryview] = MappingProxyType({}),
    ) -> Any:
        """The object of a blob.

        Raises:
            Untrusted: It is not what was stored under that name.
            ResultExpired: It was removed.
        """
        data, head = self._verified(blob)
        obj = unpack(data, head, inputs, shared, lent)
        self._mappings.note(data, blob)
        return obj

    def lent(self, blobs: Sequence[Any], places: Iterable[Sequence[int]]) -> dict[int, memoryview]:
        """The buffers that lie in other blobs, by number; a place is that, number of a blob, offset, size.

        Raises:
            Untrusted, ResultExpired: As `load`.
        """
        opened: dict[int, memoryview] = {}
        buffers = {}
        for number, of, at, size in places:
            if of not in opened:
                blob = Blob(*blobs[of])
                opened[of], _ = self._verified(blob)
                self._mappings.note(opened[of], blob)
            buffers[number] = opened[of][at : at + size]
        return buffers

    def _verified(self, blob: Blob) -> tuple[memoryview, bytes]:
        """The bytes of a blob, and a copy of their head."""
        data, head = self._open(blob)
        if head is None:  # a copy of this host may be damaged: once more, from where it came
            self._blobs.drop(blob.name)
            data, head = self._open(blob)
        if head is None:
            self._blobs.drop(blob.name)
            raise Untrusted(
                f"The blob {blob.name} is not what was stored under that name. It was not opened."
            )
        return data, head

    def _open(self, blob: Blob) -> tuple[memoryview, bytes | None]:
        """The bytes of a blob, and a copy of their head; none when they are not what was stored."""
        data = opened(self._blobs, blob.name)
        head = bytes(data[: blob.head])
        checked = head if self._blobs.guarded else data
        return data, head if len(data) == blob.size and _digest([checked]) == blob.digest else None

    def is_same(self, one: Blob, other: Blob) -> bool:
        """Whether two blobs hold the same bytes.

        Raises:
            ResultExpired: One of them was removed.
        """
        if one[1:] != other[1:]:
            return False
        if one.name == other.name or not self._blobs.guarded:
            return True  # their digests are those of all that they hold
        return _is_same(opened(self._blobs, one.name), [opened(self._blobs, other.name)])

    def loader(self, blobs: Sequence[Any]) -> Callable[[int], Any]:
        """Gives the shared objects by number, each once."""
        loaded: dict[int, Any] = {}

        def shared(number: int) -> Any:
            if number not in loaded:
                loaded[number] = self.load(Blob(*blobs[number]))
            return loaded[number]

        return shared


def opened(blobs: Blobs, name: str) -> memoryview:
    """The bytes of a blob, which were not verified yet.

    Raises:
        Untrusted: What says how they are kept makes no sense.
        ResultExpired: It was removed.
    """
    try:
        return blobs.open(name)
    except (ValueError, TypeError, OverflowError):
        raise Untrusted(f"The blob {name[:64]!a} cannot be what was stored. It was not opened.") from None


def _digest(parts: Iterable[bytes | memoryview]) -> str:
    digest = hashlib.blake2b(digest_size=20)
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


def _is_same(stored: memoryview, parts: Sequence[bytes | memoryview]) -> bool:
    """Whether these bytes are stored there."""
    if len(stored) != sum(len(part) for part in parts):
        return False
    at = 0
    for part in parts:
        mine, theirs = memoryview(part), stored[at : at + len(part)]
        words = len(part) // 8 * 8  # of eight bytes: views are compared item by item
        if mine[:words].cast("Q") != theirs[:words].cast("Q") or mine[words:] != theirs[words:]:
            return False
        at += len(part)
    return True
