"""What code does, step by step, without what line breaks make of it.

From Python 3.13 on the compiler makes one instruction of two that load or store variables, where both are of
one line: the same function, with a line broken elsewhere, has other bytes. Here such pairs are two again.
"""

from __future__ import annotations

import re
import sys
import types
from collections.abc import Iterator

__all__ = ["steps_of"]

_WITH_PAIRS = 0x30D0000
_PART = r"(?:LOAD|STORE)_FAST(?:_BORROW)?"
_PAIR = re.compile(f"({_PART})_({_PART})")
_NOTHING = frozenset({"NOP", "EXTENDED_ARG"})


def steps_of(code: types.CodeType) -> bytes:
    """The instructions of code, and what it catches where: the same, however its lines are broken."""
    if sys.hexversion < _WITH_PAIRS:
        return code.co_code + b"|" + code.co_exceptiontable
    return repr(list(_spelled(code))).encode()


def _spelled(code: types.CodeType) -> Iterator[tuple[object, ...]]:
    import dis

    read, jumps = dis.Bytecode(code), frozenset(dis.hasjrel + dis.hasjabs)
    steps: list[tuple[str, object, int | None]] = []
    place: dict[int, int] = {}
    for step in read:
        place[step.offset] = len(steps)
        if step.opname in _NOTHING:
            continue
        target = step.argval if step.opcode in jumps else None
        if pair := _PAIR.fullmatch(step.opname):
            steps += [(name, value, None) for name, value in zip(pair.groups(), step.argval, strict=True)]
        else:
            is_variable = re.fullmatch(_PART, step.opname)
            steps.append((step.opname, step.argval if is_variable else step.arg, target))
    for name, argument, target in steps:
        yield (name, argument) if target is None else (name, "to", place[target])
    for entry in read.exception_entries:  # type: ignore[attr-defined]  # it is there since 3.11
        where = place[entry.start], place.get(entry.end, len(steps)), place[entry.target]
        yield "catch", *where, entry.depth, entry.lasti
