"""The client that a notebook uses."""

from __future__ import annotations

from typing import Any

import taskflow.client as clients
from taskflow.client import Client
from taskflow.stores import place_of

__all__ = ["Session"]


class Session:
    """Finds, starts and stops the client of this kernel; it is the one of `taskflow.get_client` too."""

    def __init__(self) -> None:
        self._options: dict[str, Any] = {}

    @property
    def started(self) -> Client | None:
        """The client, if there is one."""
        return clients.open_client()

    @property
    def client(self) -> Client:
        """The client, with the options that `configure` was given; it is started when there is none."""
        client = clients.get_client()
        return client.options(**self._options) if self._options else client

    @property
    def options(self) -> dict[str, Any]:
        """What `configure` was given."""
        return dict(self._options)

    def start(self, url: str | None = None, **terms: Any) -> tuple[Client, bool]:
        """Have a client: the one there is when it is for that store, else a new one; and whether it is new.

        Args:
            url: The store; your own by default.
            terms: What `Client` takes, for a new one.
        """
        known = self.started
        if known is not None and (url is None or place_of(known.url) == place_of(url)) and not terms:
            return known, False
        new = Client(url, **terms)
        clients.set_client(new)
        if known is not None:
            known.shutdown(wait=False)
        return new, True

    def stop(self) -> bool:
        """Stop the client and the workers it has started; what runs is given back. Whether there was one."""
        known = self.started
        if known is not None:
            known.shutdown(wait=False)
        return known is not None

    def configure(self, **options: Any) -> None:
        """Send everything from now on with these options; `None` forgets one.

        Raises:
            ConfigError: There is no such option, or its value is impossible.
        """
        wanted = {**self._options, **options}
        wanted = {name: value for name, value in wanted.items() if value is not None}
        clients.get_client().options(**wanted)
        self._options = wanted
