"""Partitions are written to files, by the workers."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from taskflow.errors import UsageError
from taskflow.frames import kinds
from taskflow.frames.places import Place

__all__ = ["Written", "fresh_directory"]


@dataclass(frozen=True)
class Written:
    """Writes a partition to a file of a directory; whoever looks sees all of it, or nothing."""

    directory: str
    options: dict[str, Any]

    wants_place: ClassVar[bool] = True

    def __call__(self, data: Any, place: Place) -> str:
        """The path."""
        path = Path(self.directory, f"part-{place.index:05}.parquet")
        part = path.with_name(f".{path.name}.{os.getpid()}")
        kind = kinds.kind_of(data)
        if kind == "polars":
            data.write_parquet(part, **self.options)
        elif kind == "arrow":
            from pyarrow import parquet

            parquet.write_table(data, part, **self.options)
        else:
            (data.to_frame() if data.ndim == 1 else data).to_parquet(part, **self.options)
        part.replace(path)
        return str(path)


def fresh_directory(directory: Any) -> str:
    """A directory that holds no Parquet files; made if it is not there.

    Raises:
        UsageError: It holds some.
    """
    place = Path(directory).expanduser().absolute()
    place.mkdir(parents=True, exist_ok=True)
    if any(place.glob("*.parquet")):
        raise UsageError(f"There are Parquet files in {str(place)!r} already: choose another directory.")
    return str(place)
