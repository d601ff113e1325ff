"""Workflows as data: drawn at random, built with the public API, and run by their functions.

A *recipe* says what each step is and what it will do: give a value, fail so many times first, raise, skip
itself, or let something else take its place. Its text is all that is needed to see a failure again.
"""

from __future__ import annotations

import os
import random
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import taskflow
from taskflow import Reject, RetryPolicy, Skip, Workflow, chain, chord, group, signature
from taskflow.testing.checker import Ledger

__all__ = ["HERE", "Deed", "Here", "Job", "Recipe", "Step", "act", "build", "drawn", "joined", "text_of"]


class Plain:
    """Shows only what differs from the defaults, so that it can be read and pasted."""

    def __repr__(self) -> str:
        said = [
            f"{f.name}={getattr(self, f.name)!r}"
            for f in fields(self)  # type: ignore[arg-type]
            if getattr(self, f.name) != f.default
        ]
        return f"{type(self).__name__}({', '.join(said)})"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """What hypothesis prints."""
        printer.text(repr(self))


@dataclass(frozen=True, repr=False)
class Deed(Plain):
    """What a call does, once it has failed `fails` times.

    Args:
        end: ``value``, ``empty`` (a value that is false), ``list``, ``raise``, ``reject``, ``skip``; or what
            takes its place: ``call``, ``chain``, ``group``, ``chord``.
        fails: Attempts that raise first.
        parts: What those do that take its place.
    """

    end: str = "value"
    fails: int = 0
    parts: tuple[Deed, ...] = ()

    @property
    def healed(self) -> Deed:
        """The same, when nothing is broken any more."""
        end = "value" if self.end in ("raise", "reject") else self.end
        return Deed(end, 0, tuple(part.healed for part in self.parts))


@dataclass(frozen=True, repr=False)
class Step(Plain):
    """A step of a recipe.

    Args:
        kind: ``call``, ``map``, ``spread`` (a map over what its first predecessor gives), ``reduce``,
            ``branch`` (its first predecessor decides), ``sub``.
        before: The steps whose values it gets, by number; inputs come first.
        after: Steps it only waits for.
        deeds: What it does; the items of a map in turn.
        retries: As the option.
        on_failure: As the option.
        when: ``yes``, ``no`` or ``broken``: what its condition does; or the number of a step.
        width: Items of a map.
        tree, initial: Of a reduce.
        chunksize: Of a map.
        legs: The last steps of the branches.
        inner: The workflow that it is.
    """

    kind: str = "call"
    before: tuple[int, ...] = ()
    after: tuple[int, ...] = ()
    deeds: tuple[Deed, ...] = (Deed(),)
    retries: int = 0
    on_failure: Any = None
    when: str | int | None = None
    width: int = 1
    tree: Any = None
    initial: bool = False
    chunksize: int | None = None
    legs: tuple[Step, ...] = ()
    inner: Recipe | None = None


@dataclass(frozen=True, repr=False)
class Recipe(Plain):
    """A workflow: its steps in an order in which they can be added, each called ``s`` and its number."""

    steps: tuple[Step, ...] = ()
    inputs: int = 0
    on_failure: Any = "stop"
    max_parallel: int | None = None

    @property
    def healed(self) -> Recipe:
        """The same, when nothing is broken any more."""
        return replace(self, steps=tuple(_healed(step) for step in self.steps))


def _healed(step: Step) -> Step:
    return replace(
        step,
        deeds=tuple(deed.healed for deed in step.deeds),
        when="yes" if step.when == "broken" else step.when,
        legs=tuple(map(_healed, step.legs)),
        inner=None if step.inner is None else step.inner.healed,
    )


# ── what its functions do ────────────────────────────────────────────────────────────


@dataclass
class Here:
    """What is written down and looked up by calls that run in this process."""

    entries: list[tuple[str, int, str]] = field(default_factory=list)
    healed: bool = False


