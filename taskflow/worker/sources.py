"""Whether the source files of an application have changed: what ``--autoreload`` looks at."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

__all__ = ["Sources"]

LOOK_S = 0.5
FILES_MOST = 20_000
_SKIPPED = frozenset({"__pycache__", "node_modules", "site-packages"})


class Sources:
    """The Python files below a folder; hidden folders and environments are left out.

    Args:
        folder: Where they are.
    """

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._known = dict(self._stamps())

    def changed(self) -> str | None:
        """A file that was changed, added or removed since the last look; `None` when there is none."""
        before, self._known = self._known, dict(self._stamps())
        found = before.items() ^ self._known.items()
        return min(found)[0] if found else None

    def watch(self, tell: Callable[[str], object], *, look_s: float = LOOK_S) -> threading.Thread:
        """Look again and again, in a thread; `tell` is called once, with the first file that has changed."""

        def look() -> None:
            pause = threading.Event()
            while not pause.wait(look_s):
                file = self.changed()
                if file is not None:
                    tell(file)
                    return

        thread = threading.Thread(target=look, name="taskflow-autoreload", daemon=True)
        thread.start()
        return thread

    def _stamps(self) -> Iterator[tuple[str, int]]:
        count = 0
        for folder, folders, files in os.walk(self._folder):
            folders[:] = [name for name in folders if _belongs(folder, name)]
            for name in files:
                if name.endswith(".py"):
                    count += 1
                    if count > FILES_MOST:
                        return
                    with suppress(FileNotFoundError):
                        path = Path(folder, name)
                        yield str(path), path.stat().st_mtime_ns


def _belongs(folder: str, name: str) -> bool:
    hidden = name.startswith(".") or name in _SKIPPED
    return not hidden and not (Path(folder) / name / "pyvenv.cfg").exists()
