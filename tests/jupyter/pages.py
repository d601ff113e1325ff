"""A page of a Jupyter server, as far as its socket goes."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import websocket

from tests.jupyter_servers import Jupyter

__all__ = ["Told", "page"]


class Told:
    """What a page was told, all of it in order; `rows` is its list of runs."""

    def __init__(self, socket: websocket.WebSocket) -> None:
        self._socket = socket
        self.messages: list[dict[str, Any]] = []
        self.rows: dict[str, dict[str, Any]] = {}

    def want(self, *runs: str, workers: bool = False) -> None:
        self._socket.send(json.dumps({"watch": list(runs), "workers": workers}))

    def until(self, is_it: Callable[[dict[str, Any]], Any], within_s: float = 30.0) -> dict[str, Any]:
        """The first message from now on that is like this."""
        end = time.monotonic() + within_s
        while True:
            self._socket.settimeout(max(0.01, end - time.monotonic()))
            message = json.loads(self._socket.recv())
            self.messages.append(message)
            if message["kind"] == "list":
                self.rows.update({row["run"]: row for row in message["runs"]})
                for run in message["gone"]:
                    del self.rows[run]
            if is_it(message):
                return message

    def until_listed(self, run: str, is_it: Callable[[dict[str, Any]], Any], within_s: float = 30.0) -> None:
        """Wait until the row of a run is like this; it may have been told before."""
        if not is_it(self.rows.get(run, {})):
            self.until(lambda message: is_it(self.rows.get(run, {})), within_s)


@contextmanager
def page(server: Jupyter) -> Iterator[Told]:
    """A page that is open while the block lasts."""
    url = server.url.replace("http", "ws", 1) + f"taskflow/api/events?token={server.token}"
    socket = websocket.create_connection(url, timeout=30)
    try:
        yield Told(socket)
    finally:
        socket.close()
        socket.shutdown()  # also where the server has closed it before
