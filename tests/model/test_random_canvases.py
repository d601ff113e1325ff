"""Random canvases whose tasks fail, skip, are replaced and add to their chords, against what they mean."""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import taskflow
from taskflow import Client, Reject, Signature, Skip, chain, chord, group, signature
from taskflow.errors import TaskSkipped
from tests.acceptance.stage import opened, until
from tests.model.recipes import ENDS, Broken, Deed, Job, Plain, text_of

MORE = int(os.environ.get("TASKFLOW_HISTORIES", "1"))

pytestmark = pytest.mark.timeout(600)  # hypothesis would take being late for a failure, and make it small
SIZES = {"call": 1, "chain": 2, "group": 2, "chord": 3}
HERE: list[str] = []


# ── what is drawn ────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, repr=False)
class Task(Plain):
    name: str = ""
    deed: Deed = Deed()  # noqa: RUF009 - frozen
    immutable: bool = False
    told: tuple[str, ...] = ()
    joins: bool = False


@dataclass(frozen=True, repr=False)
class Several(Plain):
    """A chain, a group, or a chord whose body comes last; `told` are the names of its errbacks."""

    kind: str = "chain"
    parts: tuple[Any, ...] = ()
    told: tuple[str, ...] = ()


Canvas = Task | Several


class Drawer:
    """Draws canvases; errbacks are put where the rules for their number leave nothing open."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.count = 0

    def draw(self, depth: int, *, led: bool = False, alone: bool = True) -> Canvas:
        """`led`: it follows something; `alone`: not in a group, so that it may choose to be skipped."""
        kind = self.chance.choice(["task", "chain", "group", "chord"]) if depth else "task"
        several = range(self.chance.choice([1, 2, 3]))
        if kind == "task":
            return self.task(alone=alone)
        if kind == "chain":
            parts = tuple(self.draw(depth - 1, led=led or n > 0, alone=alone) for n in several)
            ends_in_group = isinstance(parts[-1], Several) and parts[-1].kind == "group"
            return Several(kind, parts, () if led or ends_in_group else self.errbacks())
        members = tuple(self.member(depth - 1, led=led) for _ in several)
        if kind == "group":
            told = () if led else self.errbacks()
            return Several(kind, tuple(map(plain, members)) if told else members, told)
        if isinstance(members[0], Task) and not members[0].deed.parts and self.chance.random() < 0.3:
            members = (replace(members[0], joins=True), *members[1:])
        body = self.task(alone=alone)
        return Several(kind, (*members, body), () if led else self.errbacks())

    def member(self, depth: int, *, led: bool) -> Canvas:
        found = self.draw(depth, led=led, alone=False)
        while isinstance(found, Several) and found.kind == "group":
            found = found.parts[0]
        return found

    def task(self, *, alone: bool) -> Task:
        self.count += 1
        deed = self.deed(2)
        deed = deed if alone else without_skip(deed)
        made = Task(f"t{self.count}", deed, self.chance.random() < 0.3, self.errbacks())
        return made if not made.told else replace(made, deed=simple(deed))

    def deed(self, depth: int) -> Deed:
        end = self.chance.choice(ENDS)
        if end not in SIZES or not depth:
            return Deed(end if end not in SIZES else "value")
        return Deed(end, 0, tuple(without_skip(self.deed(depth - 1)) for _ in range(SIZES[end])))

    def errbacks(self) -> tuple[str, ...]:
        self.count += 1
        return (f"e{self.count}",) if self.chance.random() < 0.3 else ()


def without_skip(deed: Deed) -> Deed:
    return Deed("value") if deed.end == "skip" else deed


def simple(deed: Deed) -> Deed:
    """One that fails by itself when it fails: then its errback is called."""
    return Deed("value") if deed.parts else deed


def plain(canvas: Canvas) -> Canvas:
    return replace(canvas, deed=simple(canvas.deed)) if isinstance(canvas, Task) else canvas


@st.composite
def canvases(draw: st.DrawFn) -> Canvas:
    return Drawer(draw(st.randoms(use_true_random=False))).draw(3)


# ── as signatures ────────────────────────────────────────────────────────────────────


def work(*given: Any) -> Any:
    """What every task runs: its job is the last of its arguments."""
    *inputs, job = given
    write(job, job.name)
    (deed,) = job.deeds
    if deed.end == "raise":
        raise Broken(job.name)
    if deed.end == "reject":
        raise Reject(job.name)
    if deed.end == "skip":
        raise Skip(job.name)
    if deed.parts:
        parts = [replace(job, name=f"{job.name}>{n}", deeds=(part,)) for n, part in enumerate(deed.parts)]
        taskflow.replace(grown(deed.end, parts, inputs))
    return text_of(job.name, deed, tuple(inputs))


def grown(kind: str, jobs: Sequence[Job], inputs: Sequence[Any]) -> Any:
    sigs = [signature(work, (*inputs, job)) for job in jobs]
    behind = [signature(work, (job,)) for job in jobs]
    if kind == "call":
        return sigs[0]
    if kind == "chain":
        return chain(sigs[0], *behind[1:])
    return group(sigs) if kind == "group" else chord(sigs[:-1], behind[-1])


def work_and_add(*given: Any) -> Any:
    job = given[-1]
    taskflow.add_to_chord(signature(work, (replace(job, name=f"{job.name}+", deeds=(Deed(),)),)))
    return work(*given)


def tell(request: Any, error: BaseException, trace: str, job: Job) -> None:
    write(job, job.name)


def write(job: Job, what: str) -> None:
    if job.book is None:
        HERE.append(what)
    else:
        with Path(job.book).open("a") as file:
            file.write(f"{what}\n")


def of(canvas: Canvas, book: str | None) -> Signature:
    """The signature of what was drawn."""
    sig: Signature
    if isinstance(canvas, Task):
        job = Job(canvas.name, (canvas.deed,), book)
        sig = signature(work_and_add if canvas.joins else work, (job,), immutable=canvas.immutable)
    else:
        parts = [of(part, book) for part in canvas.parts]
        if canvas.kind == "chord":
            sig = chord(parts[:-1], parts[-1])
        else:
            sig = chain(parts) if canvas.kind == "chain" else group(parts)
    for name in canvas.told:
        sig.link_error(signature(tell, (Job(name, (), book),)))
    return sig


# ── what it means ────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Given:
    """What a part gives: a value; or none, because it chose so, or something failed, itself or another."""

    value: Any = None
    bad: str = ""


@dataclass
class Meaning:
    """What comes of a canvas: `lines` counts how often each task ran, and each errback was called."""

    lines: Counter[str] = field(default_factory=Counter)

    def of(self, canvas: Canvas, lead: Given | None = None, more: tuple[str, ...] = ()) -> Given:
        """`more`: errbacks of the group around it."""
        if isinstance(canvas, Task):
            return self.task(canvas, lead, (*canvas.told, *more))
        found = getattr(self, canvas.kind)(canvas, lead, (*canvas.told, *more))
        if canvas.kind != "group" and found.bad in ("failed", "skipped"):
            self.lines.update((*canvas.told, *more))
        return found  # type: ignore[no-any-return]

    def task(self, task: Task, lead: Given | None, told: tuple[str, ...]) -> Given:
        if lead is not None and lead.bad:
            return Given(bad="chosen" if lead.bad == "chosen" else "skipped")
        inputs = () if lead is None or task.immutable else (lead.value,)
        found = self.deed(task.name, task.deed, inputs)
        if found.bad == "failed":
            self.lines.update(told)
        return found

    def deed(self, name: str, deed: Deed, inputs: tuple[Any, ...]) -> Given:
        self.lines[name] += 1
        if deed.end in ("raise", "reject"):
            return Given(bad="failed")
        if deed.end == "skip":
            return Given(bad="chosen")
        if not deed.parts:
            return Given(text_of(name, deed, inputs))
        parts = tuple(Task(f"{name}>{n}", part) for n, part in enumerate(deed.parts))
        if deed.end == "chain":
            rest = tuple(replace(part, immutable=False) for part in parts[1:])
            return self.rest(self.deed(parts[0].name, parts[0].deed, inputs), rest)
        if deed.end == "call":
            return self.deed(parts[0].name, parts[0].deed, inputs)
        header = parts if deed.end == "group" else parts[:-1]
        listed = together([self.deed(part.name, part.deed, inputs) for part in header])
        return listed if deed.end == "group" else self.task(parts[-1], listed, ())

    def rest(self, first: Given, parts: Sequence[Canvas]) -> Given:
        for part in parts:
            first = self.of(part, first)
        return first

    def chain(self, canvas: Several, lead: Given | None, told: tuple[str, ...]) -> Given:
        return self.rest(self.of(canvas.parts[0], lead), canvas.parts[1:])

    def group(self, canvas: Several, lead: Given | None, told: tuple[str, ...]) -> Given:
        return together([self.of(part, lead, told) for part in canvas.parts])

    def chord(self, canvas: Several, lead: Given | None, told: tuple[str, ...]) -> Given:
        *header, body = canvas.parts
        listed = together([self.of(part, lead) for part in header])
        for part in header:
            if isinstance(part, Task) and part.joins and self.lines[part.name] and not ended_badly(part):
                name = f"{part.name}+"
                listed = replace(listed, value=[*(listed.value or ()), self.deed(name, Deed(), ()).value])
        found = self.of(body, listed)
        if found.bad == "skipped":  # of a body, a failure of the header counts, too
            self.lines.update(body.told)
        return found


def ended_badly(task: Task) -> bool:
    return task.deed.end in ("raise", "reject", "skip")


def together(parts: Sequence[Given]) -> Given:
    bad = [part.bad for part in parts if part.bad]
    if not bad:
        return Given([part.value for part in parts])
    return Given(bad="chosen" if set(bad) == {"chosen"} else "skipped")


# ── the tests ────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def inline() -> Iterator[Client]:
    with Client(mode="inline") as client:
        yield client


@pytest.fixture(scope="module")
def workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    with opened(tmp_path_factory.mktemp("store")) as client:
        yield client


def compare(client: Client, canvas: Canvas, book: Path | None) -> None:
    meaning = Meaning()
    expected = meaning.of(canvas)
    HERE.clear()

    result = of(canvas, None if book is None else str(book)).apply_async(client=client)
    run = str(result.run_id)
    until(lambda: client._engine.store.snapshot(run)[0].ended_at is not None)

    if not expected.bad:
        assert result.get(10) == expected.value
    else:
        with pytest.raises(TaskSkipped if expected.bad == "chosen" else Exception):
            result.get(10)
    lines = HERE if book is None else book.read_text().splitlines() if book.exists() else []
    assert Counter(lines) == +meaning.lines
    view = client._engine.store.snapshot(run)[0]
    assert all(node.ended_at is not None for node in view.nodes)
    client._engine.store.forget(view.id)


@settings(max_examples=200 * MORE)
@given(canvases())
def test_any_canvas_does_what_it_means(inline: Client, canvas: Canvas) -> None:
    compare(inline, canvas, None)


@pytest.mark.parametrize("seed", range(12 * MORE))
def test_any_canvas_does_what_it_means_on_workers(workers: Client, tmp_path: Path, seed: int) -> None:
    canvas = Drawer(random.Random(seed)).draw(3)
    compare(workers, canvas, tmp_path / "book")
