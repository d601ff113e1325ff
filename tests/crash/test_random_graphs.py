"""Random workflows on real workers, whose children and whole processes are killed while they run."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Iterator
from contextlib import suppress

import pytest

from taskflow.ids import NodeId
from taskflow.states import TERMINAL, State
from taskflow.testing.checker import Expected
from tests.acceptance.stage import end, family
from tests.crash.stage import Stage
from tests.model.graphs import GRAPHS, parents_of
from tests.model.meaning import Meaning, flatten
from tests.model.recipes import build, drawn
from tests.model.told import Told, state_of, wrong_values

RUNS = ("call", "map", "spread")
EXAMPLES = 6 * int(os.environ.get("TASKFLOW_HISTORIES", "1"))
KILLS = 4


@pytest.mark.parametrize("seed", range(EXAMPLES))
def test_a_random_workflow_means_the_same_whoever_is_killed(stage: Stage, seed: int) -> None:
    chance = random.Random(seed)
    graph = chance.choice(GRAPHS)(chance.randrange(6, 16), seed)
    recipe = drawn(chance, parents_of(graph), stop=seed % 3 == 0)
    flats = flatten(recipe)

    stage.worker(2, lease_s=1.5)
    run = build(recipe, str(stage.folder), pause_s=0.02).run(stage.client().options(max_deliveries=50))
    kill_some(stage, run.id, chance)
    stage.until_ended(run.id, within_s=40)

    told = Told(run)
    meaning = Meaning(flats, told.seen)
    wrong = [*meaning.wrong, *(f"{label} has not ended" for label in told.open)]
    wrong += wrong_values(run, meaning)
    assert not wrong, f"{wrong} of {recipe!r}"
    assert told.state == state_of(meaning), repr(recipe)
    faults = stage.verdict(*expected(told, meaning)).faults
    if meaning.stopped:  # items of a map may have been cancelled, or not
        faults.pop("wrong", None)
    grown = {node for node, label in told.label.items() if f"{label}>0" in meaning.parts}
    # The outcome of what was replaced has the fence of what took its place.
    stale = [item for item in faults.pop("stale", ()) if item[0] not in grown and not told.array[item[0]]]
    assert (faults, stale) == ({}, []), repr(recipe)


def kill_some(stage: Stage, run: str, chance: random.Random) -> None:
    """Kill a child or a whole worker, whenever some more has begun; there is always a worker."""
    for _ in range(KILLS):
        before = stage.ledger.begun().total()
        more = chance.randrange(1, 6)
        stage.until(lambda n=before + more: stage.ledger.begun().total() >= n or stage.state(run) in TERMINAL)
        if stage.state(run) in TERMINAL:
            return
        worker = stage.workers[-1]
        _template, *children = sorted(family(worker.pid) - {worker.pid}) or [0]
        if chance.random() < 0.4 or not children:
            end(worker)
            stage.worker(2, lease_s=1.5)
        else:
            with suppress(ProcessLookupError):
                os.kill(chance.choice(children), signal.SIGKILL)


def expected(told: Told, meaning: Meaning) -> Iterator[Expected]:
    """What the history checker has to know of each node that may run."""
    ids = {label: node for node, label in told.label.items()}
    for name, flat in meaning.flats.items():
        if flat.kind not in RUNS:
            continue
        ends = meaning.items.get(name)
        if ends is None:
            width = flat.step.width if flat.kind == "map" else 0 if flat.kind == "spread" else 1
            ends = [meaning.ends[name]] * width
        after = tuple(NodeId(ids[parent]) for parent in before(name, meaning))
        states = frozenset(State(one.state) for one in ends)
        yield Expected(
            NodeId(ids[name]), len(ends), lambda index, ends=ends: ends[index].value, after, states
        )
    for label, one in meaning.parts.items():
        if ">" in label and label in ids:
            states = frozenset({State(one.state)})
            yield Expected(NodeId(ids[label]), 1, lambda _, one=one: one.value, (), states)


def before(name: str, meaning: Meaning) -> Iterator[str]:
    """The steps that must have ended before a step begins, of those that write down that they ran."""
    for parent in meaning.flats[name].waits:
        if not meaning.ends[parent].ok:
            continue
        if meaning.flats[parent].kind in RUNS:
            yield parent
        else:
            yield from before(parent, meaning)
