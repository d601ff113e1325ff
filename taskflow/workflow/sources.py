"""Files as data: cut into byte ranges here, by their sizes alone, and read where they are mapped.

A partition is a range of bytes of a file, and holds the lines that *begin* in it: whoever reads it skips
to the first of them, and reads on to the end of the last. So nobody has to look for line ends beforehand,
and each line is read once (the way of Hadoop's ``TextInputFormat``).
"""

from __future__ import annotations

import codecs
import glob
import io
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from importlib import import_module
from os import PathLike
from pathlib import Path
from typing import IO, Any, BinaryIO, TypeVar, overload

from taskflow.errors import ConfigError, UsageError
from taskflow.workflow.partitions import Partition, Source

__all__ = ["FilePart", "Files", "Paths", "blocks", "files", "lines", "paths_of"]

T = TypeVar("T", str, bytes)
PathText = str | PathLike[str]
Paths = PathText | Iterable[PathText]

BLOCK_BYTES = 4 << 20
SMALL_PART_BYTES = 64 << 10
WINDOW_BYTES = 64 << 10

_TEXT_LINE_END = re.compile(rb"\n|\r(?!\n)")
_LEAVE_NO_GAP = ("strict", "replace", "backslashreplace", "surrogateescape")
"""Ways to treat bytes that are no text which put something in their place, so that no ``\r`` comes to stand
before a ``\n`` which is not next to it in the file."""
_BYTES_LINE_END = re.compile(rb"\n")
_COMPRESSED = {".gz": "gzip", ".bz2": "bz2", ".xz": "lzma"}


# ── what people write ────────────────────────────────────────────────────────────────


@overload
def lines(
    paths: Paths, /, *, block_bytes: int = ..., encoding: str = ..., errors: str = ...
) -> Source[str]: ...
@overload
def lines(paths: Paths, /, *, block_bytes: int = ..., encoding: None, errors: str = ...) -> Source[bytes]: ...
def lines(
    paths: Paths,
    /,
    *,
    block_bytes: int = BLOCK_BYTES,
    encoding: str | None = "utf-8",
    errors: str = "strict",
) -> Any:
    r"""The lines of files, as data of `map_reduce`: the workers read them.

    They are those of ``for line in open(path, encoding=encoding)``: each ends in ``"\n"``, whether the
    file has ``\n``, ``\r\n`` or ``\r``, except perhaps the last one of a file.

    A file is read in ranges of bytes. One that ends in ``.gz``, ``.bz2`` or ``.xz``, or whose encoding
    cannot be entered midway (UTF-16, for example), is read by one worker from its beginning. A file may
    grow meanwhile: what it had at first is read. It must not be rewritten, and has to be at the same path
    for every worker.

    Iterating the source reads the files here.

    Args:
        paths: A path, a pattern such as ``"logs/**/*.log"``, or several of either.
        block_bytes: The longest range; a worker holds one of them at a time.
        encoding: Of the text; `None` gives bytes, whose lines end in ``b"\n"`` only.
        errors: What to do with bytes that are no text, as for `open`.

    Raises:
        UsageError: There is no such file, or none that matches.
        ConfigError: An option is impossible.

    Example:
        ``taskflow.map_reduce(taskflow.lines("logs/*.log"), by_host, add, combiner=add)``
    """
    return _source(paths, _Reading(block_bytes, encoding, errors, lines=True))


@overload
def blocks(
    paths: Paths, /, *, block_bytes: int = ..., encoding: str = ..., errors: str = ...
) -> Source[str]: ...
@overload
def blocks(
    paths: Paths, /, *, block_bytes: int = ..., encoding: None, errors: str = ...
) -> Source[bytes]: ...
def blocks(
    paths: Paths,
    /,
    *,
    block_bytes: int = BLOCK_BYTES,
    encoding: str | None = "utf-8",
    errors: str = "strict",
) -> Any:
    """The texts of files in blocks that end where a line ends, as data of `map_reduce`.

    For mappers that are quicker on much text at once, such as ``lambda text: Counter(text.split())``.
    The blocks of a file, one after the other, are its text; the rest is as for `lines`.

    Args:
        paths: A path, a pattern such as ``"logs/**/*.log"``, or several of either.
        block_bytes: About the size of a block; one line is never cut, however long.
        encoding: Of the text; `None` gives the bytes as they are.
        errors: What to do with bytes that are no text, as for `open`.

    Raises:
        UsageError: There is no such file, or none that matches.
        ConfigError: An option is impossible.
    """
    return _source(paths, _Reading(block_bytes, encoding, errors, lines=False))


