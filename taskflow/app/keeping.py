"""`Keeping`: what became of tasks, put where an application wants to have it beside its store."""

from __future__ import annotations

import logging
import os
import time
from typing import TYPE_CHECKING

from taskflow.app.request import Request
from taskflow.backends import Keeper, is_backend, open_keeper
from taskflow.links import shown
from taskflow.settings import Settings

if TYPE_CHECKING:
    from taskflow.pools.context import Request as Item

__all__ = ["Keeping"]

SWEEP_EVERY_S = 3600.0

log = logging.getLogger("taskflow.app")


class Keeping:
    """Puts results into the place that the setting `result_backend` names, if that is one.

    The process that ran a task does it, before the store hears of the end. A place that does not answer
    changes no outcome: it is logged, and the store has the result in any case.

    Args:
        conf: The settings.
    """

    def __init__(self, conf: Settings) -> None:
        self._conf = conf
        self._open: tuple[int, str, Keeper] | None = None
        self._sweep_at = 0.0
        self._seen = -1
        self._url: str | None = None

    @property
    def url(self) -> str | None:
        """The place; `None` where the store alone has results."""
        if self._seen != self._conf.version:
            url = self._conf.result_backend
            self._url, self._seen = url if url and is_backend(url) else None, self._conf.version
        return self._url

    @property
    def keeper(self) -> Keeper | None:
        """Who puts and reads there; made in each process when it is first wanted.

        Raises:
            ConfigError: There is no such place; MissingExtra: what reaches it is not installed.
        """
        url = self.url
        if url is None:
            return None
        if self._open is None or self._open[:2] != (os.getpid(), url):
            self._open = (os.getpid(), url, open_keeper(url))
        return self._open[2]

    def keep(self, request: Request, item: Item, value: object, error: BaseException | None) -> None:
        """Put what became of a task.

        Args:
            request: What ran.
            item: The same, as the pool knows it.
            value: What it gave.
            error: What it raised.
        """
        if request.ignore_result or request.id is None:
            return
        try:
            keeper = self.keeper
            if keeper is None:
                return
            keeper.keep(
                request.id,
                value=value,
                error=error,
                name=request.task.name,
                args=request.args,
                kwargs=request.kwargs,
                worker=request.hostname,
                queue=item.queue,
                retries=request.retries,
                run=item.run,
                fence=item.fence,
            )
            self._sweep(keeper)
        except Exception:
            where = shown(self.url or "")
            log.exception(
                "What %s[%s] gave is in the store, and not in %s", request.task.name, request.id, where
            )

    def _sweep(self, keeper: Keeper) -> None:
        """Forget what is too old, now and then."""
        now, age_s = time.monotonic(), self._conf.result_expires
        if age_s and now >= self._sweep_at:
            self._sweep_at = now + SWEEP_EVERY_S
            keeper.place.sweep(age_s)
