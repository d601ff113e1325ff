"""Asking a store that may be away: locked, full, or not reachable for a while."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, TypeVar

from taskflow.errors import QueueFull, StoreUnavailable
from taskflow.policy import backoff_s, roll

__all__ = ["Away", "Patience"]

T = TypeVar("T")
log = logging.getLogger(__name__)


class Away(Exception):
    """The store did not answer; it will be asked again. A turn of the loop ends, nothing more."""


class Patience:
    """Waits longer and longer between questions, up to `cap_s`.

    Args:
        clock: A steady clock, seconds.
        cap_s: The longest wait.

    Attributes:
        until: The store should not be asked before this.
    """

    def __init__(self, clock: Callable[[], float], *, cap_s: float) -> None:
        self.until = 0.0
        self._clock, self._cap_s = clock, cap_s
        self._failures = 0
        self._said = False

    def ask(self, verb: Callable[..., T], *args: Any, **named: Any) -> T:
        """Call a verb of the store; every verb may be repeated.

        Raises:
            Away: The store passes through something that will pass.
        """
        try:
            answer = verb(*args, **named)
        except Exception as error:
            if not _passes(error):
                raise
            self._failures += 1
            if self._failures == 1 and not self._is_told(error):
                log.warning("store away: %s", error, extra={"action": "wait"})
            wait_s = backoff_s(self._failures, base_s=0.05, factor=2.0, cap_s=self._cap_s)
            self.until = self._clock() + wait_s * (0.5 + roll() / 2)
            raise Away from error
        if self._failures:
            if self._said:
                log.warning("store is back", extra={"action": "resume"})
            self._failures, self.until = 0, 0.0
        return answer

    def _is_told(self, error: Exception) -> bool:
        """Whether people know already: who asks a server says that it is away, and that it is back."""
        self._said = not getattr(error, "told", False)
        return not self._said


def _passes(error: Exception) -> bool:
    """Whether to try again: the store is locked, full or unreachable, all of which pass."""
    if isinstance(error, StoreUnavailable | QueueFull | ConnectionError):
        return True
    return type(error).__name__ == "OperationalError" and any(
        word in str(error) for word in ("locked", "busy", "full")
    )