def files(where: PathText, /, pattern: str = "**/*") -> list[Path]:
    """The files of a directory, or those that match a pattern: absolute paths, in order.

    Names that begin with a dot are left out, as in a shell.

    Args:
        where: A directory, or a pattern such as ``"images/*.png"``.
        pattern: Which files of the directory; ``"**/*"`` is all of them, in whatever folder.

    Raises:
        UsageError: There is none.

    Example:
        ``client.map(parse, taskflow.files("documents", "**/*.xml"))``
    """
    folder = _absolute(where)
    if folder.is_dir():
        found = _matching(str(Path(glob.escape(str(folder)), pattern)))
        what = f"{pattern!r} in {str(folder)!r}"
    else:
        found = _matching(str(folder))
        what = repr(str(folder))
    if not found:
        raise UsageError(f"There is no file that matches {what}.")
    return found


# ── a source ─────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class _Reading:
    """How the bytes of a file become items."""

    block_bytes: int
    encoding: str | None
    errors: str
    lines: bool

    def __post_init__(self) -> None:
        if not isinstance(self.block_bytes, int) or self.block_bytes < 1:
            raise ConfigError(f"block_bytes={self.block_bytes!r} is not possible: use a number above 0.")
        if self.encoding is None:
            return
        for option, look in (("encoding", "".encode), ("errors", codecs.lookup_error)):
            value = getattr(self, option)
            try:
                look(value)
            except (LookupError, TypeError) as error:
                raise ConfigError(f"{option}={value!r} is not known to Python: {error}.") from error

    @property
    def anywhere(self) -> bool:
        """Whether a file can be entered wherever a line begins."""
        if self.encoding is None:
            return True
        from _multibytecodec import MultibyteIncrementalDecoder

        decoder: Any = codecs.getincrementaldecoder(self.encoding)
        if isinstance(decoder, type) and issubclass(decoder, MultibyteIncrementalDecoder):
            # Some of these carry a state from line to line; and where errors pass, all of them take a line
            # end for a part of a character that was cut short, if nothing follows it.
            return self.errors == "strict" and not codecs.lookup(self.encoding).name.startswith("iso2022")
        plain = bytes(range(128))
        try:
            return plain.decode(self.encoding) == plain.decode("ascii")
        except UnicodeError:
            return False


