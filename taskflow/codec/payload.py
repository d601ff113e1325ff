"""`Codec`: every object that leaves the process goes through here, and comes back through here.

A value is one byte, then a sealed payload (`taskflow.codec.signing`)::

    0x01  the object is in the payload
    0x02  the payload names blobs; their names can be read without a key (`blob_names`)
    0x03  no payload: plain JSON that nobody sealed; only `taskflow.codec.named` reads it

The flags tell what a body is: a pickle (0); a pickle with buffers (1); one that asks for inputs or for
shared objects (2); either of them behind a JSON list of blobs (4). The seal covers blobs too: next to the
name stands the digest of all that is interpreted in them. Nothing is unpickled before it was verified.
"""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import struct
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple, NoReturn, TypeAlias

from taskflow.codec import bundle
from taskflow.codec.culprit import cannot_pickle
from taskflow.codec.failure import describe_failure, stand_in, with_traceback
from taskflow.codec.functions import (
    Capture,
    Loaded,
    captured,
    check_header,
    describe,
    header,
    host,
    is_here,
    packages_in_use,
    settle_in,
    working_directory,
)
from taskflow.codec.pickling import (
    ATOMS,
    Inputs,
    Packed,
    Position,
    Snapshot,
    load,
    no_inputs,
    pack,
    unpack,
)
from taskflow.codec.plain import CONTAINERS, SMALL, Gaps, fits, is_plain, literal
from taskflow.codec.recent import keep
from taskflow.codec.signing import HEADER, MAGIC, TAG, Keyring, Purpose
from taskflow.codec.stored import SHARE_FROM, Blob, Blobs, Objects, opened
from taskflow.errors import (
    CannotPickle,
    PayloadError,
    ResultExpired,
    SoftTimeLimitExceeded,
    TaskflowError,
    Untrusted,
    UsageError,
)
from taskflow.limits import CircuitBreaker
from taskflow.policy import RetryPolicy
from taskflow.records import Failure, Segment, Value

__all__ = ["INLINE_MAX", "NAMED", "PLAIN", "SEGMENT_MAX", "Codec", "TooMuch", "blob_names", "value_bytes"]

INLINE_MAX = 32 * 1024
"""Bytes up to which an object stays in its record; larger ones become blobs."""

_ITEM_MAX = 4096
_LOOK_MAX = 500  # of more parts, looking at each takes longer than the slower pickler costs
"""Bytes up to which the arguments of a call travel in a page with those of others."""

_MOST_SOURCE_CHARS = 256 * 1024
"""The longest cell whose text travels with a function of it; that of a function is stored once."""

SEGMENT_MAX = 8 << 20
"""Bytes up to which the results of several items are stored as one."""
SAID_MAX = 256 * 1024
"""Bytes of the largest value that a running task may tell of itself: it is told again and again."""
NAMED = "json:"
"""What the function of a call by name begins with; no digest does."""

_INLINE = b"\x01"
_NAMES_BLOBS = b"\x02"
PLAIN = b"\x03"
_PACKED, _LINKED, _BLOBS, _GAPS = 1, 2, 4, 8
_LENGTH = struct.Struct("<I")
_CACHED_FUNCTIONS = 256
_LOADED_FUNCTIONS = 64
_TRUST_STORED_S = 600.0

_FUNCTION, _ARGS, _ITEMS, _RESULT, _ERROR, *_ = (int(purpose) for purpose in Purpose)
_SAID = int(Purpose.SAID)
_dumps = pickle.dumps
_loads = pickle.loads


_Treated: TypeAlias = "tuple[RetryPolicy | None, CircuitBreaker | None]"


def value_bytes(value: Value) -> int:
    """Bytes that a value takes, in its record or in the blob that holds it; needs no key."""
    if blob_names(value):
        listed, _ = _split(value[1 + HEADER : -TAG])
        if listed.get("whole"):
            return int(listed["blobs"][0][1])
    return len(value)


class TooMuch(Exception):
    """The objects are too large to be one value."""


class _Sent(NamedTuple):
    """A function that was stored, and how to tell that it is still the same."""

    fn: Any
    treated: _Treated
    digest: str
    kid: bytes
    cwd: str
    path: list[str]
    bundle: str
    packages: tuple[bool, ...]
    capture: Capture


