"""Print what a task returned; for a failed one its traceback, with exit code 1.

The value of a map is the list of its items' values; that of a run is the value of its last task, or a
dictionary when several tasks come last. Values are unpickled, after their signature was verified.
"""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from taskflow.cli.exits import Exit
from taskflow.cli.words import error_line, plural
from taskflow.errors import TaskflowError, UsageError
from taskflow.observe.text import visible
from taskflow.states import TERMINAL, State

if TYPE_CHECKING:
    from taskflow.cli.console import Console
    from taskflow.cli.parser import Parser
    from taskflow.cli.target import Target
    from taskflow.codec import Codec
    from taskflow.records import NodeView, Segment

SUMMARY = "print what a task returned, or its traceback"
EXAMPLES = """
taskflow result 019a9a3b-4f21             its repr
taskflow result 019a9a3b-4f21:7           that of item 7 of a map
taskflow result 019a9a3b-4f21 --wait      when it has ended
taskflow result 019a9a3b-4f21 --raw > plot.png
"""


def arguments(parser: Parser) -> None:
    """Declare the arguments."""
    parser.add_argument("id", metavar="ID[:INDEX]", help="id of a run or a task; INDEX is one item of a map")
    parser.add_argument(
        "--raw", action="store_true", help="write bytes and texts as they are, without an end of line"
    )
    parser.add_argument("-w", "--wait", action="store_true", help="wait until it has ended")
    parser.add_argument("--traceback", action="store_true", help="its traceback, which is told anyway")
    parser.add_argument("-t", "--task", metavar="NAME", help="taken for Celery's sake: the store knows it")


def run(options: Namespace, console: Console) -> int:
    """Print it."""
    from taskflow.cli.target import look_up

    target = look_up(console.store, options.id)
    if options.wait and not _ended(target, console):
        target = _waited(target, console)
    if not _ended(target, console):
        console.hint(f"taskflow: {options.id} has not ended yet. Wait for it with --wait.")
        return Exit.FAILED
    segments = _segments(target, console)
    failures = [s for _, found in segments for s in found if s.state is not State.SUCCEEDED]
    if failures:
        return _write_failures(failures, target, console)
    _write(_value(target, segments, console), console, raw=options.raw)
    return Exit.OK


def _waited(target: Target, console: Console) -> Target:
    from taskflow.cli.follow import news
    from taskflow.cli.target import look_up

    word = target.id if target.item is None else f"{target.id}:{target.item}"
    for _ in news(console.store):
        target = look_up(console.store, word)
        if _ended(target, console):
            break
    return target


def _ended(target: Target, console: Console) -> bool:
    if target.item is None:
        return all(node.state in TERMINAL for node in target.ends)
    return any(
        item.lo <= target.item < item.hi and item.state in TERMINAL
        for item in console.store.items(target.nodes[0].id)
    )


def _segments(target: Target, console: Console) -> list[tuple[NodeView, list[Segment]]]:
    lo, hi = (0, None) if target.item is None else (target.item, target.item + 1)
    found = console.store.values([node.id for node in target.ends], lo=lo, hi=hi)
    return [(node, found[node.id]) for node in target.ends]


# ── values ───────────────────────────────────────────────────────────────────────────


def _value(target: Target, segments: Sequence[tuple[NodeView, list[Segment]]], console: Console) -> Any:
    from pathlib import Path

    from taskflow.codec import NAMED, Codec, Keyring, NamedCodec

    # Classes of modules that lie where the command is run can be loaded; they shadow nothing.
    sys.path.append(str(Path.cwd()))
    blobs = console.store.blobs
    by_name = all(node.fn.startswith(NAMED) for node, _ in segments)
    if by_name:
        console.hint("taskflow: This came from a call by name: nobody has signed it.")
    codec = NamedCodec(blobs) if by_name else Codec(Keyring.load(), blobs)
    is_array = {node.id: node.array for node in target.run.nodes}
    values = []
    for node, found in segments:
        # A node that was replaced has the value, and the shape, of its replacement.
        array = is_array.get(found[0].node, node.array) if found else node.array
        values.append(_of_node(found, target.item, codec, array=array))
    if len(values) == 1:
        return values[0]
    labels = [node.label for node, _ in segments]
    unique = len(set(labels)) == len(labels)
    return dict(zip(labels if unique else [node.id for node, _ in segments], values, strict=True))


def _of_node(found: Sequence[Segment], index: int | None, codec: Codec, *, array: bool) -> Any:
    loaded = [(segment.lo, _load(segment, codec)) for segment in found]
    if not array:
        return loaded[0][1] if loaded else None
    if index is not None:
        lo, values = loaded[0]
        return values[index - lo]
    return [value for _, values in loaded for value in values]


def _load(segment: Segment, codec: Codec) -> Any:
    try:
        return codec.load_segment(segment)
    except TaskflowError:
        raise
    except Exception as error:
        raise UsageError(
            f"The value cannot be loaded here ({type(error).__name__}: {error})."
            " Run this where the modules of the task can be imported."
        ) from error


def _write(value: Any, console: Console, *, raw: bool) -> None:
    if console.json:
        from taskflow.cli.plain import json_text

        try:
            console.out.write(json_text(value) + "\n")
        except (TypeError, ValueError) as error:
            raise UsageError(f"The value is no JSON ({error}): print it without --json.") from None
    elif not raw:
        console.out.write(visible(repr(value), lines=True) + "\n")
    elif isinstance(value, (bytes, bytearray, memoryview)):
        console.out.flush()
        console.out.buffer.write(value)
        console.out.buffer.flush()
    elif isinstance(value, str):
        console.out.write(value)
    else:
        kind = type(value).__name__
        raise UsageError(f"--raw is for bytes and texts, and this is {kind}: print it without.")


# ── failures ─────────────────────────────────────────────────────────────────────────


def _write_failures(failures: Sequence[Segment], target: Target, console: Console) -> int:
    """The story of the first that failed by itself, and how many there are."""
    from taskflow.records import Failure

    told = next((s for s in failures if s.state is not State.SKIPPED), failures[0])
    failure = Failure.from_json(told.error) if told.error else Failure(told.state)
    text = failure.traceback.strip("\n") or f"{told.state}: {error_line(told.error)}"
    console.err.write(visible(text, lines=True) + "\n")
    without = sum(segment.hi - segment.lo for segment in failures)
    if without > 1:
        items = plural(without, "item")
        console.hint(f"taskflow: {items} gave no value: `taskflow show {target.id}` lists them.")
    elif failure.root and failure.root != told.node:
        console.hint(f"taskflow: it was skipped: `taskflow result {failure.root}` tells why.")
    return Exit.FAILED
