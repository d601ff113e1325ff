"""The end of the process: a script waits for the work it submitted, a notebook does not."""

from __future__ import annotations

import atexit
import os
import sys
import weakref
from typing import TYPE_CHECKING

from taskflow.errors import StoreError
from taskflow.pools import context

if TYPE_CHECKING:
    from taskflow.engine import Engine

__all__ = ["engines"]

engines: weakref.WeakSet[Engine] = weakref.WeakSet()
"""Those that are open: they are closed when the process ends."""


def _interactive() -> bool:
    return hasattr(sys, "ps1") or "ipykernel" in sys.modules


def _is_awaited(engine: Engine) -> bool:
    """Whether the end of the process waits for what is pending: not after Ctrl-C, and not inside a worker."""
    return not (
        engine.was_interrupted or engine.crew.terms.detach or _interactive() or context.place() is not None
    )


@atexit.register
def _at_exit() -> None:
    """A script waits for the work it submitted, as with the standard executors; a notebook does not."""
    for engine in list(engines):
        if engine.closed or engine.pid != os.getpid():
            continue
        try:
            if engine.feed.pending and _is_awaited(engine):
                if sys.stderr.isatty():
                    print(
                        f"taskflow: waiting for {engine.feed.pending} tasks (Ctrl-C stops waiting)",
                        file=sys.stderr,
                    )
                engine.wait_all(None)
        except KeyboardInterrupt:
            pass
        except StoreError as error:
            print(f"taskflow: what was submitted could not be waited for: {error}", file=sys.stderr)
        finally:
            engine.close()
