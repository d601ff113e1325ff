"""The text of code that is in no file: cells of a notebook, lines of a shell.

It travels with the code, and is put where tracebacks, debuggers and `inspect.getsource` look for lines.
"""

from __future__ import annotations

import linecache
import os
import re
from types import CodeType

__all__ = ["lasting", "show", "source"]

_KERNELS_CELL = re.compile(r".*[/\\\\]ipykernel_\d+[/\\\\](\d+)\.py", re.DOTALL)
# Names that Python gives to many texts at once: none of them can be told from the others.
_NAMELESS = frozenset({"<string>", "<stdin>", "<unknown>"})


def source(code: CodeType) -> str | None:
    """The text that the code was compiled from, or `None` when it is in a file, or nowhere."""
    name = code.co_filename
    if name in _NAMELESS:
        return None
    if (text := _shown(name)) is not None:
        return text
    if os.path.isfile(name):
        return None
    # Python 3.14 keeps the lines of its shell by code, and CPython has no public way to ask for them.
    by_code = getattr(linecache, "_getlines_from_code", None)
    lines = linecache.getlines(name) or (by_code(code) if by_code else ())
    return "".join(lines) or None


def lasting(name: str) -> str:
    """The name of a file as another kernel would have it: ipykernel's names for cells hold its process id.

    Example:
        >>> lasting("/tmp/ipykernel_4711/1234567890.py"), lasting("/home/me/census.py")
        ('<cell 1234567890>', '/home/me/census.py')
    """
    cell = _KERNELS_CELL.fullmatch(name)
    return f"<cell {cell[1]}>" if cell else name


def show(name: str, text: str) -> str:
    """Let the text be found under the name of its file.

    Returns:
        The name to use: another one when a different text is shown under this name already, as when
        two shells both have a first line.
    """
    free = name
    number = 1
    while (shown := _shown(free)) is not None and shown != text:
        number += 1
        free = f"{name[:-1]} {number}>" if name.endswith(">") else f"{name} ({number})"
    if shown is None:
        linecache.cache[free] = (len(text), None, text.splitlines(keepends=True), free)
    return free


def _shown(name: str) -> str | None:
    """What was put under a name that is not, or not only, that of a file: it has no time of change."""
    entry = linecache.cache.get(name)
    if entry is None or len(entry) == 1 or entry[1] is not None:
        return None
    return "".join(entry[2])
