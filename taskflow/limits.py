"""What the whole cluster keeps to: rates, numbers at once, circuit breakers. Values and arithmetic.

A person writes `RateLimit`, `ConcurrencyLimit` and `CircuitBreaker`; what a store keeps and counts by name is
a `Limit`.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from enum import StrEnum
from typing import Any, NamedTuple, Self, TypeVar

from taskflow import guarding
from taskflow.errors import ConfigError, nearest

__all__ = ["BreakerWord", "CircuitBreaker", "ConcurrencyLimit", "Limit", "RateLimit", "limits_of", "name_of"]

F = TypeVar("F", bound=Callable[..., Any])
Key = str | int | Callable[..., Any] | None
_UNITS_S = {"s": 1.0, "sec": 1.0, "second": 1.0, "m": 60.0, "min": 60.0, "minute": 60.0}
_UNITS_S |= {"h": 3600.0, "hour": 3600.0, "d": 86_400.0, "day": 86_400.0}
_RATE = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*(?:/\s*([a-z]+)\s*)?")
_MOST_NAME_CHARS = 512


class Limit(NamedTuple):
    """One bound, as a store keeps it. What is counted under the same name is counted together.

    Args:
        name: Kind and name: ``"rate:…"``, ``"concurrency:…"`` or ``"breaker:…"``.
        most: So many items may run at once.
        per_s: So many items may start in a second, on average.
        burst: So many of them at once, after a pause.
        failures: So many failures within `window_s` open the breaker.
        window_s: See `failures`.
        reset_s: How long an open breaker lets nothing through; then it tries `probes` items.
        probes: See `reset_s`.
        holds: While the breaker is open, what is new waits; otherwise it fails at once.
        alone: The bound is each worker's own.
    """

    name: str
    most: int | None = None
    per_s: float | None = None
    burst: float = 1.0
    failures: int | None = None
    window_s: float = 0.0
    reset_s: float = 0.0
    probes: int = 1
    holds: bool = False
    alone: bool = False


class BreakerWord(StrEnum):
    """What is said to a breaker without a task: may I pass; it answered; it failed; be open; be closed."""

    ENTER = "enter"
    ANSWERED = "answered"
    FAILED = "failed"
    OPEN = "open"
    CLOSE = "close"


@dataclass(frozen=True)
class RateLimit:
    """So many starts in a time, over all workers of the store; what must wait stays in its queue.

    Args:
        rate: ``"10/m"``, ``"100/s"``, ``"5/h"``, or a number of starts in a second.
        key: What is counted together, in place of the task's name: text, or a function of the call's
            arguments that gives text. A function cannot be used for a map, whose items are one node.
        burst: How many may start at once after a pause. By default one, or a tenth of a second's worth of
            a quick rate: within any time ``t`` no more than ``rate * t + burst`` start.
        per_worker: Each worker counts for itself, as in Celery.

    Source:
        The token bucket: Turner, "New Directions in Communications", IEEE Communications Magazine, 1986.

    Example:
        >>> RateLimit("30/m").per_s
        0.5
    """

    rate: str | float
    _: KW_ONLY
    key: Key = None
    burst: float | None = None
    per_worker: bool = False

    def __post_init__(self) -> None:
        _check_key(self.key)
        if self.per_s <= 0:
            raise ConfigError(f"rate={self.rate!r} is not possible: nothing would ever start.")
        if self.burst is not None and self.burst < 1:
            raise ConfigError(f"burst={self.burst} is not possible: use 1 or more, or None.")

    @property
    def per_s(self) -> float:
        """Starts in a second."""
        return _per_second(self.rate)

    def limit(self, name: str) -> Limit:
        """The bound that a store keeps."""
        burst = self.burst if self.burst is not None else max(1.0, self.per_s / 10)
        return Limit(f"rate:{name}", per_s=self.per_s, burst=float(burst), alone=self.per_worker)


@dataclass(frozen=True)
class ConcurrencyLimit:
    """At most `n` run at once, over all workers of the store; who waits stays in its queue, not in a slot.

    Args:
        name: What is counted together.
        n: How many.
        key: Counted together per value of this, beside the name: text, or a function of the call's arguments.

    Example:
        >>> ConcurrencyLimit("gpu", 2).n
        2
    """

    name: str
    n: int
    _: KW_ONLY
    key: Key = None

    def __post_init__(self) -> None:
        _check_name(self.name)
        _check_key(self.key)
        if self.n < 1:
            raise ConfigError(f"ConcurrencyLimit({self.name!r}, {self.n}) is not possible: use 1 or more.")

    def limit(self, name: str) -> Limit:
        """The bound that a store keeps."""
        return Limit(f"concurrency:{name}", most=self.n)


@dataclass(frozen=True)
class CircuitBreaker:
    """Spares a service that fails: after so many failures nothing is sent to it for a while.

    *Closed* → (`failures` within `window` seconds) → *open* → (after `reset_after` seconds) → *half open*:
    `half_open` calls try it; one that succeeds closes the breaker, one that fails opens it again. All
    workers of the store share the state.

    It is an option of tasks, ``breaker=``. While it is open a new call fails at once with `CircuitOpen`; one
    that was tried before waits in its queue, and so does everything with ``when_open="hold"``.

    Or it guards a part of a task, or of any program that has a client: as a decorator, also of coroutine
    functions, or as a context manager. These ask the store before and tell it after, and raise `CircuitOpen`.

    Args:
        name: Tasks with the same name share the breaker.
        failures: See above.
        window: Seconds.
        reset_after: Seconds.
        half_open: How many calls try the service.
        counts: Exceptions that count as failures.
        ignore: Exceptions that do not; the service has answered.
        when_open: ``"fail"`` or ``"hold"``.
        fallback: Called in place of a decorated function, with its arguments, while the breaker is open.

    Source:
        Nygard, "Release It!", 2007.

    Example:
        >>> CircuitBreaker("api", failures=3).limit("api").failures
        3
    """

    name: str
    _: KW_ONLY
    failures: int = 5
    window: float = 60.0
    reset_after: float = 30.0
    half_open: int = 1
    counts: tuple[type[BaseException], ...] | type[BaseException] = (Exception,)
    ignore: tuple[type[BaseException], ...] | type[BaseException] = ()
    when_open: str = "fail"
    fallback: Callable[..., Any] | None = None

    def __post_init__(self) -> None:
        _check_name(self.name)
        if self.fallback is not None and not callable(self.fallback):
            raise ConfigError(f"fallback={self.fallback!r} is not possible: use a function, or None.")
        if self.failures < 1 or self.half_open < 1 or self.window <= 0 or self.reset_after <= 0:
            raise ConfigError(
                "A CircuitBreaker needs failures and half_open of 1 or more, window and reset_after above 0."
            )
        if self.when_open not in ("fail", "hold"):
            near = nearest(str(self.when_open), ["fail", "hold"])
            raise ConfigError(f"when_open={self.when_open!r} is not known.{near} Use 'fail' or 'hold'.")

    def limit(self, name: str) -> Limit:
        """The bound that a store keeps."""
        return Limit(
            f"breaker:{name}",
            failures=self.failures,
            window_s=float(self.window),
            reset_s=float(self.reset_after),
            probes=self.half_open,
            holds=self.when_open == "hold",
        )

    @property
    def counts_all(self) -> bool:
        """Whether every exception is a failure."""
        return self.counts in (Exception, (Exception,)) and not self.ignore

    def spares(self, error: BaseException) -> bool:
        """Whether an exception is no failure of the service."""
        return not isinstance(error, self.counts) or isinstance(error, self.ignore)

    @property
    def state(self) -> str:
        """``"closed"``, ``"open"`` or ``"half-open"``, in the store of the task or client that asks."""
        views = guarding.store().limits()
        return next((v.state for v in views if (v.kind, v.name) == ("breaker", self.name)), "closed")

    def open(self, for_s: float | None = None) -> None:
        """Open it for so many seconds, `reset_after` unless told otherwise; then it is half open, as ever."""
        limit = self.limit(self.name)
        self._tell(limit if for_s is None else limit._replace(reset_s=float(for_s)), BreakerWord.OPEN)

    def close(self) -> None:
        """Close it, and forget the failures."""
        self.tell(BreakerWord.CLOSE)

    def tell(self, word: BreakerWord, took_s: float = 0.0) -> bool:
        """Ask it, or tell it something; see `SharingPort.tell_breaker`."""
        return self._tell(self.limit(self.name), word, took_s)

    def _tell(self, limit: Limit, word: BreakerWord, took_s: float = 0.0) -> bool:
        return bool(guarding.store().tell_breaker(limit, BreakerWord(word), took_s=took_s))

    def __call__(self, fn: F) -> F:
        """Guard a function, as a decorator."""
        return guarding.guarded(self, fn)

    def __enter__(self) -> Self:
        guarding.enter(self)
        return self

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        guarding.leave(self, error)


Rate = str | float | RateLimit
Concurrency = int | ConcurrencyLimit


def limits_of(
    rates: Sequence[RateLimit],
    concurrency: Sequence[int | ConcurrencyLimit],
    breaker: CircuitBreaker | None,
    fn: Callable[..., Any],
    args: Sequence[Any] | None,
    kwargs: Mapping[str, Any] | None,
) -> tuple[Limit, ...]:
    """The bounds that a call of `fn` keeps to; `args` is `None` for an array node.

    Raises:
        ConfigError: A key is a function, and there are no arguments for it; or it gave no text.
    """
    own = name_of(fn)
    found: list[Limit] = []
    for rate in rates:
        found.append(rate.limit(_keyed("", own, rate.key, args, kwargs)))
    for most in concurrency:
        if isinstance(most, int):
            found.append(ConcurrencyLimit(own, most).limit(own))
        else:
            found.append(most.limit(_keyed(most.name, most.name, most.key, args, kwargs)))
    if breaker is not None:
        found.append(breaker.limit(breaker.name))
    return tuple(sorted(found))


def name_of(fn: Any) -> str:
    """A task's name, or module and qualified name of a function.

    Example:
        >>> name_of(re.compile)
        're.compile'
    """
    while not isinstance(getattr(fn, "name", None), str) and hasattr(fn, "func"):
        fn = fn.func
    given = getattr(fn, "name", None)
    if isinstance(given, str):
        return given
    kind = type(fn)
    return f"{getattr(fn, '__module__', kind.__module__)}.{getattr(fn, '__qualname__', kind.__qualname__)}"


def _keyed(
    before: str, unkeyed: str, key: Key, args: Sequence[Any] | None, kwargs: Mapping[str, Any] | None
) -> str:
    if callable(key):
        if args is None:
            raise ConfigError(
                "key= of a limit is a function, and the items of a map share their limits: give text, or"
                " submit the calls one by one."
            )
        key = key(*args, **(kwargs or {}))
        if not isinstance(key, (str, int)):
            raise ConfigError(f"The key of a limit must be text or a whole number, not {type(key).__name__}.")
        before = before or unkeyed
    if key is None:
        return unkeyed
    name = f"{before}:{key}" if before else str(key)
    if len(name) > _MOST_NAME_CHARS:
        raise ConfigError(f"The key of a limit is {len(name)} characters long: {_MOST_NAME_CHARS} at most.")
    return name


def _check_name(name: Any) -> None:
    if not isinstance(name, str) or not 0 < len(name) <= _MOST_NAME_CHARS:
        raise ConfigError(f"name={name!r} is not possible: a limit has text of 1 to 512 characters as name.")


def _check_key(key: Any) -> None:
    if key is not None and not isinstance(key, (str, int)) and not callable(key):
        raise ConfigError(f"key={key!r} is not possible: use text, or a function of the call's arguments.")


@functools.lru_cache(maxsize=1024)
def _per_second(rate: str | float) -> float:
    if isinstance(rate, (int, float)):
        return float(rate)
    found = _RATE.fullmatch(rate.lower()) if isinstance(rate, str) else None
    if found is None:
        raise ConfigError(f"rate={rate!r} cannot be read: write '10/m', '100/s', '5/h' or a number.")
    unit = found[2] or "s"
    if unit not in _UNITS_S:
        raise ConfigError(f"rate={rate!r}: {unit!r} is no time.{nearest(unit, _UNITS_S)}")
    return float(found[1]) / _UNITS_S[unit]
