"""What each pool keeps: one table, which the documentation shows and the contract suite asserts."""

from __future__ import annotations

from taskflow.ports import Promises

__all__ = ["ENGINES", "PROMISES"]

ENGINES = ("dask", "ray", "celery")
"""Clusters that are already there: this package has a module for each."""

_THREADS = Promises(hard_limit=False, memory_limit=False, force=False, dies_alone=False)

PROMISES: dict[str, Promises] = {
    "process": Promises(),
    "thread": _THREADS,
    "async": _THREADS,
    "inline": Promises(*[False] * 9),
    "dask": _THREADS._replace(deep_output=False),
    "ray": Promises(memory_limit=False, deep_output=False),
    "celery": Promises(memory_limit=False, deep_output=False, lends=False),
}
"""By the name of the pool."""
