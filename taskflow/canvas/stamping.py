"""Stamps: words that a canvas is marked with, part by part, and found and revoked by.

As in Celery a stamp is an option of a signature, named in its ``stamped_headers``. When it is drawn, its
stamps become tags of its node: what runs are listed and cancelled by.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from taskflow.errors import ConfigError
from taskflow.policy import Options

if TYPE_CHECKING:
    from taskflow.canvas.signatures import Signature

__all__ = ["StampingVisitor", "as_tags", "stamp", "stamps_of"]

_STAMPED = "stamped_headers"
_OPTIONS = frozenset(Options.__dataclass_fields__)


class StampingVisitor(ABC):
    """Goes through a canvas, and says what each part of it is stamped with.

    Every method is given the part, and as keywords the stamps that came down to it, with their names as
    ``stamped_headers``; it returns stamps by name. With ``stamped_headers`` among them only those named there
    are stamps. What a canvas is given, its parts get too.

    Example:
        >>> from taskflow import chain, signature
        >>> class Numbers(StampingVisitor):
        ...     seen = 0
        ...     def on_signature(self, sig, **headers):
        ...         self.seen += 1
        ...         return {"number": self.seen}
        >>> sig = chain(signature(pow, (2,)), signature(str)).stamp(Numbers())
        >>> [step.options["number"] for step in sig.tasks]
        [1, 2]
    """

    @abstractmethod
    def on_signature(self, sig: Signature, **headers: Any) -> Mapping[str, Any] | None:
        """What one call is stamped with."""

    def on_group_start(self, group: Signature, **headers: Any) -> Mapping[str, Any] | None:
        """What a group gives to its members, before they are visited."""
        return None

    def on_group_end(self, group: Signature, **headers: Any) -> None:  # noqa: B027 - need not be told
        """The members were visited; those of a generator will be when it is read."""

    def on_chain_start(self, chain: Signature, **headers: Any) -> Mapping[str, Any] | None:
        """What a chain gives to its steps, before they are visited."""
        return None

    def on_chain_end(self, chain: Signature, **headers: Any) -> None:  # noqa: B027 - need not be told
        """The steps were visited."""

    def on_chord_header_start(self, sig: Signature, **header: Any) -> Mapping[str, Any] | None:
        """What a chord gives to its header; what the group would give, unless it is told otherwise."""
        return self.on_group_start(sig.kwargs["header"], **header)

    def on_chord_header_end(self, sig: Signature, **header: Any) -> None:
        """The members of a header were visited."""
        self.on_group_end(sig.kwargs["header"], **header)

    def on_chord_body(self, sig: Signature, **header: Any) -> Mapping[str, Any] | None:
        """What a chord gives to its body, beside what it gives to its header."""
        return None

    def on_callback(self, callback: Signature, **header: Any) -> Mapping[str, Any] | None:
        """What a linked signature is stamped with, beside what it gets as one."""
        return None

    def on_errback(self, errback: Signature, **header: Any) -> Mapping[str, Any] | None:
        """The same for one that is linked for errors."""
        return None


class _Silent(StampingVisitor):
    """For stamps that are the same everywhere."""

    def on_signature(self, sig: Signature, **headers: Any) -> None:
        """Nothing of its own."""


def stamp(sig: Signature, visitor: StampingVisitor | None, append: bool, headers: Mapping[str, Any]) -> None:
    """Stamp a canvas and all of its parts, what is linked to them included.

    Args:
        sig: Is changed.
        visitor: Says what is put on each part.
        append: A stamp that a part has already becomes a list of both values; else the last one counts.
        headers: Stamps for every part.

    Raises:
        ConfigError: A stamp is not JSON, or has the name of an option.
    """
    _Stamper(visitor or _Silent(), append).put(sig, _stamps(headers))


def stamps_of(options: Mapping[str, Any]) -> dict[str, Any]:
    """The stamps among the options of a signature.

    Example:
        >>> stamps_of({"queue": "q", "exp": 7, "stamped_headers": ["exp"]})
        {'exp': 7}
    """
    return {name: options[name] for name in options.get(_STAMPED, ()) if name in options}


def as_tags(options: Mapping[str, Any]) -> Mapping[str, Any]:
    """The same options, with tags in place of stamps; ``stamps`` are what the task is told of them.

    Example:
        >>> as_tags({"queue": "q", "exp": 7, "stamped_headers": ["exp"]})
        {'queue': 'q', 'tags': {'exp': 7}, 'stamps': {'exp': 7}}
    """
    if _STAMPED not in options:
        return options
    stamps = stamps_of(options)
    rest = {name: value for name, value in options.items() if name not in stamps and name != _STAMPED}
    if not stamps:
        return rest
    return {**rest, "tags": {**rest.get("tags", {}), **stamps}, "stamps": stamps}


class _Stamper:
    """Puts stamps on the parts of a canvas.

    Args:
        visitor: See `stamp`.
        append: See `stamp`.
    """

    def __init__(self, visitor: StampingVisitor, append: bool) -> None:
        self._visitor = visitor
        self._append = append

    def put(self, sig: Signature, given: Mapping[str, Any]) -> None:
        """Stamp a part with what came down to it."""
        kinds: dict[str | None, Callable[[Any, Mapping[str, Any]], None]]
        kinds = {"chain": self._chain, "group": self._group, "chord": self._chord}
        put = kinds.get(sig.subtask_type) or self._call
        put(sig, given)

    def _call(self, sig: Signature, given: Mapping[str, Any]) -> None:
        self._links(sig, given)
        self._mark(sig, self._more(given, self._visitor.on_signature(sig, **_told(given))))

    def _chain(self, sig: Signature, given: Mapping[str, Any]) -> None:
        visitor = self._visitor
        given = self._more(given, visitor.on_chain_start(sig, **_told(given)))
        self._links(sig, given)
        for step in sig.kwargs["tasks"]:
            self.put(step, given)
        visitor.on_chain_end(sig, **_told(given))

    def _group(self, sig: Any, given: Mapping[str, Any]) -> None:
        visitor = self._visitor
        given = self._more(given, visitor.on_group_start(sig, **_told(given)))
        self._links(sig, given)
        sig.each_member(lambda member: self.put(member, given))
        visitor.on_group_end(sig, **_told(given))

    def _chord(self, sig: Signature, given: Mapping[str, Any]) -> None:
        visitor = self._visitor
        given = self._more(given, visitor.on_chord_header_start(sig, **_told(given)))
        self._links(sig, given)
        sig.kwargs["header"].each_member(lambda member: self.put(member, given))
        visitor.on_chord_header_end(sig, **_told(given))
        if sig.kwargs["body"] is not None:
            self.put(sig.kwargs["body"], self._more(given, visitor.on_chord_body(sig, **_told(given))))

    def _links(self, sig: Signature, given: Mapping[str, Any]) -> None:
        for kind, visit in (("link", self._visitor.on_callback), ("link_error", self._visitor.on_errback)):
            if kind in sig.options:
                sig.options[kind] = linked = [callback.clone() for callback in sig._linked(kind)]
                for callback in linked:
                    self.put(callback, self._more(given, visit(callback, **_told(given))))

    def _more(self, given: Mapping[str, Any], found: Mapping[str, Any] | None) -> Mapping[str, Any]:
        """Stamps, with those that a visitor returned."""
        return self._both(given, _stamps(found)) if found else given

    def _both(self, old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
        if not self._append:
            return {**old, **new}
        twice = {name: [*_listed(old[name]), *_listed(new[name])] for name in old if name in new}
        return {**old, **new, **twice}

    def _mark(self, sig: Signature, stamps: Mapping[str, Any]) -> None:
        if stamps:
            all_of_them = self._both(stamps_of(sig.options), stamps)
            sig.options.update(all_of_them)
            sig.options[_STAMPED] = sorted(all_of_them)


def _told(stamps: Mapping[str, Any]) -> dict[str, Any]:
    """Stamps as a visitor is told of them."""
    return {**stamps, _STAMPED: sorted(stamps)}


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _stamps(found: Mapping[str, Any]) -> dict[str, Any]:
    """What of it is a stamp."""
    named = found.get(_STAMPED)
    stamps = {name: found[name] for name in found if name != _STAMPED and (named is None or name in named)}
    for name, value in stamps.items():
        if name in _OPTIONS:
            raise ConfigError(f"A stamp cannot be named {name!r}: that is an option. Use another name.")
        try:
            json.dumps(value)
        except (TypeError, ValueError):
            raise ConfigError(
                f"The stamp {name}={value!r} is not JSON: use text, numbers, or lists and dicts of them."
            ) from None
    return stamps
