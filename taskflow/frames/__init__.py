"""DataFrames by partition: pandas, polars and pyarrow tables, worked on where the workers are.

`map_partitions` is for a frame that is here, and comes back. A `Frame` stays in the store: it is read from
files by the workers, or was put there by `from_pandas`, and comes here only when it is asked for. Importing
this registers ``df.taskflow``, without importing pandas; the names below are loaded on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from taskflow.frames.accessor import register

if TYPE_CHECKING:
    from taskflow.frames.files import read_csv, read_parquet
    from taskflow.frames.frame import Frame, from_pandas
    from taskflow.frames.groups import Groups
    from taskflow.frames.mapping import map_partitions

__all__ = ["Frame", "Groups", "from_pandas", "map_partitions", "read_csv", "read_parquet"]

_ROOM_OF = {
    "Frame": "frame",
    "Groups": "groups",
    "from_pandas": "frame",
    "map_partitions": "mapping",
    "read_csv": "files",
    "read_parquet": "files",
}

register()


def __getattr__(name: str) -> Any:
    """Load a public name on its first use (PEP 562)."""
    if name not in _ROOM_OF:
        raise AttributeError(f"module 'taskflow.frames' has no attribute {name!r}")
    value = getattr(import_module(f"taskflow.frames.{_ROOM_OF[name]}"), name)
    globals()[name] = value
    return value
