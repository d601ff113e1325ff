"""Random workflows in one process, against what they mean: every step, every run, every call."""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from taskflow import Client
from tests.model.graphs import GRAPHS, parents_of
from tests.model.meaning import End, Flat, Meaning, flatten
from tests.model.recipes import HERE, Recipe, build, drawn
from tests.model.told import Told, state_of, wrong_values

MORE = int(os.environ.get("TASKFLOW_HISTORIES", "1"))

pytestmark = pytest.mark.timeout(600)  # hypothesis would take being late for a failure, and make it small


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with Client(mode="inline") as client:
        yield client


# ── drawing ──────────────────────────────────────────────────────────────────────────


@st.composite
def recipes(draw: st.DrawFn, *, stop: bool = True, most: int = 7) -> Recipe:
    """All that is chosen is chosen by hypothesis: what fails gets small."""
    chance = draw(st.randoms(use_true_random=False))
    size = draw(st.integers(1, most))
    before = [
        draw(st.lists(st.integers(0, n - 1), max_size=3, unique=True)) if n else [] for n in range(size)
    ]
    return drawn(chance, before, stop=stop)


@st.composite
def networks(draw: st.DrawFn, *, stop: bool = True, most: int = 12) -> Recipe:
    """Graphs that networkx makes, with a seed by hypothesis."""
    seed = draw(st.integers(0, 2**32 - 1))
    graph = draw(st.sampled_from(GRAPHS))(draw(st.integers(2, most)), seed)
    return drawn(random.Random(seed), parents_of(graph), stop=stop)


# ── comparing ────────────────────────────────────────────────────────────────────────


def begun(told: Told) -> dict[str, int]:
    return dict(Counter(told.name(node, index) for node, index, phase in HERE.entries if phase == "begin"))


def check(run: Any, flats: dict[str, Flat], **more: Any) -> Meaning:
    """Compare a run with its meaning; says all that differs."""
    told = Told(run)
    meaning = Meaning(flats, told.seen, **more)
    wrong = [*meaning.wrong, *(f"{label} has not ended" for label in told.open)]
    assert not wrong, "\n".join(wrong)
    wrong += wrong_values(run, meaning)
    wrong += _runs(told, meaning)
    wrong += _order(told, flats, meaning)
    if (expected := state_of(meaning)) != told.state:
        wrong.append(f"the run is {told.state}, and should be {expected}")
    assert not wrong, "\n".join(wrong)
    return meaning


def _runs(told: Told, meaning: Meaning) -> Iterator[str]:
    """Each call was begun as often as it should, and no other was; after a stop it may not have been."""
    found = begun(told)
    for name in sorted({*found, *meaning.runs}):
        have, want = found.get(name, 0), meaning.runs.get(name, 0)
        if have != want and not (meaning.stopped and have < want):
            yield f"{name} was begun {have} times, and should have been {want} times"


def _order(told: Told, flats: dict[str, Flat], meaning: Meaning) -> Iterator[str]:
    """Nothing begins before all that it waits for has done its work: of what took the place of a call, all
    of it where that gave a value."""
    first: dict[str, int] = {}
    last: dict[str, int] = {}
    for at, (node, index, _) in enumerate(HERE.entries):
        call, _, part = told.name(node, index).partition(">")
        step = call.partition("[")[0]
        first.setdefault(step, at)
        if not part or (call in meaning.parts and meaning.parts[call].ok):
            last[step] = at
    behind: dict[str, int] = {}

    def end_of(name: str) -> int:
        if name not in behind:
            behind[name] = max([last.get(name, -1), *map(end_of, flats[name].waits)])
        return behind[name]

    for name in flats.keys() & first.keys():
        for parent in flats[name].waits:
            if end_of(parent) > first[name]:
                yield f"{name} began before {parent} had ended"


def sent(client: Client, recipe: Recipe, **how: Any) -> Any:
    HERE.entries.clear()
    return build(recipe).run(client, **how)


def forget(client: Client, *runs: Any) -> None:
    for run in runs:
        client._engine.store.forget(run.id)


# ── the tests ────────────────────────────────────────────────────────────────────────


@settings(max_examples=200 * MORE)
@given(st.one_of(recipes(), networks()))
def test_any_workflow_does_what_its_recipe_means(client: Client, recipe: Recipe) -> None:
    HERE.healed = False
    run = sent(client, recipe).wait(30)

    check(run, flatten(recipe))
    forget(client, run)


UNSTOPPED = st.one_of(recipes(stop=False), networks(stop=False))


@settings(max_examples=60 * MORE)
@given(UNSTOPPED)
def test_a_retry_runs_what_failed_and_what_is_below_and_nothing_else(client: Client, recipe: Recipe) -> None:
    HERE.healed = False
    flats = flatten(recipe)
    run = sent(client, recipe).wait(30)
    first = check(run, flats)
    assume(not first.raced)
    HERE.healed = True
    HERE.entries.clear()

    again = run.retry_failed().wait(30)

    fresh = first.to_retry()
    assert (again is run) == (not fresh)
    if fresh:
        check(again, flats, healed=True, before=first, kept=without(first.ends, fresh))
    forget(client, *{run, again})


@settings(max_examples=60 * MORE)
@given(UNSTOPPED)
def test_a_resumed_run_takes_what_succeeded_and_runs_the_rest(client: Client, recipe: Recipe) -> None:
    HERE.healed = False
    flats = flatten(recipe)
    run = sent(client, recipe).wait(30)
    first = check(run, flats)
    HERE.healed = True

    again = sent(client, recipe, resume=run).wait(30)

    fresh = first.to_resume()
    check(again, flats, healed=True, kept=without(first.ends, fresh), items=first.items)
    forget(client, again, run)


def without(ends: dict[str, End], names: set[str]) -> dict[str, End]:
    return {name: end for name, end in ends.items() if name not in names}