HERE = Here()


class Broken(Exception):
    """What a step of a recipe raises."""


@dataclass(frozen=True)
class Job:
    """What a call of a recipe has to do.

    Args:
        name: Goes into its value.
        deeds: What it does; the items of a map in turn.
        book: The folder where it writes down that it ran; `None`: `HERE`.
        pause_s: How long it takes.
    """

    name: str
    deeds: tuple[Deed, ...] = (Deed(),)
    book: str | None = None
    pause_s: float = 0.0

    @property
    def is_healed(self) -> bool:
        return HERE.healed if self.book is None else Path(self.book, "healed").exists()

    def write(self, phase: str) -> None:
        """Write down that the current item begins, or has done its work."""
        now = taskflow.current()
        if self.book is None:
            HERE.entries.append((now.id, now.index, phase))
        else:
            Ledger(os.path.join(self.book, "ledger")).write(now.id, now.index, now.fence, phase)  # noqa: PTH118


def act(job: Job, *inputs: Any) -> Any:
    """What a call of a recipe runs."""
    return _act(job, job.name, job.deeds[0], inputs)


def act_item(item: Any, job: Job, *inputs: Any) -> Any:
    """What an item of a map of a recipe runs."""
    index = taskflow.current().index
    return _act(job, f"{job.name}[{index}]", job.deeds[index % len(job.deeds)], (item, *inputs))


def _act(job: Job, name: str, deed: Deed, inputs: tuple[Any, ...]) -> Any:
    job.write("begin")
    try:
        return _end(job, name, deed.healed if job.is_healed else deed, inputs)
    finally:
        job.write("done")


def _end(job: Job, name: str, deed: Deed, inputs: tuple[Any, ...]) -> Any:
    if job.pause_s:
        import time

        time.sleep(job.pause_s)
    if taskflow.current().attempt <= deed.fails:
        raise Broken(f"{name}, for the time being")
    if deed.end == "raise":
        raise Broken(name)
    if deed.end == "reject":
        raise Reject(name)
    if deed.end == "skip":
        raise Skip(name)
    if deed.parts:
        taskflow.replace(_grown(job, name, deed, inputs))
    return text_of(name, deed, inputs)


def _grown(job: Job, name: str, deed: Deed, inputs: tuple[Any, ...]) -> Any:
    """What takes the place of a call: its first parts get the same inputs."""
    parts = [
        signature(
            act, (replace(job, name=f"{name}>{n}", deeds=(part,)),), shadow=f"{name}>{n}", max_deliveries=50
        )
        for n, part in enumerate(deed.parts)
    ]
    if deed.end == "call":
        return _with(parts[0], inputs)
    if deed.end == "chain":
        return chain(_with(parts[0], inputs), *(_behind(part) for part in parts[1:]))
    if deed.end == "group":
        return group([_with(part, inputs) for part in parts])
    return chord([_with(part, inputs) for part in parts[:-1]], _behind(parts[-1]))


def _with(sig: Any, inputs: tuple[Any, ...]) -> Any:
    return signature(act, (*sig.args, *inputs), options=sig.options)


def _behind(sig: Any) -> Any:
    """The value of the step before is its first argument: `act_behind` puts it where `act` has it."""
    return signature(act_behind, sig.args, options=sig.options)


def act_behind(value: Any, job: Job) -> Any:
    return act(job, value)


def text_of(name: str, deed: Deed, inputs: tuple[Any, ...]) -> Any:
    """The value of a call: short, and another one for each name and each input."""
    digest = f"{zlib.crc32(repr((name, inputs)).encode()) % 46656:04x}"
    return {"empty": "", "list": [digest[:2], digest[2:]]}.get(deed.end, digest)


def joined(one: Any, other: Any) -> str:
    """What a reduce folds with: associative, and it takes whatever a step may give."""
    return _flat(one) + _flat(other)


