"""How a task is treated: retries, limits, budgets. Values and arithmetic, nothing else."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import datetime, timedelta
from functools import cached_property, lru_cache
from typing import Any, Literal, TypeAlias, get_args

from taskflow.errors import ConfigError, nearest
from taskflow.limits import CircuitBreaker, ConcurrencyLimit, Limit, RateLimit, limits_of
from taskflow.unique import Unique

__all__ = ["JSON_QUEUE", "OnFailure", "Options", "Policy", "RetryPolicy", "backoff_s", "roll"]

OnFailure = Literal["continue", "stop", "skip"]
JSON_QUEUE = "json"
"""Where calls by name wait unless told otherwise: workers that do not accept them should not meet them."""


def backoff_s(attempt: int, *, base_s: float, factor: float, cap_s: float) -> float:
    """Wait before the next attempt, before jitter.

    Args:
        attempt: How many attempts have failed, from 1.
        base_s: Wait after the first failure, seconds.
        factor: Growth per failure; 1 keeps the wait constant.
        cap_s: Longest wait, seconds.

    Example:
        >>> [backoff_s(n, base_s=1.0, factor=2.0, cap_s=5.0) for n in (1, 2, 3, 4)]
        [1.0, 2.0, 4.0, 5.0]
    """
    try:
        return min(cap_s, base_s * factor ** (attempt - 1))
    except OverflowError:
        return cap_s


Rule: TypeAlias = "RetryPolicy | int | None"
"""How an exception is treated: by a policy of its own, with a number of retries, or not retried."""


@dataclass(frozen=True)
class RetryPolicy:
    """When a failed attempt is tried again, and how long it waits first.

    Args:
        max_retries: Attempts after the first one.
        on: Exception classes that are retried.
        never: Exception classes that are not, though `on` names them.
        delay: Wait after the first failure, seconds.
        backoff: Growth of the wait per failure; 1 keeps it constant.
        max_delay: Longest wait, seconds.
        jitter: ``"full"`` draws from [0, wait), ``"equal"`` from [wait/2, wait), ``None`` waits exactly.
        deadline: No retry starts later than this after the task was submitted.
        retry_if: Asked last with the exception; a false answer ends the task.
        rules: Exception classes that are treated otherwise: by a policy of their own, with another number of
            retries, or (`None`) not retried. That of the nearest base class counts.

    Source:
        The jitter variants are those of "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
    """

    max_retries: int = 3
    on: tuple[type[BaseException], ...] | type[BaseException] = (Exception,)
    never: tuple[type[BaseException], ...] | type[BaseException] = ()
    delay: float = 1.0
    backoff: float = 2.0
    max_delay: float = 600.0
    jitter: Literal["full", "equal"] | None = "full"
    deadline: timedelta | float | None = None
    retry_if: Callable[[BaseException], bool] | None = None
    rules: Mapping[type[BaseException], Rule] | tuple[tuple[type[BaseException], Rule], ...] = ()

    def __post_init__(self) -> None:
        # As a tuple it can be hashed, and is seen not to change.
        object.__setattr__(self, "rules", tuple(dict(self.rules).items()))
        for kind in dict(self.rules):
            if not (isinstance(kind, type) and issubclass(kind, BaseException)):
                raise ConfigError(f"rules={{{kind!r}: ...}} is not possible: use exception classes as keys.")
        if self.max_retries < 0 or self.delay < 0 or self.max_delay < 0 or self.backoff < 1:
            raise ConfigError(
                "A RetryPolicy needs max_retries, delay and max_delay of 0 or more, backoff of 1 or more."
            )
        if self.jitter not in ("full", "equal", None):
            raise ConfigError(
                f"jitter={self.jitter!r} is not known.{nearest(str(self.jitter), ['full', 'equal'])}"
                " Use 'full', 'equal' or None."
            )

    def wait_s(self, attempt: int, *, roll: float) -> float:
        """Seconds to wait after the `attempt`-th failure (from 1); `roll` is a draw from [0, 1)."""
        full = backoff_s(attempt, base_s=self.delay, factor=self.backoff, cap_s=self.max_delay)
        if self.jitter == "full":
            return full * roll
        if self.jitter == "equal":
            return full / 2 + full / 2 * roll
        return full

    def decide(self, error: BaseException, *, attempt: int, age_s: float, roll: float) -> float | None:
        """Seconds to wait before the next attempt, or `None` when the task has failed.

        Args:
            error: What the attempt raised.
            attempt: How many attempts have failed, from 1.
            age_s: Seconds since the task was submitted.
            roll: A draw from [0, 1).
        """
        rules = dict(self.rules)
        rule = next((rules[kind] for kind in type(error).__mro__ if kind in rules), self) if rules else self
        if rule is None:
            return None
        if rule is not self:
            own = replace(self, max_retries=rule, rules=()) if isinstance(rule, int) else rule
            return own.decide(error, attempt=attempt, age_s=age_s, roll=roll)
        if attempt > self.max_retries or not isinstance(error, self.on) or isinstance(error, self.never):
            return None
        if self.retry_if is not None and not self.retry_if(error):
            return None
        wait = self.wait_s(attempt, roll=roll)
        limit = self.deadline.total_seconds() if isinstance(self.deadline, timedelta) else self.deadline
        return None if limit is not None and age_s + wait > limit else wait

    @property
    def most_retries(self) -> int:
        """Attempts after the first one, for the exception that has most."""
        own = (rule for rule in dict(self.rules).values() if rule is not None)
        return max(
            self.max_retries, *(rule if isinstance(rule, int) else rule.most_retries for rule in own), 0
        )

    def preview(self) -> list[float]:
        """The longest wait before each retry, seconds.

        Example:
            >>> RetryPolicy(4, delay=1, backoff=3, max_delay=10).preview()
            [1, 3, 9, 10]
        """
        return [
            backoff_s(n, base_s=self.delay, factor=self.backoff, cap_s=self.max_delay)
            for n in range(1, self.max_retries + 1)
        ]


def roll() -> float:
    """A draw from [0, 1) for jitter."""
    return random.random()  # noqa: S311 - jitter, not a secret


@dataclass(frozen=True, slots=True)
class Policy:
    """What the store and the worker must know to treat a node: the part that is stored.

    Args:
        max_deliveries: How often an item may be handed out; the crash of a worker spends one,
            a raised exception does too. When they are used up the item is *dead*.
        time_limit_s: Hard limit of one attempt; the child is killed.
        soft_time_limit_s: `SoftTimeLimitExceeded` is raised in the task.
        memory_limit_bytes: Resident memory of the child while it runs the task.
        chunk: At most so many items in one lease of an array node; `None` leaves it to the claim.
        on_failure: What the failure of this node does to the rest of its run: ``"continue"`` skips
            what depends on it, ``"stop"`` cancels all that has not started; with ``"skip"`` it may fail:
            what depends on it is skipped, and the run does not fail for it.
        seed: Where `taskflow.rng()` of its items begins; the id of the node when it is `None`. A rerun
            keeps that of the first run, so that its items see the same numbers.
        ignore_result: No value is kept.
        max_parallel: At most so many items of the node run at once.
        run_parallel: At most so many items of its whole run do.
        unlocks: Its run lets go of its lock when this node starts.
        singles: Its items were submitted each by itself: each counts where what is pending is bounded.
        limits: What the whole store keeps to, by name.
        frames: The first failures bring along what the frames of the worker held.
    """

    max_deliveries: int = 3
    time_limit_s: float | None = None
    soft_time_limit_s: float | None = None
    memory_limit_bytes: int | None = None
    chunk: int | None = None
    on_failure: OnFailure = "continue"
    seed: int | str | None = None
    ignore_result: bool = False
    max_parallel: int | None = None
    run_parallel: int | None = None
    unlocks: bool = False
    singles: bool = False
    limits: tuple[Limit, ...] = ()
    frames: bool = False

    def to_json(self) -> str:
        """Only what differs from the defaults, so that most policies are ``{}``."""
        return _policy_to_json(self)

    @staticmethod
    def from_json(text: str) -> Policy:
        """Read `to_json`; one object is shared by all nodes with the same text."""
        return _policy_from_json(text)


@lru_cache(maxsize=1024)
def _policy_to_json(policy: Policy) -> str:
    changed: dict[str, Any] = {}
    for f in fields(policy):
        value = getattr(policy, f.name)
        if value != f.default:
            changed[f.name] = value
    return json.dumps(changed, separators=(",", ":"))


@lru_cache(maxsize=1024)
def _policy_from_json(text: str) -> Policy:
    known = json.loads(text)
    if "limits" in known:
        known["limits"] = tuple(Limit(*limit) for limit in known["limits"])
    return Policy(**known)


@dataclass(frozen=True, kw_only=True)
class Options:
    """Everything that may be said of a call apart from its arguments.

    Args:
        queue: Where it waits; workers subscribe to queues by name.
        priority: Higher runs first, from 0 to 255.
        retry: A `RetryPolicy`, or a number of retries with its defaults.
        time_limit: Seconds until the child is killed.
        soft_time_limit: Seconds until `SoftTimeLimitExceeded` is raised in the task.
        memory_limit: Bytes of resident memory the child may use.
        max_deliveries: How often it is handed out before it is *dead*; retries + 3 by default.
        countdown: Seconds before it may start.
        eta: A timezone-aware `datetime` before which it does not start.
        expires: Seconds (or an aware `datetime`) after which it is not started any more.
        tags: Small JSON values to find it by.
        label: What a person reads in place of the function's name.
        chunksize: Most items of a map in one lease; `None` leaves it to the measured item time.
        seed: The seed of `taskflow.rng()` in the run.
        on_failure: ``"continue"``: what depends on a failed node is skipped; ``"stop"``: what has not
            started of its run is cancelled; ``"skip"``: as ``"continue"``, and the run does not fail for it.
        ignore_result: Keep no value: what reads it gets `None`.
        max_parallel: At most so many items run at once, whatever slots are free: of a map, of a workflow or
            canvas that is sent with it, or of the step of a workflow that is set so.
        run_parallel: The same for all nodes of the run that have it, together.
        rate_limit: A `RateLimit`, or text such as ``"10/m"``: so many starts in a time over all workers of
            the store; several of them all hold.
        concurrency: A `ConcurrencyLimit`, or a number: so many of this task at once over all workers of the
            store; several of them all hold. What must wait stays in its queue, not in a slot.
        breaker: A `CircuitBreaker`.
        after: Futures that must have succeeded first, though their values are not needed.
        key: Names the run: a second submit with the same key in the same store is the first one.
        unique: No two of a kind at once: `Unique()`, or `True` for that.
        idempotency_key: A text, or a function of the call's arguments whose answer counts together with the
            name of the task: a second submit with the same one is the first, for a day, also when that has
            succeeded; when it failed, it is run anew. Short for ``unique=Unique(key, until="expired",
            ttl=86_400)``.
        max_pending: Nothing new is taken while more calls than this have not ended in its queue; a map counts
            as one. `None` sets no bound. What a running task submits is always taken: to wait for room while
            it keeps a slot might be to wait for itself.
        memo: Take the results of earlier runs in the same store, for a call or for items of a map, instead of
            running them again: `True` where the same function succeeded with the same arguments, by its
            fingerprint; ``"edited"`` where the function of that name did, whatever it was then. What failed,
            is new or has changed runs, and what runs now is remembered. See docs/memo.md.
        when_full: What happens then, and when the disk or the memory of the store is full: ``"wait"`` as long
            as it takes; a number of seconds waits so long, and ``"raise"`` not at all, before `QueueFull` is
            raised. With these two a call is not sent together with others.
        frames: The first failures of a run bring the frames of the worker along, with their variables, for
            debuggers: these may hold secrets, and are kept as long as the result. `None` leaves it to the
            client, which wants them in a notebook only.
    """

    queue: str = "default"
    priority: int = 0
    retry: RetryPolicy | int | None = None
    time_limit: float | None = None
    soft_time_limit: float | None = None
    memory_limit: int | None = None
    max_deliveries: int | None = None
    countdown: float | None = None
    eta: datetime | None = None
    expires: float | datetime | None = None
    tags: Mapping[str, Any] = field(default_factory=dict)
    label: str | None = None
    chunksize: int | None = None
    seed: int | None = None
    on_failure: OnFailure = "continue"
    ignore_result: bool = False
    max_parallel: int | None = None
    run_parallel: int | None = None
    rate_limit: RateLimit | str | float | Sequence[RateLimit | str | float] | None = None
    concurrency: ConcurrencyLimit | int | Sequence[ConcurrencyLimit | int] | None = None
    breaker: CircuitBreaker | None = None
    after: tuple[Any, ...] = ()
    key: str | None = None
    unique: Unique | bool | None = None
    idempotency_key: str | Callable[..., Any] | None = None
    max_pending: int | None = 100_000
    when_full: Literal["wait", "raise"] | float = "wait"
    frames: bool | None = None
    memo: Literal["edited"] | bool = False

    def __post_init__(self) -> None:
        if self.unique is True or self.unique is False:
            object.__setattr__(self, "unique", Unique() if self.unique else None)
        if self.idempotency_key is not None:
            if self.unique is not None:
                raise ConfigError("idempotency_key= is short for a unique=: use one of them.")
            object.__setattr__(self, "unique", Unique(self.idempotency_key, until="expired", ttl=_DAY_S))
            object.__setattr__(self, "idempotency_key", None)
        _check_options(self)

    def merge(self, **changes: Any) -> Options:
        """The same options with some of them changed.

        Raises:
            ConfigError: There is no such option (the nearest is named), or its value is impossible.

        Example:
            >>> Options().merge(priority=5).priority
            5
        """
        for name in changes:
            if name not in _OPTION_NAMES:
                raise ConfigError(f"There is no option {name!r}.{nearest(name, _OPTION_NAMES)}")
        return replace(self, **changes)

    @cached_property
    def retries(self) -> RetryPolicy | None:
        """`retry` as a policy."""
        return RetryPolicy(self.retry) if isinstance(self.retry, int) else self.retry

    @cached_property
    def policy(self) -> Policy:
        """The part that the store keeps."""
        retries = self.retries
        budget = self.max_deliveries or (retries.most_retries if retries else 0) + 3
        return Policy(
            max_deliveries=budget,
            time_limit_s=self.time_limit,
            soft_time_limit_s=self.soft_time_limit,
            memory_limit_bytes=self.memory_limit,
            chunk=self.chunksize,
            on_failure=self.on_failure,
            seed=self.seed,
            ignore_result=self.ignore_result,
            max_parallel=self.max_parallel,
            run_parallel=self.run_parallel,
            frames=bool(self.frames),
        )

    @cached_property
    def rates(self) -> tuple[RateLimit, ...]:
        """`rate_limit`, as what it means."""
        return tuple(r if isinstance(r, RateLimit) else RateLimit(r) for r in _listed(self.rate_limit))

    @cached_property
    def is_limited(self) -> bool:
        """Whether its calls keep to limits of the store."""
        return bool(self.rates or self.breaker is not None or _listed(self.concurrency))

    @cached_property
    def is_keyed(self) -> bool:
        """Whether the arguments of a call tell which limits it keeps to."""
        return any(callable(getattr(one, "key", None)) for one in (*self.rates, *_listed(self.concurrency)))

    @cached_property
    def judge(self) -> CircuitBreaker | None:
        """The breaker, where it does not count every exception: whoever runs the task must ask it."""
        breaker = self.breaker
        return breaker if breaker is not None and not breaker.counts_all else None

    def policy_for(
        self,
        fn: Callable[..., Any],
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
    ) -> Policy:
        """`policy` with the limits that a call of `fn` keeps to; `args` is `None` for an array node.

        Raises:
            ConfigError: The key of a limit is a function, and there are no arguments for it.
        """
        if not self.is_limited:
            return self.policy
        limits = limits_of(self.rates, _listed(self.concurrency), self.breaker, fn, args, kwargs)
        return replace(self.policy, limits=limits)

    def of_run(self) -> Options:
        """The same for all nodes of a graph: what bounds a map bounds the run as a whole."""
        if self.max_parallel is None:
            return self
        return self.merge(run_parallel=self.max_parallel, max_parallel=None)

    def delay_s(self, now: float) -> float | None:
        """Seconds from `now` (since the epoch) until it may start, or `None`."""
        wait = self.countdown
        if self.eta is not None:
            wait = max(wait or 0.0, self.eta.timestamp() - now)
        return wait if wait and wait > 0 else None

    def expires_s(self, now: float) -> float | None:
        """Seconds from `now` (since the epoch) until it expires, or `None`."""
        if isinstance(self.expires, datetime):
            return self.expires.timestamp() - now
        return self.expires


_DAY_S = 86_400.0
FEEDERS = "client/"
"""How the queues begin from which no worker claims: of calls that a client makes itself."""

_OPTION_NAMES = tuple(f.name for f in fields(Options))


def _listed(given: Any) -> tuple[Any, ...]:
    if given is None:
        return ()
    return tuple(given) if isinstance(given, (list, tuple, set, frozenset)) else (given,)


def _check_limits(o: Options) -> None:
    if any(not isinstance(one, (str, int, float, RateLimit)) for one in _listed(o.rate_limit)):
        raise ConfigError(f"rate_limit={o.rate_limit!r} is not possible: write '10/m', or a RateLimit.")
    _ = o.rates
    for most in _listed(o.concurrency):
        if isinstance(most, bool) or not isinstance(most, (int, ConcurrencyLimit)):
            raise ConfigError(f"concurrency={most!r} is not possible: use a number, or a ConcurrencyLimit.")
        if isinstance(most, int) and most < 1:
            raise ConfigError(f"concurrency={most} is not possible: use a number above 0, or None.")
    if o.breaker is not None and not isinstance(o.breaker, CircuitBreaker):
        raise ConfigError(f"breaker={o.breaker!r} is not possible: use a CircuitBreaker.")
    if o.breaker is not None and o.breaker.fallback is not None:
        raise ConfigError(
            "breaker= keeps tasks from running while it is open, and fallback= is for what runs: decorate the"
            " function with the breaker instead."
        )


def _check_options(o: Options) -> None:
    if not 0 <= o.priority <= 255:
        raise ConfigError(f"priority={o.priority} is not possible: use 0 to 255, higher runs first.")
    for name in _POSITIVE:
        value = getattr(o, name)
        if value is not None and value <= 0:
            raise ConfigError(f"{name}={value} is not possible: use a number above 0, or None.")
    if o.on_failure not in get_args(OnFailure):
        near = nearest(str(o.on_failure), get_args(OnFailure))
        raise ConfigError(
            f"on_failure={o.on_failure!r} is not known.{near} Use one of {get_args(OnFailure)}."
        )
    _check_submitting(o)
    if o.time_limit and o.soft_time_limit and o.soft_time_limit >= o.time_limit:
        raise ConfigError("soft_time_limit must be shorter than time_limit, or the task never sees it.")
    for name in ("eta", "expires"):
        value = getattr(o, name)
        if isinstance(value, datetime) and value.tzinfo is None:
            raise ConfigError(f"{name} needs a time zone: datetime.now(timezone.utc) + timedelta(...).")
    if o.rate_limit is not None or o.concurrency is not None or o.breaker is not None:
        _check_limits(o)
    if not _QUEUE.fullmatch(o.queue):
        raise ConfigError(f"queue={o.queue!r} is not a name: use 1 to 128 of A-Z a-z 0-9 _ . - /")


def _check_submitting(o: Options) -> None:
    unique: object = o.unique
    if unique is not None and not isinstance(unique, Unique):
        raise ConfigError(f"unique={unique!r} is not possible: use Unique(), True or None.")
    if unique is not None and o.key is not None:
        raise ConfigError("key= names one run for good, unique= one at a time: use one of them.")
    if isinstance(o.when_full, str):
        well = o.when_full in ("wait", "raise")
    else:
        well = isinstance(o.when_full, int | float) and o.when_full >= 0
    if not well:
        near = nearest(str(o.when_full), ["wait", "raise"])
        raise ConfigError(
            f"when_full={o.when_full!r} is not known.{near} Use 'wait', 'raise' or a number of seconds."
        )
    if o.memo is not False:
        _check_memo(o)


def _check_memo(o: Options) -> None:
    if o.memo is not True and o.memo != "edited":
        raise ConfigError(
            f"memo={o.memo!r} is not known.{nearest(str(o.memo), ['edited'])} Use True, 'edited' or False."
        )
    for name in ("key", "unique", "after", "countdown", "eta"):
        if getattr(o, name) not in (None, ()):
            raise ConfigError(f"memo= and {name}= exclude each other: what is remembered is there at once.")


_POSITIVE = (
    "time_limit",
    "soft_time_limit",
    "memory_limit",
    "max_deliveries",
    "chunksize",
    "max_parallel",
    "run_parallel",
    "max_pending",
)
_QUEUE = re.compile(r"[A-Za-z0-9_.\-/]{1,128}")
