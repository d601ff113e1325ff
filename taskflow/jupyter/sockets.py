"""The one WebSocket of a page.

The page says what it wants to see, all of it each time::

    {"watch": ["019a…", …], "workers": true}

and is told, at most ten times a second, and only of what changed::

    {"kind": "list", "whole": true, "runs": [row, …], "gone": [], "stores": […], "more": false,
     "read_only": false}
    {"kind": "run", "run": "019a…", "snapshot": {…}}        # or null, with a "message"
    {"kind": "workers", "workers": [row, …]}
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

from jupyter_server.auth.decorator import authorized
from jupyter_server.base.handlers import JupyterHandler
from jupyter_server.base.websocket import WebSocketMixin
from tornado.web import HTTPError
from tornado.websocket import WebSocketClosedError, WebSocketHandler

from taskflow.jupyter.hub import Hub, Page

__all__ = ["EventsHandler"]

REFUSED = 1007
"""The close code for a message that makes no sense (RFC 6455, 7.4.1)."""


class EventsHandler(WebSocketMixin, WebSocketHandler, JupyterHandler):  # type: ignore[misc]
    """Tells one page what changes. A page that reads slowly is told less often, and nothing old."""

    auth_resource = "taskflow"

    def initialize(self, hub: Hub) -> None:
        """Take the hub of the server."""
        self._hub = hub
        self._pump: asyncio.Task[None] | None = None

    async def get(self, *args: Any, **kwargs: Any) -> None:
        """Ask who it is while it can still be refused: what follows is no request any more."""
        if self.current_user is None:
            raise HTTPError(403)
        await self._upgrade(*args, **kwargs)

    @authorized(action="read", resource="taskflow")  # type: ignore[untyped-decorator]
    async def _upgrade(self, *args: Any, **kwargs: Any) -> None:
        await super().get(*args, **kwargs)

    async def open(self, *args: Any, **kwargs: Any) -> None:
        """The page is there."""
        super().open(*args, **kwargs)
        self._rang = asyncio.Event()
        self._page = Page(self._rang.set)
        self._pump = asyncio.create_task(self._tell())
        self._hub.join(self._page)

    def on_message(self, message: str | bytes) -> None:
        """The page says what it wants to see."""
        try:
            self._page.want(json.loads(message))
        except ValueError as error:
            self.close(REFUSED, f"not understood: {error}"[:100])
            return
        self._hub.wants_changed()
        self._rang.set()

    def on_close(self) -> None:
        """The page is gone."""
        if self._pump is not None:
            self._pump.cancel()
            self._hub.leave(self._page)

    async def _tell(self) -> None:
        try:
            while await self._rang.wait():
                self._rang.clear()
                for message in self._page.news(self._hub):
                    await self.write_message(message)
        except WebSocketClosedError:
            return
