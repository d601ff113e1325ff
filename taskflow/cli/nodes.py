"""Several workers in one command: their names, and what is said of all and of single ones. Pure.

::

    start 3 -A proj -c 2            worker1@here, worker2@here, worker3@here, two slots each
    start a b -c:a 4 -Q:2 mail      four slots for a; b, the second, serves mail
    start 5 -Q:1-3 images -Q:4,5 x  the first three, and the last two
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from taskflow.errors import UsageError

__all__ = ["Node", "nodes_of"]

NODES_MOST = 1_000


class Node(NamedTuple):
    """One worker.

    Args:
        name: Its name.
        words: Its options, as they are said to ``taskflow worker``.
    """

    name: str
    words: tuple[str, ...]


def nodes_of(
    words: Sequence[str], takes: Mapping[str, bool], *, host: str, prefix: str = "worker"
) -> list[Node]:
    """The workers that the words of a command line mean.

    Args:
        words: Names, or a number of workers, and options; those of single ones have ``:`` and which.
        takes: For each option whether a value follows it.
        host: Goes behind names that have no ``@``.
        prefix: What the names begin with, when there is only a number.

    Raises:
        UsageError: There is no worker, or an option speaks of none that is there.

    Example:
        >>> nodes_of(["2", "-c", "3", "-Q:2", "mail"], {"-c": True, "-Q": True}, host="here")[1]
        Node(name='worker2@here', words=('-c', '3', '-Q', 'mail'))
    """
    names: list[str] = []
    common: list[str] = []
    single: list[tuple[str, tuple[str, ...]]] = []
    at = 0
    while at < len(words):
        word = words[at]
        at += 1
        if not word.startswith("-"):
            names.append(word)
            continue
        flag, equals, value = word.partition("=")
        flag, colon, which = flag.partition(":")
        said: tuple[str, ...] = (f"{flag}={value}",) if equals else (flag,)
        if not equals and takes.get(flag, False):
            if at >= len(words):
                raise UsageError(f"{flag} needs a value.")
            said, at = (flag, words[at]), at + 1
        if colon:
            single.append((which, said))
        else:
            common += said
    names = _names(names, host, prefix)
    own: dict[str, list[str]] = {name: [] for name in names}
    for which, said in single:
        for name in _meant(which, names):
            own[name] += said
    return [Node(name, (*common, *own[name])) for name in names]


def _names(words: Sequence[str], host: str, prefix: str) -> list[str]:
    if len(words) == 1 and words[0].isdigit():
        if not 0 < int(words[0]) <= NODES_MOST:
            raise UsageError(f"{words[0]} workers are not possible: use 1 to {NODES_MOST}.")
        words = [f"{prefix}{number}" for number in range(1, int(words[0]) + 1)]
    names = [word if "@" in word else f"{word}@{host}" for word in words]
    if not names:
        raise UsageError("Which workers? Give their names, or how many: taskflow multi start 3 -A proj")
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UsageError(f"Worker {twice} is named twice.")
    return names


def _meant(which: str, names: Collection[str]) -> list[str]:
    """Workers by number, by a range of numbers, or by name."""
    order, found = list(names), []
    for word in which.split(","):
        first, dash, last = word.partition("-")
        if first.isdigit() and (not dash or last.isdigit()):
            lo, hi = int(first), int(last) if dash else int(first)
            found += order[max(0, lo - 1) : hi] if lo >= 1 else []
        else:
            found += [name for name in order if word in (name, name.partition("@")[0])]
    if not found:
        raise UsageError(f"Options speak of worker {which!r}, and there are {', '.join(order)}.")
    return found
