"""Which application a command is about: what ``-A``, ``-b``, ``--result-backend`` and ``--config`` say."""

from __future__ import annotations

from typing import Any, NamedTuple

from taskflow.errors import UsageError

__all__ = ["Sought"]


class Sought(NamedTuple):
    """An application as the command line names it.

    Args:
        name: Module, or module and variable.
        config: A module of settings; with it and no name there is an application without tasks.
        broker: Its store, in place of its own.
        backend: Where its results are put as well, in place of its own.
    """

    name: str | None = None
    config: str | None = None
    broker: str | None = None
    backend: str | None = None

    @property
    def is_named(self) -> bool:
        """Whether there is one."""
        return bool(self.name or self.config)

    def find(self) -> Any:
        """The application, with its tasks.

        Raises:
            UsageError: None was named; ConfigError: There is none of that name.
        """
        if not self.is_named:
            raise UsageError("Which application? Name its module: taskflow -A proj …")
        from taskflow.app import Taskflow, find_app
        from taskflow.stores import default_url

        app = find_app(self.name) if self.name else Taskflow("default")
        if self.config:
            app.config_from_object(self.config)
        if self.broker or not app.conf.broker_url:
            app.conf.broker_url = self.broker or default_url()  # named, so that no command starts workers
        if self.backend:
            app.conf.result_backend = self.backend
        app.finalize()
        return app
