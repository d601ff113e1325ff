"""Which queues a worker serves, and how it shares its slots among them. Pure.

::

    gpu,default          all are one: by priority, then by age
    high:3,default:1     three slots of four are offered to the first, as long as both have work
    strict               the first before the second, whatever the priorities
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from taskflow.errors import ConfigError

__all__ = ["DEFAULT", "Queues", "Turns"]

MOST_WEIGHT = 1000
_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]*)?")
_EXAMPLE = "Write names, perhaps with weights: default, or gpu,default, or high:3,default:1."


@dataclass(frozen=True, slots=True)
class Queues:
    """The queues of a worker, in order.

    Args:
        names: At least one when it was read from a text; none when all were cancelled.
        weights: One for each, or none at all.
        strict: The first before the next.
    """

    names: tuple[str, ...]
    weights: tuple[int, ...] = ()
    strict: bool = False

    @classmethod
    def parse(cls, text: str | Iterable[str], *, strict: bool = False) -> Queues:
        """Read ``"high:3,default:1"``, or its words.

        A queue without a weight among those that have one has weight 1.

        Raises:
            ConfigError: There is no queue, one is named twice, a weight is no number from 1 to 1000, or a
                strict order has weights.

        Example:
            >>> str(Queues.parse("high:3,default"))
            'high:3,default:1'
        """
        words = text.split(",") if isinstance(text, str) else list(text)
        pairs = [_read(word.strip()) for word in words if word.strip()]
        names = tuple(name for name, _ in pairs)
        if not names:
            raise ConfigError(f"No queue is named. {_EXAMPLE}")
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ConfigError(f"Queue {twice!r} is named twice. {_EXAMPLE}")
        weighed = any(weight is not None for _, weight in pairs)
        if weighed and strict:
            raise ConfigError("A strict order has no weights: leave out one of the two.")
        return cls(names, tuple(weight or 1 for _, weight in pairs) if weighed else (), strict)

    def __str__(self) -> str:
        """As `parse` reads it."""
        if not self.weights:
            return ",".join(self.names)
        return ",".join(f"{name}:{weight}" for name, weight in zip(self.names, self.weights, strict=True))

    def including(self, name: str, weight: int | None = None) -> Queues:
        """One more, at the end, or with another weight; a weight makes weights of all, unless the order is
        strict."""
        if self.strict or (weight is None and not self.weights):
            return self if name in self.names else replace(self, names=(*self.names, name))
        weights = dict(zip(self.names, self.weights or (1,) * len(self.names), strict=True))
        weights[name] = weight or weights.get(name, 1)
        return Queues(tuple(weights), tuple(weights.values()))

    def without(self, name: str) -> Queues:
        """One less."""
        kept = [at for at, known in enumerate(self.names) if known != name]
        weights = tuple(self.weights[at] for at in kept) if self.weights else ()
        return replace(self, names=tuple(self.names[at] for at in kept), weights=weights)


DEFAULT = Queues(("default",))
"""What a worker serves when nobody says."""


def _read(word: str) -> tuple[str, int | None]:
    name, colon, number = word.rpartition(":")
    if not colon or not _NUMBER.fullmatch(number):
        return word, None
    if not name or not number.isdigit() or not 1 <= int(number) <= MOST_WEIGHT:
        raise ConfigError(f"{word!r} is no queue: a weight is a number from 1 to {MOST_WEIGHT}. {_EXAMPLE}")
    return name, int(number)


class Turns:
    """Shares slots among queues as their weights say; what was given so far is made up for.

    Source:
        Smooth weighted round-robin, as in nginx (Ruslan Ermilov, 2012): each slot goes to the queue with the
        most credit, which then pays for it.
    """

    def __init__(self, weights: Sequence[int]) -> None:
        self._weights = tuple(weights)
        self._credit = [0] * len(self._weights)

    def next(self, slots: int) -> tuple[int, ...]:
        """How many of the next slots each queue is offered.

        Example:
            >>> Turns([3, 1]).next(8)
            (6, 2)
        """
        return self._share(slots, list(self._credit))

    def took(self, slots: int) -> None:
        """So many slots were given out."""
        self._share(slots, self._credit)

    def _share(self, slots: int, credit: list[int]) -> tuple[int, ...]:
        rounds, rest = divmod(slots, sum(self._weights))
        shares = [rounds * weight for weight in self._weights]
        for _ in range(rest):
            for at, weight in enumerate(self._weights):
                credit[at] += weight
            best = max(range(len(credit)), key=credit.__getitem__)
            credit[best] -= sum(self._weights)
            shares[best] += 1
        return tuple(shares)