def _flat(value: Any) -> str:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        return "".join(map(_flat, value))
    return "-" if value is None else str(value)


def broken_join(one: Any, other: Any) -> str:
    """One that fails until all is healed."""
    if not HERE.healed:
        raise Broken("join")
    return joined(one, other)


def yes(*_: Any, **__: Any) -> bool:
    return True


def no(*_: Any, **__: Any) -> bool:
    return False


def broken(*_: Any, **__: Any) -> bool:
    if not HERE.healed:
        raise Broken("condition")
    return True


# ── building ─────────────────────────────────────────────────────────────────────────


def build(recipe: Recipe, book: str | None = None, pause_s: float = 0.0) -> Workflow:
    """The workflow of a recipe."""
    return _build(recipe, Job("", (), book, pause_s))


def _build(recipe: Recipe, like: Job) -> Workflow:
    """`like` has the name of the step that the workflow is, and a slash."""
    wf = Workflow("drawn", on_failure=recipe.on_failure, max_parallel=recipe.max_parallel)
    nodes = [wf.input(f"x{n}") for n in range(recipe.inputs)]
    for n, step in enumerate(recipe.steps):
        nodes.append(_add(wf, f"s{n}", step, nodes, like))
    return wf


def _add(wf: Workflow, name: str, step: Step, nodes: list[Any], like: Job) -> Any:
    job = replace(like, name=like.name + name, deeds=step.deeds)
    given = [nodes[n] for n in step.before]
    how: dict[str, Any] = {"name": name, "after": [nodes[n] for n in step.after]}
    if step.when is not None:
        conditions = {"yes": yes, "no": no, "broken": broken}
        how["when"] = nodes[step.when] if isinstance(step.when, int) else conditions[step.when]
    if step.kind == "map":
        node = wf.map(act_item, range(step.width), job, *given, chunksize=step.chunksize, **how)
    elif step.kind == "spread":
        node = wf.map(act_item, given[0], job, *given[1:], chunksize=step.chunksize, **how)
    elif step.kind == "reduce":
        more = {"initial": ">"} if step.initial else {}
        fold = broken_join if step.deeds[0].end == "raise" else joined
        node = wf.reduce(fold, given[0] if len(given) == 1 else given, tree=step.tree, **more, **how)
    elif step.kind == "branch":
        legs = [
            _add(wf, f"{name}.{n}", leg, nodes, like)
            for n, leg in zip(("then", "else"), step.legs, strict=False)
        ]
        node = wf.branch(given[0], *legs, name=name)
    elif step.kind == "sub":
        assert step.inner is not None
        inner = _build(step.inner, replace(like, name=f"{like.name}{name}/"))
        node = wf.add(inner, **{f"x{n}": one for n, one in enumerate(given)}, **how)
    else:
        node = wf.add(act, job, *given, **how)
    options: dict[str, Any] = {}
    if step.retries:
        options["retry"] = RetryPolicy(step.retries, delay=0)
    if step.on_failure is not None:
        options["on_failure"] = step.on_failure
    return node.set(**options)


# ── drawing ──────────────────────────────────────────────────────────────────────────

ENDS = (*["value"] * 10, "list", "empty", "raise", "reject", "skip", "call", "chain", "group", "chord")
KINDS = (*["call"] * 5, "map", "map", "spread", "reduce", "reduce", "branch", "sub")


def drawn(
    chance: random.Random, parents: Iterable[Iterable[int]], *, trouble: bool = True, stop: bool = True,
    depth: int = 1,
) -> Recipe:  # fmt: skip
    """A recipe on a given graph.

    Args:
        chance: Decides what is open.
        parents: The predecessors of each step: numbers below its own.
        trouble: Whether anything fails.
        stop: Whether a failure may stop the rest.
        depth: How deep workflows are nested.
    """
    steps: list[Step] = []
    for before in parents:
        step = _step(chance, tuple(before), steps, trouble, depth, 0)
        steps.append(step if stop else _going_on(step))
    stops = stop and chance.random() < 0.25
    bound = chance.choice([None, None, 1, 2])
    return Recipe(tuple(steps), 0, "stop" if stops else "continue", bound)