def blob_names(value: bytes | memoryview) -> tuple[str, ...]:
    """The blobs that a value, or the stored form of a function, cannot do without.

    Needs no key and never raises: of bytes that are no value it says that they name none.
    """
    tag = bytes(value[:1])
    start = 1 if tag in (_INLINE, _NAMES_BLOBS) else 0
    if tag == _INLINE or bytes(value[start : start + 4]) != MAGIC or len(value) < start + HEADER + TAG:
        return ()
    try:
        listed, _ = _split(value[start + HEADER : -TAG])
        names = [name for name, *_ in listed["blobs"]]
        return tuple(map(str, [*names, listed["bundle"]] if "bundle" in listed else names))
    except (ValueError, TypeError, KeyError, RecursionError, struct.error):
        return ()


class Codec:
    """Turns functions, arguments, items, results and errors into sealed bytes and back.

    One per process; safe to use from several threads. It loads only what a key of the ring sealed, for the
    very place where it is found.

    Args:
        keyring: The keys that seal and open.
        blobs: Where functions and large objects are kept.
        named: For calls by name (`taskflow.codec.named`), where such are run.
    """

    def __init__(self, keyring: Keyring, blobs: Blobs, named: Codec | None = None) -> None:
        self.keyring = keyring
        self.blobs = blobs
        self._named = named
        self._seal = keyring.seal
        self._open = keyring.open
        self._sent: dict[int, _Sent] = {}
        self._stored: dict[str, float] = {}
        self._loaded: dict[str, Loaded] = {}
        self._objects = Objects(blobs)
        self._bundle = bundle.Bundle()
        self._bundle_name = ""
        self._entered: dict[str, str] = {}

    def of(self, fn: str) -> Codec:
        """The codec for the calls of a function: what is sealed and what is not never meet in one.

        Raises:
            Untrusted: It is a name, and this process runs sealed functions only.
        """
        if not fn.startswith(NAMED):
            return self
        if self._named is None:
            raise Untrusted(
                f"{fn.removeprefix(NAMED)[:200]!a} was called by name, unsigned, and this worker runs what"
                " is signed. Workers for such calls are started with `taskflow worker --accept json --allow"
                " NAMES`."
            )
        return self._named

    # ── functions ───────────────────────────────────────────────────────────────────

    describe = staticmethod(describe)

    def upload(self, *what: Any) -> None:
        """Let files and modules go with every function that is stored from now on; see `Bundle.add`.

        Raises:
            UsageError: One is not there.
        """
        for each in what:
            self._bundle.add(each)
        body = bundle.packed(self._bundle)
        name = hashlib.blake2b(body, digest_size=20, salt=self.keyring.kid).hexdigest()
        self.blobs.put(name, [self.keyring.seal(_FUNCTION, 0, name.encode(), body)])
        self._bundle_name = name

    def function(
        self,
        fn: Callable[..., Any],
        *,
        retry: RetryPolicy | None = None,
        breaker: CircuitBreaker | None = None,
    ) -> str:
        """Store a function with all it captures, once, and give the digest it is found by.

        What its exceptions mean travels with it: `retry`, and `breaker` where that does not count them all.

        A function that did not change since the last time is not pickled again; a captured variable that
        changed is always noticed.

        Raises:
            CannotPickle: The message names the variable that cannot travel.
        """
        sent = self._sent.get(id(fn))
        if (
            sent is not None
            and sent.fn is fn
            and sent.treated == (retry, breaker)
            and sent.capture.is_unchanged()
            and is_here(sent.cwd)
            and sent.path == sys.path
            and sent.bundle == self._bundle_name
            and sent.kid == self.keyring.kid
            and sent.packages == packages_in_use()
            and time.monotonic() < self._stored.get(sent.digest, 0.0)
        ):
            return sent.digest
        return self._send(fn, (retry, breaker))

    def _send(self, fn: Callable[..., Any], treated: _Treated) -> str:
        if not callable(fn):
            raise UsageError(f"A task needs a function, and this is a {type(fn).__name__!r}.")
        capture = Capture.of(fn, treated)
        digest = self._store_function(fn, treated)
        if capture is not None:
            kid, cwd, packages = self.keyring.kid, working_directory(), packages_in_use()
            sent = _Sent(fn, treated, digest, kid, cwd, list(sys.path), self._bundle_name, packages, capture)
            keep(self._sent, id(fn), sent, _CACHED_FUNCTIONS)
        return digest

    def _store_function(self, fn: Callable[..., Any], treated: _Treated) -> str:
        label = describe(fn)
        packed, shared = self._pack_function(fn, treated, label)
        more = {"bundle": self._bundle_name} if self._bundle_name else {}
        top = _json({**header(label), "blobs": shared, "linked": packed.linked, **more})
        body = b"".join([top, *packed.parts()])
        # The key is part of the name: a blob that another key sealed under it would be of no use here.
        digest = hashlib.blake2b(body, digest_size=20, salt=self.keyring.kid).hexdigest()
        if time.monotonic() >= self._stored.get(digest, 0.0):
            if not self.blobs.has(digest):
                self.blobs.put(digest, [self.keyring.seal(_FUNCTION, 0, digest.encode(), body)])
            keep(self._stored, digest, time.monotonic() + _TRUST_STORED_S, 4 * _CACHED_FUNCTIONS)
        return digest

    def _pack_function(
        self, fn: Callable[..., Any], treated: _Treated, label: str
    ) -> tuple[Packed, list[Blob]]:
        try:
            packed = pack((fn, *treated), source_chars=_MOST_SOURCE_CHARS)
            if packed.size <= SHARE_FROM:
                return packed, []
            objects = list(captured(fn))  # Kept until the end: they are known by their ids.
            shared = self._objects.share(objects, SHARE_FROM)
            numbers = {key: number for number, key in enumerate(shared)}
            packed = pack((fn, *treated), shared=numbers, source_chars=_MOST_SOURCE_CHARS)
            return packed, list(shared.values())
        except (Exception, SystemExit) as error:
            _pass_on(error)
            raise cannot_pickle(error, [("function", label, fn), ("variable", "retry", treated)]) from error

    def distrust(self) -> None:
        """The store may have forgotten functions: look again whether they are there before they are named."""
        self._stored.clear()

    def load_function(self, digest: str) -> Loaded:
        """The function of a digest; the last few are kept.

        Raises:
            Untrusted: It was not sealed by a key of this ring, or was altered.
            VersionMismatch: It comes from another Python; nothing of it was unpickled.
            ResultExpired: It is not stored any more.
            PayloadError: It needs something that is not here, such as a module.
        """
        loaded = self._loaded.get(digest)
        if loaded is None:
            loaded = self._fetch(digest)
            keep(self._loaded, digest, loaded, _LOADED_FUNCTIONS)
        return loaded

    def _fetch(self, digest: str) -> Loaded:
        # A copy, so that what was verified is what is unpickled.
        sealed = bytes(opened(self.blobs, digest))
        _, body = self._open(_FUNCTION, digest.encode(), sealed)
        top, rest = _split(body)
        check_header(top)
        settle_in(top)
        place = self._enter(top["bundle"]) if "bundle" in top else ""
        shared = self._objects.loader(top["blobs"]) if top["linked"] else None
        try:
            fn, retry, breaker = _unpack_inline(rest, None, shared)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - unpickling runs the user's code
            _explain(f"The function {top['name']!r}", error)
        cwd = top["cwd"] if top.get("host") == host() else place or working_directory()
        return Loaded(fn, retry, top["name"], cwd, breaker)

    def _enter(self, name: str) -> str:
        """Have the files that came with a function; gives their directory."""
        place = self._entered.get(name)
        if place is None:
            _, body = self._open(_FUNCTION, name.encode(), bytes(opened(self.blobs, name)))
            place = str(bundle.unpack(body))
            keep(self._entered, name, place, _LOADED_FUNCTIONS)
        bundle.enter(place)
        return place

    # ── arguments ───────────────────────────────────────────────────────────────────

    def dump_args(
        self,
        fn: str,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any] | None = None,
        position: Position | None = None,
    ) -> Value:
        """The arguments of a call.

        Args:
            fn: Digest of the function.
            args: By position.
            kwargs: By name.
            position: Gives each `Reference` among the arguments its place among the inputs of the node.

        Raises:
            CannotPickle: The message names the argument.
        """
        if (ATOMS.issuperset(map(type, args)) or is_plain(args)) and (not kwargs or is_plain(kwargs)):
            body = _dumps((args, kwargs), 5)
            if len(body) <= INLINE_MAX:
                return _INLINE + self._seal(_ARGS, 0, fn.encode(), body)
        kwargs = dict(kwargs or {})
        if position is not None and (gaps := Gaps.of(args, kwargs, position)) is not None:
            body = _dumps(tuple(gaps), 5)
            if len(body) <= INLINE_MAX:
                return _INLINE + self._seal(_ARGS, _GAPS, fn.encode(), body)
        kept: list[Blob] = []
        try:
            packed = self._objects.pack((args, kwargs), position, kept=kept)
            if packed.size <= INLINE_MAX:
                return self._value(_ARGS, fn, packed, self._still(kept))
            shared = self._objects.share([*args, *kwargs.values()], INLINE_MAX)
            if shared:
                numbers = {key: number for number, key in enumerate(shared)}
                kept.clear()
                packed = self._objects.pack((args, kwargs), position, shared=numbers, kept=kept)
        except (Exception, SystemExit) as error:
            _pass_on(error)
            roots = _numbered("argument", "args", 0, args)
            roots += [("argument", name, value) for name, value in kwargs.items()]
            raise cannot_pickle(error, roots, position) from error
        return self._value(_ARGS, fn, packed, [*shared.values(), *self._still(kept)])

    def fingerprint(self, args: Sequence[Any], kwargs: Mapping[str, Any] | None = None) -> str:
        """A digest of arguments: those that are equal, of the plain types, have the same in every process;
        others when they are pickled to the same bytes. References among them count by their place.

        Raises:
            CannotPickle: An argument cannot travel.
        """
        named = sorted((kwargs or {}).items())
        try:
            text = literal((tuple(args), named))
        except (TypeError, RecursionError):
            pass
        else:
            return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
        seen: dict[Any, int] = {}
        packed = pack((tuple(args), named), lambda reference: seen.setdefault(reference.node_id, len(seen)))
        digest = hashlib.sha256()
        for part in packed.parts():
            digest.update(part)
        return digest.hexdigest()

    def snapshot(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """The arguments of a call as they are now, as an item that is loaded as the pair of both.

        Returns:
            `None` for what is better sent by itself: it is large, names other tasks, or cannot travel.
        """
        kinds = {*map(type, args), *map(type, kwargs.values())} if kwargs else {*map(type, args)}
        if ATOMS.issuperset(kinds) and (
            SMALL.issuperset(kinds) or (fits(args, _ITEM_MAX) and fits(kwargs.values(), _ITEM_MAX))
        ):
            return args, kwargs
        try:
            packed = pack((args, kwargs))
        except (Exception, SystemExit) as error:  # noqa: BLE001 - the reason is told where it is sent by itself
            _pass_on(error)
            return None
        return None if packed.buffers or packed.size > _ITEM_MAX else Snapshot(packed.pickle)

    def load_args(
        self, fn: str, value: Value, inputs: Inputs | None = None
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments of a call; `inputs` is asked for each `Reference` by its position and index.

        Raises:
            Untrusted: They were altered, or are those of another function.
        """
        flags, body = self._open_value(_ARGS, fn.encode(), value)
        try:
            if flags == _GAPS:
                return Gaps._make(_loads(body)).filled(inputs or no_inputs)
            args, kwargs = _loads(body) if not flags else self._unpack(flags, body, inputs)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - unpickling runs the user's code
            _explain("The arguments", error)
        return args, kwargs or {}

    def weight(self, item: Any) -> int:
        """About how many bytes an item takes when it is stored; at least one, also of what cannot be."""
        kind = type(item)
        if kind in ATOMS:
            return max(1, sys.getsizeof(item, 1))
        try:
            plain = kind in CONTAINERS and len(item) < _LOOK_MAX and is_plain(item)
            return max(1, len(_dumps(item, 5)) if plain else pack(item).size)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - whoever stores it tells the reason
            _pass_on(error)
            return 1

    def dump_items(self, fn: str, lo: int, items: Sequence[Any]) -> Value:
        """A page: items of an array node from index `lo` on.

        Raises:
            CannotPickle: The message names the item.
        """
        packed = items if type(items) is range else list(items)
        return self._dump(_ITEMS, f"{fn}|{lo}", packed, lambda: _numbered("item", "items", lo, items))

    def load_items(self, fn: str, lo: int, value: Value) -> Sequence[Any]:
        """The items of a page."""
        items: Sequence[Any] = self._load(_ITEMS, f"{fn}|{lo}", value, "The items")
        return items

    # ── outcomes ────────────────────────────────────────────────────────────────────

    def dump_result(self, node: str, lo: int, hi: int, fence: int, obj: Any) -> Value:
        """The result of a call, or the list of those of items ``[lo, hi)`` of an array node.

        Raises:
            CannotPickle: The message says which part of it.
            TooMuch: The results of several items are large: give each by itself, and each can be had alone.
        """
        most = SEGMENT_MAX if hi - lo > 1 else None
        context = f"{node}|{lo}|{hi}|{fence}"
        return self._dump(_RESULT, context, obj, lambda: [("result", "result", obj)], most)

    def load_result(self, node: str, lo: int, hi: int, fence: int, value: Value) -> Any:
        """What `dump_result` was given.

        Raises:
            Untrusted: It was altered, or is the result of something else.
            ResultExpired: It was large, and its blob was removed.
            PayloadError: It needs something that is not here, such as a module.
        """
        return self._load(_RESULT, f"{node}|{lo}|{hi}|{fence}", value, "The result")

    def dump_said(self, node: str, index: int, fence: int, obj: Any) -> Value:
        """A value that a running item tells of itself; it stays in its record, however large it is.

        Raises:
            CannotPickle: It cannot travel, or is larger than `SAID_MAX`.
        """
        try:
            packed = pack(obj)
        except (Exception, SystemExit) as error:
            _pass_on(error)
            raise cannot_pickle(error, [("meta", "meta", obj)]) from error
        if packed.size > SAID_MAX:
            raise CannotPickle(
                f"What a running task tells of itself has {SAID_MAX:,} bytes at most, and this has"
                f" {packed.size:,}: tell a number, a path or an id, and return the rest."
            )
        flags = (_PACKED if packed.buffers else 0) | (_LINKED if packed.linked else 0)
        body = b"".join(packed.parts()) if packed.buffers else packed.pickle
        return _INLINE + self._seal(_SAID, flags, f"{node}|{index}|{fence}".encode(), body)

    def load_said(self, node: str, index: int, fence: int, value: Value) -> Any:
        """What `dump_said` was given.

        Raises:
            Untrusted: It was altered, or said by something else.
            PayloadError: It needs something that is not here, such as a module.
        """
        return self._load(_SAID, f"{node}|{index}|{fence}", value, "What the task told")

    def is_far(self, segment: Segment) -> bool:
        """Whether the value of a segment is large, and has to be fetched from a server to be loaded."""
        value = segment.value
        return not self.blobs.guarded and value is not None and value[:1] == _NAMES_BLOBS

    def load_segment(self, segment: Segment) -> Any:
        """The value of a segment that succeeded: the result of a call, or the list of those of its items.

        Raises:
            PayloadError: As `load_result`.
        """
        if segment.value is None:
            return [None] * (segment.hi - segment.lo) if segment.array else None
        if segment.single:
            return [self.load_result(segment.node, 0, 1, segment.fence, segment.value)]
        return self.load_result(segment.node, segment.lo, segment.hi, segment.fence, segment.value)

    def segment_error(self, segment: Segment, *, frames: bool = False) -> BaseException:
        """The exception of a segment that has no value; see `exception`."""
        failure = Failure.from_json(segment.error) if segment.error else Failure(kind=segment.state)
        lo = 0 if segment.single else segment.lo
        return self.exception(failure, segment.value, segment.node, lo, segment.fence, frames=frames)

    def dump_error(
        self, node: str, lo: int, fence: int, error: BaseException, story: bytes | None = None
    ) -> Value | None:
        """The exception that item `lo` raised, or `None` when it cannot be pickled and unpickled again.

        Args:
            node: Whose it is, with `lo` and `fence`.
            lo: See `node`.
            fence: See `node`.
            error: The exception.
            story: What its frames held, as `taskflow.codec.frames.capture` tells it; that is kept also when
                the exception itself cannot travel.
        """
        context = f"{node}|{lo}|{fence}"
        packed = _packed_error(error)
        if story is None:
            return None if packed is None else self._value(_ERROR, context, packed)
        alone = None if packed is None else (b"".join(packed.parts()), len(packed.head()))
        return self._value(_ERROR, context, pack((alone, story)))

    def load_error(self, node: str, lo: int, fence: int, value: Value) -> BaseException:
        """What `dump_error` was given.

        Raises:
            PayloadError: As `load_result`; or it was the story of an exception that could not travel.
        """
        error, _ = self._load_error(node, lo, fence, value)
        if error is None:
            raise PayloadError("The exception could not travel: only its text and its frames did.")
        return error

    def _load_error(
        self, node: str, lo: int, fence: int, value: Value
    ) -> tuple[BaseException | None, bytes | None]:
        """The exception as far as it could travel, and its story, if there is one."""
        error, story = self._load(_ERROR, f"{node}|{lo}|{fence}", value, "The exception"), None
        if type(error) is tuple and len(error) == 2 and isinstance(error[1], bytes):
            error, story = _unpacked_error(error[0]), error[1]
        if not (isinstance(error, BaseException) or (error is None and story is not None)):
            raise Untrusted("This is not an exception.")
        return error, story

    def failure(self, error: BaseException, kind: str = "failed") -> Failure:
        """An exception as text: its type, message, notes, traceback and causes, at most 24 KiB as JSON."""
        return describe_failure(error, kind)

    def exception(
        self,
        failure: Failure,
        value: Value | None = None,
        node: str = "",
        lo: int = 0,
        fence: int = 0,
        *,
        frames: bool = False,
    ) -> BaseException:
        """The exception to raise for an item that gave no value.

        It is the task's own when that could be sent and can be rebuilt here, with the worker's traceback as
        its cause; else one of `TaskError`; `Untrusted` when what is stored is not what the worker sealed.

        Args:
            failure: What is known as text.
            value: What `dump_error` gave.
            node: Whose it is, with `lo` and `fence`.
            lo: See `node`.
            fence: See `node`.
            frames: Give it the frames of the worker instead of their text, where these came along.
        """
        if value is None:
            return stand_in(failure)
        try:
            error, story = self._load_error(node, lo, fence, value)
        except Untrusted as refused:
            return refused
        except TaskflowError:
            return stand_in(failure)
        if story is not None and frames:
            return _with_frames(error, failure, story)
        return stand_in(failure) if error is None else with_traceback(error, failure)

    # ── the same in another place ────────────────────────────────────────────────────

    def args_for(self, fn: str, of: str, value: Value) -> Value:
        """Arguments of a call of the function `of`, for a call of `fn`: verified, and not opened.

        Raises:
            Untrusted: As `load_args`.
        """
        return self._moved(_ARGS, of, fn, value)

    def sealed_anew(self, digest: str, sealed: bytes) -> tuple[str, bytes]:
        """The stored form of a function, sealed with the key that signs now: verified, and not opened.

        Returns:
            The digest that it is found by from now on, and what is to be stored under it.

        Raises:
            Untrusted: It is not what that digest names, or its key was revoked.
        """
        _, body = self._open(_FUNCTION, digest.encode(), sealed)
        new = hashlib.blake2b(body, digest_size=20, salt=self.keyring.kid).hexdigest()
        return new, self._seal(_FUNCTION, 0, new.encode(), body)

    def items_for(self, fn: str, of: str, lo: int, value: Value) -> Value:
        """A page of items of the function `of`, for a map of `fn`: verified, and not opened.

        Raises:
            Untrusted: It was altered, or is another page.
        """
        return self._moved(_ITEMS, f"{of}|{lo}", f"{fn}|{lo}", value)

    def has_same_items(self, fn: str, value: Value, other_fn: str, other: Value, lo: int) -> bool:
        """Whether two pages hold the same, as far as their bytes tell: equal items may have others.

        Raises:
            Untrusted: One of them was altered, or is another page.
            ResultExpired: What is large of it was removed.
        """
        one, two = (
            self._open_value(_ITEMS, f"{name}|{lo}".encode(), page)
            for name, page in ((fn, value), (other_fn, other))
        )
        if one == two or one[0] != two[0] or not one[0] & _BLOBS:
            return one == two
        (mine, rest), (theirs, other_rest) = _split(one[1]), _split(two[1])
        first, second = ([Blob(*entry) for entry in top["blobs"]] for top in (mine, theirs))
        same = len(first) == len(second) and rest == other_rest and mine.get("lent") == theirs.get("lent")
        return same and all(map(self._objects.is_same, first, second))

    def result_for(self, node: str, lo: int, hi: int, segment: Segment) -> Value | None:
        """The results of a segment, which is no single one, for items of a node that are given them.

        They are verified, and not opened.

        Raises:
            Untrusted: As `load_result`.
        """
        if segment.value is None:
            return None
        old = f"{segment.node}|{segment.lo}|{segment.hi}|{segment.fence}"
        return self._moved(_RESULT, old, f"{node}|{lo}|{hi}|0", segment.value)

    def _moved(self, purpose: int, old: str, new: str, value: Value) -> Value:
        flags, body = self._open_value(purpose, old.encode(), value)
        return value[:1] + self._seal(purpose, flags, new.encode(), body)

    # ── objects that are stored on their own ─────────────────────────────────────────

    def keep(self, obj: Any) -> Blob:
        """Store an object on its own, by its content: an equal one is stored once.

        Returns:
            What `kept` finds it by, and what a `Kept` has to hold.

        Raises:
            CannotPickle: The message says which part of it.
        """
        try:
            return self._objects.put(pack(obj), of=obj)
        except (Exception, SystemExit) as error:
            _pass_on(error)
            raise cannot_pickle(error, [("variable", "data", obj)]) from error

    def kept(self, blob: Blob) -> Any:
        """What `keep` was given.

        Raises:
            ResultExpired: It was removed.
        """
        return self._objects.load(Blob(*blob))

    def _still(self, kept: list[Blob]) -> list[Blob]:
        """The same blobs, when they are all there: asking keeps them for the time until they are used."""
        for blob in kept:
            if not self.blobs.has(blob.name):
                raise ResultExpired(
                    "What this Ref stands for is not in this store (any more): scatter it again, with the"
                    " client that takes the task.",
                    expired_at=0.0,
                )
        return kept

    # ── objects to values ───────────────────────────────────────────────────────────

    def _dump(
        self,
        purpose: int,
        context: str,
        obj: Any,
        roots: Callable[[], Iterable[tuple[str, str, Any]]],
        most: int | None = None,
    ) -> Value:
        kind = type(obj)
        if kind in ATOMS or (kind in CONTAINERS and len(obj) < _LOOK_MAX and is_plain(obj)):
            body = _dumps(obj, 5)
            if len(body) <= INLINE_MAX:
                return _INLINE + self._seal(purpose, 0, context.encode(), body)
        kept: list[Blob] = []
        try:
            packed = self._objects.pack(obj, kept=kept)
        except (Exception, SystemExit) as error:
            _pass_on(error)
            raise cannot_pickle(error, roots()) from error
        if most is not None and packed.size + packed.lent_bytes > most:
            raise TooMuch
        return self._value(purpose, context, packed, self._still(kept))

    def _value(self, purpose: int, context: str, packed: Packed, shared: Sequence[Blob] = ()) -> Value:
        shared, lent = _with_lenders(shared, packed)
        if packed.size > INLINE_MAX:
            blob = self._objects.put(packed, os.urandom(16).hex())
            top = _json({"blobs": [blob, *shared], "whole": True, **lent})
            flags = _BLOBS | (_LINKED if packed.linked else 0)
            return _NAMES_BLOBS + self._seal(purpose, flags, context.encode(), top)
        flags = (_PACKED if packed.buffers else 0) | (_LINKED if packed.linked else 0)
        body = b"".join(packed.parts()) if packed.buffers else packed.pickle
        if not shared:
            return _INLINE + self._seal(purpose, flags, context.encode(), body)
        body = _json({"blobs": shared, "whole": False, **lent}) + body
        return _NAMES_BLOBS + self._seal(purpose, flags | _BLOBS, context.encode(), body)

    # ── values to objects ───────────────────────────────────────────────────────────

    def _open_value(self, purpose: int, context: bytes, value: Value) -> tuple[int, bytes]:
        if value[:1] == PLAIN:
            raise Untrusted(
                "This is plain JSON that nobody signed, where something signed belongs. It was not opened."
                ' What calls by name gave is read by Client(url, serializer="json").'
            )
        flags, body = self._open(purpose, context, value, 1)
        if value[:1] != (_NAMES_BLOBS if flags & _BLOBS else _INLINE):
            raise Untrusted("This payload was altered. It was not opened.")
        return flags, body

    def _load(self, purpose: int, context: str, value: Value, what: str) -> Any:
        flags, body = self._open_value(purpose, context.encode(), value)
        try:
            return _loads(body) if not flags else self._unpack(flags, body, None)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - unpickling runs the user's code
            _explain(what, error)

    def _unpack(self, flags: int, body: bytes, inputs: Inputs | None) -> Any:
        shared, lent = None, {}
        if not flags & _LINKED:
            inputs = None
        if flags & _BLOBS:
            top, body = _split(body)
            blobs = [Blob(*entry) for entry in top["blobs"]]
            others = blobs[1:] if top["whole"] else blobs
            lent = self._objects.lent(others, top.get("lent", ()))
            shared = self._objects.loader(others) if flags & _LINKED else None
            if top["whole"]:
                return self._objects.load(blobs[0], inputs, shared, lent)
        if flags & _PACKED:
            return _unpack_inline(body, inputs, shared, lent)
        return load(body, (), inputs, shared)


# ── pieces ───────────────────────────────────────────────────────────────────────────


def _json(top: Mapping[str, Any]) -> bytes:
    text = json.dumps(top, separators=(",", ":")).encode()
    return _LENGTH.pack(len(text)) + text


def _split(body: bytes | memoryview) -> tuple[dict[str, Any], Any]:
    (length,) = _LENGTH.unpack_from(body)
    top = json.loads(bytes(body[_LENGTH.size : _LENGTH.size + length]))
    return top, body[_LENGTH.size + length :]


def _packed_error(error: BaseException) -> Packed | None:
    """An exception, when it can be pickled and unpickled again."""
    try:
        packed = pack(error)
        again = unpack(memoryview(b"".join(packed.parts())), packed.head())
    except (MemoryError, SoftTimeLimitExceeded):
        raise
    except Exception:  # noqa: BLE001 - whatever the user's exception does, its text is sent
        return None
    return packed if type(again) is type(error) else None


def _unpacked_error(alone: Any) -> Any:
    """What `_packed_error` gave, in one piece and with the length of its head; none when it fails here."""
    try:
        data, head = alone
        return unpack(memoryview(bytearray(data)), bytes(data[:head]))
    except (Exception, SystemExit):  # noqa: BLE001 - unpickling runs the user's code; there is its text
        return None


def _with_frames(error: BaseException | None, failure: Failure, story: bytes) -> BaseException:
    from taskflow.codec.frames import Story
    from taskflow.codec.tracebacks import rebuilt

    try:
        told = Story.loads(story)
        return rebuilt(stand_in(failure) if error is None else error, told)
    except Exception:  # noqa: BLE001 - from another release, say: the text of the traceback says it as well
        return stand_in(failure) if error is None else with_traceback(error, failure)


def _with_lenders(shared: Sequence[Blob], packed: Packed) -> tuple[Sequence[Blob], dict[str, Any]]:
    """The blobs beside a value, and where those of its buffers are that it does not hold."""
    if not packed.lent:
        return shared, {}
    lenders = list(dict.fromkeys(loan.blob for loan in packed.lent.values()))
    places = [
        (number, len(shared) + lenders.index(loan.blob), loan.at, loan.raw.nbytes)
        for number, loan in packed.lent.items()
    ]
    return [*shared, *lenders], {"lent": places}


def _unpack_inline(
    body: bytes,
    inputs: Inputs | None,
    shared: Callable[[int], Any] | None,
    lent: Mapping[int, memoryview] = MappingProxyType({}),
) -> Any:
    # A bytearray, so that arrays which lie in it can be written to.
    return unpack(memoryview(bytearray(body)), body, inputs, shared, lent)


def _numbered(kind: str, name: str, lo: int, objects: Iterable[Any]) -> list[tuple[str, str, Any]]:
    return [(kind, f"{name}[{lo + i}]", obj) for i, obj in enumerate(objects)]


def _pass_on(error: BaseException) -> None:
    if isinstance(error, (MemoryError, SoftTimeLimitExceeded)) or (
        isinstance(error, TaskflowError) and not isinstance(error, CannotPickle)
    ):
        raise error


def _explain(what: str, error: BaseException) -> NoReturn:
    """Raise what unpickling raised, in the words of the one who waits for it."""
    if isinstance(error, (TaskflowError, MemoryError, SoftTimeLimitExceeded)):
        raise error
    cure = ""
    if isinstance(error, ModuleNotFoundError):
        cure = (
            f" Install {error.name!r} where this runs ({host().partition('/')[0]}, {sys.executable}),"
            f" or send it along: client.upload({(error.name or '').partition('.')[0]})."
        )
    elif isinstance(error, (AttributeError, ImportError)):
        cure = " Is it the same release of your code and packages on both sides?"
    text = f"{what} could not be rebuilt here: {type(error).__name__}: {error}.{cure}"
    raise PayloadError(text) from error
