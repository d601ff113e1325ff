"""Files that go with the functions of a client: modules that workers import, data that lies beside a script.

All that was added is one bundle, named by its content. A worker unpacks it once into a directory of the
user's cache, imports from there first, and on another host works there, so that relative paths mean what they
mean at home.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import ModuleType

from taskflow.errors import UsageError

__all__ = ["Bundle", "enter", "packed", "unpack"]

_EPOCH = (1980, 1, 1, 0, 0, 0)
_LEFT_OUT = frozenset({"__pycache__", ".git", ".ipynb_checkpoints", ".venv", "node_modules"})


class Bundle:
    """What was added so far, by its place in the bundle.

    Attributes:
        files: Where each file is, by its name in the bundle.
    """

    def __init__(self) -> None:
        self.files: dict[str, Path] = {}

    def add(self, what: str | os.PathLike[str] | ModuleType) -> None:
        """Add a file, a directory with all that is in it, or a module (of a package, all of it).

        Raises:
            UsageError: It is not there, or is no module of Python's that lies in files.
        """
        if isinstance(what, ModuleType):
            self._add_module(what)
            return
        path = Path(what).expanduser().absolute()
        if not path.exists():
            raise UsageError(f"There is no {str(what)!r} to upload: is the path right?")
        root = Path.cwd()
        name = path.relative_to(root) if path.is_relative_to(root) else Path(path.name)
        if name == Path():
            raise UsageError("This is the working directory itself: name what of it is needed.")
        self._add(path, name)

    def _add_module(self, module: ModuleType) -> None:
        top = sys.modules.get(module.__name__.partition(".")[0], module)
        places = list(getattr(top, "__path__", ()))
        place = places[0] if places else getattr(top, "__file__", None)
        if place is None or not Path(place).exists():
            raise UsageError(
                f"The module {module.__name__!r} does not lie in files, so it cannot be uploaded."
            )
        path = Path(place)
        self._add(path, Path(path.name))

    def _add(self, path: Path, name: Path) -> None:
        for file in _files_of(path):
            self.files[str(name / file.relative_to(path)) if path.is_dir() else str(name)] = file


def _files_of(path: Path) -> Iterator[Path]:
    if path.is_file():
        yield path
        return
    for entry in sorted(path.iterdir()):
        if entry.name not in _LEFT_OUT and entry.suffix != ".pyc":
            yield from _files_of(entry)


def packed(bundle: Bundle) -> bytes:
    """The bundle as one archive: the same bytes for the same names and contents."""
    import io
    import zipfile

    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(bundle.files):
            archive.writestr(zipfile.ZipInfo(name, _EPOCH), bundle.files[name].read_bytes())
    return out.getvalue()


def unpack(data: bytes) -> Path:
    """The directory with what is in an archive that `packed` made; it is unpacked once on each host.

    The archive was verified: it is as much to be trusted as the functions that come with it.
    """
    import io
    import secrets
    import shutil
    import zipfile

    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    place = cache / "taskflow" / "bundles" / hashlib.sha256(data).hexdigest()[:32]
    if not place.is_dir():
        place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh = place.with_name(f".new-{secrets.token_hex(8)}")
        fresh.mkdir(mode=0o700)
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            archive.extractall(fresh)
        try:
            fresh.rename(place)
        except OSError:  # another process was first
            shutil.rmtree(fresh, ignore_errors=True)
    return place


def enter(entry: str) -> None:
    """Import from this directory first; modules of another bundle are imported anew."""
    if entry in sys.path[:1]:
        return
    others = os.path.dirname(entry) + os.sep
    stale = [name for name, module in sys.modules.items() if _file_of(module).startswith(others)]
    for name in stale:
        if not _file_of(sys.modules[name]).startswith(entry + os.sep):
            del sys.modules[name]
    with suppress(ValueError):
        sys.path.remove(entry)
    sys.path.insert(0, entry)


def _file_of(module: object) -> str:
    return str(getattr(module, "__file__", None) or "")