def _going_on(step: Step) -> Step:
    """The same, and the rest goes on when it fails."""
    if step.inner is not None:
        steps = tuple(map(_going_on, step.inner.steps))
        step = replace(step, inner=replace(step.inner, steps=steps))
    return replace(step, on_failure=None) if step.on_failure == "stop" else step


def _step(
    chance: random.Random, before: tuple[int, ...], steps: list[Step], trouble: bool, depth: int, inputs: int
) -> Step:
    kind = chance.choice(KINDS)
    first = steps[before[0] - inputs].kind if before and before[0] >= inputs else ""
    if kind in ("spread", "branch", "reduce") and not before:
        kind = "map"
    if kind == "spread" and first in ("", "reduce", "sub"):  # what could be very long
        kind = "map"
    if kind == "sub" and not depth:
        kind = "call"
    waits = tuple(n for n in before[1:] if kind != "sub" and chance.random() < 0.2)
    given = tuple(n for n in before if n not in waits)
    when = chance.choice([None] * 7 + ["yes", "no", "broken" if trouble else "yes"])
    if before and kind != "branch" and chance.random() < 0.05:
        when = chance.choice(before)
    items = chance.choice([0, 1, 2, 3, 5]) if kind == "map" else 1
    many = kind in ("map", "spread")
    return Step(
        kind=kind,
        before=given,
        after=waits,
        deeds=tuple(_deed(chance, trouble, 2, many=many) for _ in range(3 if many else 1)),
        retries=chance.choice([0, 0, 1, 2]) if kind in ("call", "map", "spread") else 0,
        on_failure=chance.choice([None, None, None, "continue", "skip", "stop"]) if kind != "sub" else None,
        when=when if kind != "branch" else None,
        width=items,
        tree=chance.choice([None, True, 2, 2, 3]) if kind == "reduce" else None,
        initial=kind == "reduce" and chance.random() < 0.5,
        chunksize=chance.choice([None, 1, 2]) if many else None,
        legs=_legs(chance, before, trouble) if kind == "branch" else (),
        inner=_inner(chance, len(given), trouble, depth) if kind == "sub" else None,
    )


def _deed(chance: random.Random, trouble: bool, depth: int, *, many: bool = False) -> Deed:
    end = chance.choice(ENDS)
    if end in ("raise", "reject", "skip") and (not trouble or (many and chance.random() < 0.4)):
        end = "value"
    fails = chance.choice([0, 0, 0, 0, 1, 2]) if depth == 2 and trouble else 0
    sizes = {"call": 1, "chain": 2, "group": 2, "chord": 3}
    if end not in sizes:
        return Deed(end, fails)
    if not depth:
        return Deed("value", fails)
    return Deed(end, fails, tuple(_deed(chance, trouble, depth - 1) for _ in range(sizes[end])))


def _legs(chance: random.Random, before: tuple[int, ...], trouble: bool) -> tuple[Step, ...]:
    return tuple(
        Step(
            before=tuple(n for n in before if chance.random() < 0.5),
            deeds=(_deed(chance, trouble, 1),),
            when=chance.choice([None, None, None, "no"]),
        )
        for _ in range(chance.choice([1, 2]))
    )


def _inner(chance: random.Random, inputs: int, trouble: bool, depth: int) -> Recipe:
    steps: list[Step] = []
    for n in range(chance.choice([1, 2, 3])):
        known = inputs + n
        before = (
            tuple(sorted({chance.randrange(known) for _ in range(chance.choice([0, 1, 2]))})) if known else ()
        )
        steps.append(_step(chance, before, steps, trouble, depth - 1, inputs))
    return Recipe(tuple(steps), inputs)