@dataclass(frozen=True)
class Files(Source[T]):
    """What `lines` and `blocks` give: files that are looked up again whenever they are cut.

    Args:
        paths: Absolute paths and patterns.
        reading: How their bytes become items.
    """

    paths: tuple[str, ...]
    reading: _Reading

    def __repr__(self) -> str:
        return f"{'lines' if self.reading.lines else 'blocks'}({', '.join(map(repr, self.paths))})"

    def found(self) -> list[Path]:
        """The files, as they are now.

        Raises:
            UsageError: A path or pattern leads to none.
        """
        return [path for given in self.paths for path in _found(given)]

    def partitions(self, least: int) -> list[Partition[T]]:
        """See `Source.partitions`: shorter ranges change nothing for lines, but are other blocks."""
        sizes = [(path, path.stat().st_size) for path in self.found()]
        reading = self.reading
        if reading.lines:
            wanted = max(SMALL_PART_BYTES, -(-sum(size for _, size in sizes) // least))
            reading = replace(reading, block_bytes=min(wanted, reading.block_bytes))
        return [part for path, size_bytes in sizes for part in _parts(str(path), size_bytes, reading)]


def _source(paths: Paths, reading: _Reading) -> Files[Any]:
    source: Files[Any] = Files(_several(paths), reading)
    source.found()
    return source


def _several(paths: Paths) -> tuple[str, ...]:
    several = [paths] if isinstance(paths, str | PathLike) else list(paths)
    if not several:
        raise UsageError("There are no files to read: the list of paths is empty.")
    return tuple(str(_absolute(path)) for path in several)


def paths_of(paths: Paths) -> list[Path]:
    """The files of paths and patterns, as they are now; absolute, those of a pattern in order.

    Raises:
        UsageError: A path or pattern leads to none.
    """
    return [path for given in _several(paths) for path in _found(given)]


def _absolute(path: PathText) -> Path:
    """Workers have other working directories."""
    return Path(path).expanduser().absolute()


def _found(path: str) -> list[Path]:
    """The files of a path or pattern; a file whose name looks like a pattern is that file."""
    one = Path(path)
    if one.is_file():
        return [one]
    if one.is_dir():
        raise UsageError(f"{path!r} is a directory: give a pattern, such as {str(one / '**' / '*')!r}.")
    if one.exists():
        raise UsageError(f"{path!r} is not a regular file: it cannot be read in parts.")
    if not glob.has_magic(path):
        raise UsageError(f"There is no file {path!r}: is the path right, and on this machine?")
    found = _matching(path)
    if not found:
        raise UsageError(f"There is no file that matches {path!r}.")
    return found


def _matching(pattern: str) -> list[Path]:
    found = glob.iglob(pattern, recursive=True)  # noqa: PTH207 - pathlib's gives hidden files too
    return sorted(path for path in map(Path, found) if path.is_file())


def _parts(path: str, size_bytes: int, reading: _Reading) -> Iterator[FilePart[Any]]:
    compressed = Path(path).suffix in _COMPRESSED
    if compressed or not reading.anywhere:
        yield FilePart(path, 0, None, size_bytes, reading)
        return
    for start in range(0, size_bytes, reading.block_bytes):
        yield FilePart(path, start, min(start + reading.block_bytes, size_bytes), size_bytes, reading)


# ── a partition, on the worker ───────────────────────────────────────────────────────


@dataclass(frozen=True)
class FilePart(Partition[T]):
    """The lines of a file that begin in a range of its bytes.

    Args:
        path: The file.
        start: Where the range begins.
        stop: Where it ends; `None` for a file that is read as a whole, by way of its beginning.
        size_bytes: How long the file was when it was cut; what came later is not read.
        reading: How its bytes become items.
    """

    path: str
    start: int
    stop: int | None
    size_bytes: int
    reading: _Reading

    def __iter__(self) -> Iterator[T]:
        index = -1
        try:
            with self._opened() as stream:
                for index, item in enumerate(self._items(stream)):  # noqa: B007 - the last one is told
                    yield item
        except Exception as error:
            how = f", as {self.reading.encoding}" if isinstance(error, UnicodeError) else ""
            error.add_note(f"while reading {self.after(index)}{how}")
            raise

    def __str__(self) -> str:
        return self.path if self.stop is None else f"bytes {self.start} to {self.stop} of {self.path}"

    def where(self, index: int) -> str:
        """See `Partition.where`: lines are counted from those that begin at or after a byte."""
        if not self.reading.lines and self.stop is not None:
            return f"the block at byte {self.start} of {self.path}"
        after = f"from byte {self.start} " if self.start else ""
        return f"{'line' if self.reading.lines else 'block'} {index + 1} {after}of {self.path}"

    def _items(self, stream: IO[T]) -> Iterator[T]:
        if self.reading.lines:
            yield from stream
            return
        while block := stream.read(self.reading.block_bytes) + stream.readline():
            yield block

    def _opened(self) -> IO[Any]:
        """The text or bytes of this part, as a stream of its own."""
        reading, raw = self.reading, self._raw()
        encoding = reading.encoding
        if encoding is None:
            return raw
        if self.start and codecs.lookup(encoding).name == "utf-8-sig":
            encoding = "utf-8"  # only a file begins with a mark
        return io.TextIOWrapper(raw, encoding, reading.errors)

    def _raw(self) -> BinaryIO:
        if self.stop is None:
            module = _COMPRESSED.get(Path(self.path).suffix, "io")
            return import_module(module).open(self.path, "rb")  # type: ignore[no-any-return]
        with Path(self.path).open("rb") as file:
            if os.fstat(file.fileno()).st_size < self.size_bytes:
                raise _shorter(file)
            ends_at_cr = self.reading.encoding is not None and self.reading.errors in _LEAVE_NO_GAP
            line_end = _TEXT_LINE_END if ends_at_cr else _BYTES_LINE_END
            begin = _line_start(file, self.start, self.stop, line_end)
            if begin >= self.stop:
                return io.BytesIO()
            end = _line_start(file, self.stop, self.size_bytes, line_end)
            return io.BytesIO(_read(file, begin, end - begin))


def _line_start(file: BinaryIO, at: int, limit: int, line_end: re.Pattern[bytes]) -> int:
    """Where the first line begins that begins at `at` or later; `limit` if that is not before it."""
    if at == 0:
        return 0
    position = at - 1
    while position < limit:
        window = _read(file, position, min(WINDOW_BYTES, limit - position))
        found = line_end.search(window)
        if found is None:
            position += len(window)
        elif found.end() < len(window) or position + len(window) == limit:
            return position + found.end()
        else:
            position += found.start()  # whether a \n follows this \r is in the next window
    return limit


def _read(file: BinaryIO, at: int, count: int) -> bytes:
    file.seek(at)
    data = file.read(count)
    if len(data) < count:
        raise _shorter(file)
    return data


def _shorter(file: BinaryIO) -> OSError:
    return OSError(f"{file.name} is shorter than when it was cut: it must not be rewritten meanwhile.")
