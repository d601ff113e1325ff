"""Who is measured: one file each, in the order of the columns."""

from __future__ import annotations

from importlib import import_module

from benchmarks.subject import Subject

__all__ = ["NAMES", "ON_REDIS", "load"]

NAMES = (
    "taskflow",
    "futures",
    "futures_chunked",
    "pool",
    "joblib",
    "mpire",
    "dask",
    "ray",
    "ipyparallel",
    "floor",
)
ON_REDIS = (
    *("taskflow_redis", "taskflow_app", "celery", "celery_chunked", "huey", "dramatiq", "rq", "dask", "ray"),
)


def load(name: str) -> type[Subject]:
    """The class of a subject; its library need not be there."""
    found: type[Subject] = import_module(f"benchmarks.subjects.{name}").SUBJECT
    return found
