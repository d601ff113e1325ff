"""No two of a kind at once: how a task says so."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from typing import Any, Literal, get_args

from taskflow.errors import ConfigError, nearest

__all__ = ["OnDuplicate", "Unique"]

OnDuplicate = Literal["return", "skip", "raise", "replace"]
Until = Literal["started", "finished", "expired"]


@dataclass(frozen=True)
class Unique:
    """That no two of a kind are there at once, in the whole store, whoever submits them.

    The lock is taken in the step in which the task is stored, and let go in the step in which it starts or
    ends, however it ends; or after `ttl`, whatever has become of it. What is sent as a whole is locked as a
    whole: a call, a map, a canvas, a workflow. A rerun of what failed takes no lock.

    Args:
        key: What makes two of a kind: by default the function and its arguments (those whose pickles are
            equal); a text, which is the same for all that give it; or a function that is called with the
            arguments, and whose answer counts together with the name of the task.
        until: ``"finished"``: no second one is there before the first has ended. ``"started"``: before it has
            begun to run; so one waits while another runs. ``"expired"``: before `ttl` is over, though the
            first has succeeded, as long as the store has its result; one that failed is not in the way. That
            is what ``idempotency_key=`` means.
        ttl: Seconds after which the lock is let go in any case, on the clock of the store. Choose it longer
            than the task may wait and run.
        on_duplicate: What becomes of the second: ``"return"`` gives the handle of the first, ``"raise"``
            raises `Duplicate`, ``"skip"`` stores it as *skipped*, so that what depends on it is skipped too.
            ``"replace"`` cancels the first and takes its place; one that has started already is not
            interrupted, and `Duplicate` is raised. The last two are for single calls and maps.

    Raises:
        ConfigError: A value is impossible.

    Example:
        ``client.options(unique=Unique(lambda order: order["id"])).submit(bill, order)``
    """

    key: str | Callable[..., Any] | None = None
    _: KW_ONLY
    until: Until = "finished"
    ttl: float = 3600.0
    on_duplicate: OnDuplicate = "return"

    def __post_init__(self) -> None:
        for name, known in (("until", get_args(Until)), ("on_duplicate", get_args(OnDuplicate))):
            value = getattr(self, name)
            if value not in known:
                raise ConfigError(
                    f"{name}={value!r} is not known.{nearest(str(value), known)} Use one of {known}."
                )
        if not self.ttl > 0:
            raise ConfigError(f"ttl={self.ttl} is not possible: use a number of seconds above 0.")
        if self.key is not None and not callable(self.key) and not (isinstance(self.key, str) and self.key):
            raise ConfigError(
                f"key={self.key!r} is not possible: use a text, a function of the arguments, or None for all"
                " of them."
            )
