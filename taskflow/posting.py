"""`Paper`: what is posted in a store under a name, as JSON that nobody without the key can write.

Many read it, and one at a time changes it; who was second looks again, and makes the change anew.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from typing import Any

from taskflow.codec import Keyring
from taskflow.codec.signing import Purpose
from taskflow.errors import StoreUnavailable, Untrusted
from taskflow.ports import PostPort

__all__ = ["Paper"]

FORMAT = 1
MOST_TRIES = 50


class Paper:
    """A posted text; safe to use from threads.

    Args:
        store: Where it is posted.
        keyring: Seals and opens it.
        name: Under which name. It is sealed together with it and its revision: neither another text nor an
            older one can stand in its place.
        empty: What it says before anybody has written.

    Attributes:
        value: What it said when it was looked at last; not to be changed in place.
        revision: How often it had been changed; -1 before the first look.
    """

    def __init__(self, store: PostPort, keyring: Keyring, name: str, empty: Any) -> None:
        self._store, self._keyring, self._name, self._empty = store, keyring, name, empty
        self._lock = threading.RLock()
        self.value = empty
        self.revision = -1

    def look(self) -> bool:
        """Read it, if it was changed since; tells whether it was.

        Raises:
            Untrusted: Nobody who has the key has written it, or another release has; it was not read.
        """
        with self._lock:
            found = self._store.posted(self._name, self.revision)
            if found is None:
                return False
            self.value = self._opened(found.body, found.revision) if found.body else self._empty
            self.revision = found.revision
            return True

    def change(self, edit: Callable[[Any], Any]) -> Any:
        """Put what `edit` makes of it in its place; what it says now.

        Args:
            edit: Is given what it says, and gives what it is to say: something equal changes nothing. It may
                be called several times, also with what it has made itself, when the answer of the store was
                lost: made twice, a change must be the same as made once.

        Raises:
            Untrusted: See `look`.
            StoreUnavailable: Others change it all the time.
        """
        with self._lock:
            for _ in range(MOST_TRIES):
                self.look()
                new = edit(self.value)
                if new == self.value:
                    return new
                if self._store.post(self._name, self.revision, self._sealed(new, self.revision + 1)):
                    self.value, self.revision = new, self.revision + 1
                    return new
        raise StoreUnavailable(f"Others change {self._name!r} all the time: try again.")

    def _sealed(self, value: Any, revision: int) -> bytes:
        body = json.dumps([FORMAT, revision, value], separators=(",", ":")).encode()
        return self._keyring.seal(Purpose.CONTROL, 0, self._context, body)

    def _opened(self, sealed: bytes, revision: int) -> Any:
        try:
            form, known, value = json.loads(self._keyring.open(Purpose.CONTROL, self._context, sealed)[1])
        except Untrusted as error:
            raise Untrusted(
                f"What is posted as {self._name!r} was written by somebody else. {error}"
            ) from error
        if form != FORMAT or known != revision:
            raise Untrusted(
                f"What is posted as {self._name!r} is of format {form} and revision {known}, instead of"
                f" {FORMAT} and {revision}: another release wrote it, or somebody put an old one back."
            )
        return value

    @property
    def _context(self) -> bytes:
        return f"posted/{self._name}".encode()
