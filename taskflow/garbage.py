"""The collector of cycles, kept still while much is made that stays."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["uncollected"]


@contextmanager
def uncollected() -> Iterator[None]:
    """Nothing is looked through for cycles inside, in no thread: what is made there must be going to stay.

    CPython goes through all objects whenever there are a quarter more of them. Of the time to draw a graph of
    100,000 nodes that was more than a quarter, and nothing was ever found.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
