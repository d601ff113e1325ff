"""What looking at workers and telling them needs: the store, whom it may speak to, and what it may open."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from taskflow.codec import Keyring
from taskflow.control import Control
from taskflow.errors import UsageError
from taskflow.ids import NodeId
from taskflow.ports import Store
from taskflow.records import WorkerView

__all__ = ["Arguments", "Desk", "Replies"]

Arguments = Callable[[NodeId, int | None], tuple[tuple[Any, ...], dict[str, Any]]]
"""The arguments of a call, or of one item of a map."""
Replies = dict[str, Any]


class Desk:
    """A store, as ``app.control`` and ``taskflow inspect`` see it.

    Args:
        store: Whose workers and tasks.
        keyring: What is told is sealed with it; the user's own by default.
        arguments: Opens the arguments of a call; without it they are not told.
        flush: Sends what this process has gathered, before anything is looked up.
        tasks: The tasks that are known here, by name, for what is told of them.
    """

    def __init__(
        self,
        store: Store,
        *,
        keyring: Keyring | None = None,
        arguments: Arguments | None = None,
        flush: Callable[[], object] | None = None,
        tasks: Mapping[str, Any] | None = None,
    ) -> None:
        self.store, self.arguments = store, arguments
        self.flush = flush or (lambda: None)
        self.tasks: Mapping[str, Any] = tasks or {}
        self.control = Control(store, keyring=keyring)

    @classmethod
    def of(cls, client: Any, tasks: Mapping[str, Any] | None = None) -> Desk:
        """That of a client.

        Raises:
            UsageError: The client runs everything inline: there are no workers.
        """
        engine = client._engine
        if engine.inline:
            raise UsageError("An inline client runs everything itself: there are no workers to ask or tell.")
        return cls(
            engine.store,
            keyring=engine.codec.keyring,
            arguments=engine.call_of,
            flush=engine.flush,
            tasks=tasks,
        )

    def there(self) -> list[WorkerView]:
        """The workers that were heard of in the last minute, by name."""
        return sorted(self.store.workers(), key=lambda view: str(view.id))

    def meant(
        self,
        destination: Iterable[str] | str | None = None,
        pattern: str | None = None,
        matcher: str = "glob",
    ) -> list[str] | None:
        """The names of workers that are meant; `None` for all.

        Args:
            destination: Names, or prefixes that only one has.
            pattern: Those whose name is like this.
            matcher: ``"glob"`` or ``"pcre"``: how the pattern is written.

        Raises:
            UsageError: There is no such matcher.
        """
        if destination is not None:
            return [destination] if isinstance(destination, str) else list(destination)
        if pattern is None:
            return None
        if matcher not in ("glob", "pcre"):
            raise UsageError(f"There is no matcher {matcher!r}: use 'glob' or 'pcre'.")
        import re

        found = re.compile(fnmatch.translate(pattern) if matcher == "glob" else pattern)
        return [str(view.id) for view in self.there() if found.match(str(view.id))]

    def asked(
        self, destination: Sequence[str] | None, timeout: float, limit: int | None = None
    ) -> list[WorkerView]:
        """Workers that have just said how they are, by name: those that answered in time."""
        if destination == [] or not self.store.workers():
            return []
        told = self.control.ask(worker=destination, timeout=timeout)
        answered = [view for view in self.there() if str(view.id) in told.followed]
        return answered if limit is None else answered[:limit]
