"""Frames of files, which are read and written by the workers; here only their sizes are looked at.

A CSV file is cut at line ends where that is safe: its options treat each line by itself, and no value is
quoted, so that each line end ends a row. Whether that is so, and which rows each part holds, the workers say.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from taskflow import hooks
from taskflow.errors import ConfigError, UsageError, nearest
from taskflow.frames import kinds
from taskflow.frames.drawing import Drawn, Feed, Source
from taskflow.frames.frame import Frame
from taskflow.frames.places import Place
from taskflow.workflow.partitions import Partition
from taskflow.workflow.sources import Paths, blocks, paths_of

__all__ = ["read_csv", "read_parquet"]

BLOCK_BYTES = 64 << 20

_LINE_BY_LINE = frozenset({
    "cache_dates", "converters", "date_format", "dayfirst", "decimal", "delimiter", "dtype", "dtype_backend",
    "encoding", "engine", "false_values", "float_precision", "header", "index_col", "keep_default_na",
    "low_memory", "na_filter", "na_values", "names", "parse_dates", "sep", "skipinitialspace", "thousands",
    "true_values", "usecols",
})  # fmt: skip
"""Options of pandas that treat each line by itself: a part of a file means what it means in the whole."""

_ONE_BYTE_LINES = ("ascii", "utf-8", "utf-8-sig", "utf8", "latin-1", "latin1", "iso-8859-1", "cp1252")
_REFUSED = ("chunksize", "iterator")


# ── what people write ────────────────────────────────────────────────────────────────


def read_csv(
    paths: Paths, *, block_bytes: int | None = BLOCK_BYTES, client: Any = None, **options: Any
) -> Frame:
    """A frame of CSV files, which the workers read: ``concat([read_csv(path) …])`` of pandas.

    A file longer than `block_bytes` becomes several partitions, cut where lines end: if no value in it is
    quoted, no line is empty, and the options treat each line by itself. Else it is one partition. Workers
    look through such a file for that, once, when this is called; else nothing is read before it is wanted.

    Types are found by pandas in each partition. Where they may differ (whole numbers here, and there one that
    is missing), say them: ``dtype={"x": "float64"}``.

    Args:
        paths: A path, a pattern such as ``"data/*.csv"``, or several of either; the same for every worker.
        block_bytes: About the size of a partition; `None` cuts no file.
        client: Where it runs; the current client by default.
        options: As `pandas.read_csv` takes them.

    Raises:
        UsageError: There is no such file, or none that matches.
        ConfigError: An option is impossible.
        MissingExtra: pandas is not installed.

    Example:
        ``taskflow.read_csv("data/*.csv", parse_dates=["day"]).groupby("day").size().to_pandas()``
    """
    kinds.need("pandas")
    for name in _REFUSED:
        if name in options:
            raise ConfigError(
                f"{name}= is not for a Frame, which is read in partitions anyway: leave it out."
            )
    if block_bytes is not None and (not isinstance(block_bytes, int) or block_bytes < 1):
        raise ConfigError(f"block_bytes={block_bytes!r} is not possible: use a number above 0, or None.")
    found = [str(path) for path in paths_of(paths)]
    client = client or hooks.current_client()
    cut = block_bytes if block_bytes is not None and _is_line_by_line(options) else None
    parts = [part for parts in _cut(found, cut, _has_header(options), client) for part in parts]
    files = [replace(part, options=options) for part in parts]
    return Frame(FileParts(files), client=client)


def read_parquet(
    paths: Paths, *, columns: list[str] | None = None, kind: Literal["pandas", "polars", "arrow"] = "pandas",
    block_bytes: int = BLOCK_BYTES, client: Any = None, **options: Any,
) -> Frame:  # fmt: skip
    """A frame of Parquet files, which the workers read: ``concat([read_parquet(path) …])`` of pandas.

    Row groups that stand side by side become a partition, up to `block_bytes`; here only the end of each file
    is read, which says where they are.

    Args:
        paths: A path, a pattern such as ``"data/*.parquet"``, or several of either; the same for all workers.
        columns: Read only these.
        kind: What the partitions are: DataFrames of pandas or polars, or pyarrow Tables.
        block_bytes: About the size of a partition, before compression; a row group is never cut.
        client: Where it runs; the current client by default.
        options: As `pandas.read_parquet` takes them; then each file is one partition.

    Raises:
        UsageError: There is no such file, or none that matches.
        ConfigError: An option is impossible.
        MissingExtra: What reads them is not installed.

    Example:
        ``taskflow.read_parquet("data/*.parquet", columns=["city", "price"]).head()``
    """
    kinds.need("pyarrow")
    if kind not in (known := ("pandas", "polars", "arrow")):
        raise ConfigError(f"kind={kind!r} is not known.{nearest(kind, known)} Use one of {known}.")
    if kind != "arrow":
        kinds.need(kind)
    if options and kind != "pandas":
        raise ConfigError(f"{', '.join(options)}: these are options of pandas, and kind={kind!r}.")
    parts: list[FilePart] = []
    for path in map(str, paths_of(paths)):
        if options:
            parts.append(ParquetFile(path, options={"columns": columns, **options}))
        else:
            parts += [
                replace(part, kind=kind, options={"columns": columns})
                for part in _row_groups(path, block_bytes)
            ]
    return Frame(FileParts(parts), client=client)


# ── the source ───────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class FilePart:
    """A part of a file, as a worker is told of it.

    Args:
        path: The file; absolute.
        lo: Its first row in the file, if that is known.
        hi: The row behind its last.
        options: How it is read.
    """

    path: str
    lo: int | None = None
    hi: int | None = None
    options: dict[str, Any] = field(default_factory=dict)

    def read(self) -> Any:
        """The partition."""
        raise NotImplementedError

    def place(self, index: int, of: int) -> Place:
        """What is said of it."""
        return Place(index, of, self.lo, self.hi, self.path)


@dataclass(frozen=True, eq=False)
class FileParts(Source):
    """Partitions that are read from files."""

    parts: Sequence[FilePart]

    label = "read"

    @property
    def npartitions(self) -> int:
        """See `Source`."""
        return len(self.parts)

    def feed(self, plan: Drawn) -> Feed:
        """See `Source`."""
        places = [part.place(at, len(self.parts)) for at, part in enumerate(self.parts)]
        return Feed(self.parts, places, _read)


def _read(part: FilePart) -> Any:
    return part.read()


# ── CSV ──────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class CsvFile(FilePart):
    """A whole CSV file."""

    def read(self) -> Any:
        """See `FilePart`."""
        import pandas as pd

        return pd.read_csv(self.path, **self.options)


@dataclass(frozen=True)
class CsvPart(FilePart):
    """The lines of a CSV file that begin in a range of its bytes; the header is read from where it is."""

    lines: Partition[bytes] | None = None
    is_first: bool = False

    def read(self) -> Any:
        """See `FilePart`.

        Raises:
            UsageError: These are not as many rows as there are lines.
        """
        import pandas as pd

        assert self.lines is not None and self.lo is not None and self.hi is not None
        head = _header(self.path) if not self.is_first and _has_header(self.options) else b""
        made = pd.read_csv(io.BytesIO(b"".join([head, *self.lines])), **self.options)
        if len(made) != self.hi - self.lo:
            raise UsageError(
                f"{self.lines} holds {len(made):,} rows in {self.hi - self.lo:,} lines, and cannot be read in"
                " parts: read_csv(..., block_bytes=None) reads each file as a whole."
            )
        return _numbered(made, self.lo)


def _numbered(made: Any, lo: int) -> Any:
    """Rows that are only numbered have the numbers that they have in the file."""
    import pandas as pd

    if lo and type(made.index) is pd.RangeIndex and made.index.name is None:
        made.index = pd.RangeIndex(lo, lo + len(made))
    return made


def _is_line_by_line(options: dict[str, Any]) -> bool:
    """Whether a part of a file can be read by itself."""
    if not _LINE_BY_LINE.issuperset(options) or options.get("header", "infer") not in ("infer", 0, None):
        return False
    separator = options.get("sep", options.get("delimiter", ","))
    encoding = options.get("encoding") or "utf-8"
    return separator is not None and str(encoding).lower() in _ONE_BYTE_LINES


def _has_header(options: dict[str, Any]) -> bool:
    header = options.get("header", "infer")
    return header == 0 or (header == "infer" and options.get("names") is None)


def _header(path: str) -> bytes:
    with Path(path).open("rb") as file:
        return file.readline()


@dataclass(frozen=True)
class _Scanned:
    """What was found in a range of a file: line ends, and whether each of them ends a row."""

    lines: int
    safe: bool


def _scan(part: Partition[bytes]) -> _Scanned:
    """Look through a range: quotes, empty lines and lonely carriage returns make it unsafe to cut there."""
    data = b"".join(part)
    ends = data.count(b"\n")
    returns = data.count(b"\r")
    odd = b'"' in data or b"\n\n" in data or b"\n\r\n" in data or data.startswith((b"\n", b"\r\n"))
    lonely = returns and returns != data.count(b"\r\n")
    return _Scanned(ends + (bool(data) and not data.endswith(b"\n")), not odd and not lonely)


def _cut(
    paths: Sequence[str], block_bytes: int | None, has_header: bool, client: Any
) -> Iterable[list[FilePart]]:
    """The parts of each file; workers look through those that are long enough to be cut."""
    ranges = {path: _ranges(path, block_bytes) for path in paths}
    every = [part for parts in ranges.values() for part in parts]
    scanned = iter(client.options(label="read_csv: scan").map(_scan, every).results() if every else ())
    for path in paths:
        found = [(part, next(scanned)) for part in ranges[path]]
        safe = bool(found) and all(one.safe for _, one in found)
        yield _parts(path, found, has_header) if safe else [CsvFile(path)]


def _ranges(path: str, block_bytes: int | None) -> list[Partition[bytes]]:
    """Ranges of a file that is to be cut; none for one that is short, compressed or of unknown length."""
    if block_bytes is None or Path(path).stat().st_size <= block_bytes:
        return []
    parts: list[Partition[bytes]] = blocks(path, block_bytes=block_bytes, encoding=None).partitions(1)
    return parts if len(parts) > 1 else []


def _parts(path: str, found: Sequence[tuple[Partition[bytes], _Scanned]], has_header: bool) -> list[FilePart]:
    """The parts that hold rows, and which; the first one even if it holds but the header."""
    parts: list[FilePart] = []
    lo = 0
    for at, (part, scanned) in enumerate(found):
        rows = scanned.lines - (has_header and at == 0)
        if rows or at == 0:
            parts.append(CsvPart(path, lo, lo + rows, lines=part, is_first=at == 0))
        lo += rows
    return parts


# ── Parquet ──────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class ParquetFile(FilePart):
    """A whole Parquet file, read by pandas."""

    def read(self) -> Any:
        """See `FilePart`."""
        import pandas as pd

        return pd.read_parquet(self.path, **self.options)


@dataclass(frozen=True)
class ParquetPart(FilePart):
    """Some row groups of a Parquet file."""

    groups: tuple[int, ...] = ()
    kind: str = "pandas"

    def read(self) -> Any:
        """See `FilePart`."""
        from pyarrow import parquet

        with parquet.ParquetFile(self.path) as file:
            table = file.read_row_groups(
                self.groups, use_pandas_metadata=self.kind == "pandas", **self.options
            )
        if self.kind == "arrow":
            return table
        if self.kind == "polars":
            import polars

            return polars.from_arrow(table)
        return _restored(table, self.lo or 0)


def _restored(table: Any, lo: int) -> Any:
    """The rows as pandas had them; those that are only numbered go on from the row groups before."""
    import pandas as pd

    made = table.to_pandas()
    kept = (table.schema.pandas_metadata or {}).get("index_columns", [])
    if type(made.index) is pd.RangeIndex and (not kept or isinstance(kept[0], dict)):
        spec = kept[0] if kept else {}
        step = int(spec.get("step", 1))
        start = int(spec.get("start", 0)) + lo * step
        made.index = pd.RangeIndex(start, start + len(made) * step, step, name=spec.get("name"))
    return made


def _row_groups(path: str, block_bytes: int) -> list[ParquetPart]:
    """Row groups side by side, up to so many bytes; one part without rows for an empty file."""
    from pyarrow import parquet

    with parquet.ParquetFile(path) as file:
        told = file.metadata
        sizes = [
            (told.row_group(at).total_byte_size, told.row_group(at).num_rows)
            for at in range(told.num_row_groups)
        ]
    parts: list[ParquetPart] = []
    groups: list[int] = []
    lo = hi = size = 0
    for at, (size_bytes, rows) in enumerate(sizes):
        if groups and size + size_bytes > block_bytes:
            parts.append(ParquetPart(path, lo, hi, groups=tuple(groups)))
            groups, lo, size = [], hi, 0
        groups.append(at)
        hi += rows
        size += size_bytes
    return [*parts, ParquetPart(path, lo, hi, groups=tuple(groups))]
