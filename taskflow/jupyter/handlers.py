"""What the Jupyter server answers about runs: JSON, by its own rules of who may ask.

Stores are read in threads of their own, never on the server's event loop.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from jupyter_server.auth.decorator import authorized
from jupyter_server.base.handlers import APIHandler
from jupyter_server.utils import url_path_join
from tornado.web import authenticated

from taskflow.errors import NoSuchRun, ResultExpired, TaskflowError, UsageError
from taskflow.jupyter.desk import Desk
from taskflow.jupyter.hub import Hub
from taskflow.jupyter.shelf import TROUBLE
from taskflow.jupyter.sockets import EventsHandler

__all__ = ["routes"]

READ_ONLY = (
    "This Jupyter server only shows runs: its configuration says Panel.read_only. Use the kernel instead."
)
_RUN_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_STATUS: Mapping[type[Exception], int] = {NoSuchRun: 404, ResultExpired: 410, UsageError: 400}


def routes(base_url: str, desk: Desk) -> list[tuple[Any, ...]]:
    """The handlers, for a server with that base URL."""
    where, given = partial(url_path_join, base_url, "taskflow", "api"), {"desk": desk}
    return [
        (where("runs"), RunsHandler, given),
        (where("runs", "([^/]+)"), RunHandler, given),
        (where("runs", "([^/]+)", "ask"), AskHandler, given),
        (where("runs", "([^/]+)", "(cancel|retry)"), ActHandler, given),
        (where("workers"), WorkersHandler, given),
        (where("events"), EventsHandler, {"hub": Hub(desk)}),
    ]


class _Handler(APIHandler):  # type: ignore[misc]
    """Answers in JSON, errors too: ``message`` says what happened and what to do."""

    auth_resource = "taskflow"

    def initialize(self, desk: Desk) -> None:
        """Take the desk of the server."""
        self._desk = desk

    async def _answer(self, question: Callable[[], Any]) -> None:
        try:
            answer = await asyncio.get_running_loop().run_in_executor(self._desk.threads, question)
        except (TaskflowError, OSError) as error:
            self._refuse(_status(error), type(error).__name__, str(error))
        else:
            self.finish(json.dumps(answer))

    def _refuse(self, status: int, kind: str, message: str) -> None:
        self.set_status(status)
        self.finish(json.dumps({"error": kind, "message": message}))

    def _is_id(self, run: str) -> bool:
        """Whether that can be a run; else it is refused."""
        if _RUN_ID.fullmatch(run):
            return True
        self._refuse(400, "UsageError", "That is not the id of a run: they look like 019a9a3b-4f21-7….")
        return False

    def _number(self, name: str, default: int) -> int:
        text = self.get_query_argument(name, str(default))
        if not (text.isascii() and text.isdecimal() and len(text) < 10):
            raise UsageError(f"{name}={text!r} is no number: write one, such as {default}.")
        return int(text)


class RunsHandler(_Handler):
    """The runs of all stores, a page at a time."""

    @authenticated  # type: ignore[untyped-decorator]
    @authorized  # type: ignore[untyped-decorator]
    async def get(self) -> None:
        """See `Desk.runs`."""
        words = {name: self.get_query_argument(name, "") for name in ("match", "state")}
        await self._answer(
            lambda: self._desk.runs(page=self._number("page", 0), size=self._number("size", 50), **words)
        )


class RunHandler(_Handler):
    """One run."""

    @authenticated  # type: ignore[untyped-decorator]
    @authorized  # type: ignore[untyped-decorator]
    async def get(self, run: str) -> None:
        """See `Desk.snapshot`."""
        if self._is_id(run):
            await self._answer(partial(self._desk.snapshot, run))


class AskHandler(_Handler):
    """Questions about one run; they change nothing, though they come by POST."""

    @authenticated  # type: ignore[untyped-decorator]
    @authorized(action="read")  # type: ignore[untyped-decorator]
    async def post(self, run: str) -> None:
        """See `Desk.ask`."""
        query = self._query()
        if query is None:
            self._refuse(400, "UsageError", 'The body is to be a question in JSON, such as {"what": "rows"}.')
        elif self._is_id(run):
            await self._answer(partial(self._desk.ask, run, query))

    def _query(self) -> Mapping[str, Any] | None:
        try:
            query = json.loads(self.request.body)
        except ValueError:
            return None
        return query if isinstance(query, dict) else None


class ActHandler(_Handler):
    """What changes a run: these two verbs, and no others."""

    @authenticated  # type: ignore[untyped-decorator]
    @authorized  # type: ignore[untyped-decorator]
    async def post(self, run: str, verb: str) -> None:
        """See `Desk.act`."""
        if self._desk.read_only:
            self._refuse(403, "ReadOnly", READ_ONLY)
        elif self._is_id(run):
            await self._answer(partial(self._desk.act, run, verb))


class WorkersHandler(_Handler):
    """The workers of all stores."""

    @authenticated  # type: ignore[untyped-decorator]
    @authorized  # type: ignore[untyped-decorator]
    async def get(self) -> None:
        """See `Desk.workers`."""
        await self._answer(lambda: {"stores": self._desk.stores(), "workers": self._desk.workers()})


def _status(error: Exception) -> int:
    """The nearest word of HTTP: what cannot be asked now is unavailable, though it may be a wrong setting."""
    if isinstance(error, TROUBLE):
        return 503
    return next((status for kind, status in _STATUS.items() if isinstance(error, kind)), 500)
