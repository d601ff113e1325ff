"""Shapes that Celery's tracker reports as broken, by the number of the issue, on real workers.

Each line says what happens there.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import taskflow
from taskflow import Client, GroupResult, RetryPolicy, Signature, chain, chord, group, replace, task
from taskflow.errors import UpstreamFailed
from taskflow.result import result_from_tuple
from tests.acceptance.stage import DEADLINE_S, until

pytestmark = pytest.mark.usefixtures("current")


@task
def add(x: int, y: int = 0) -> int:
    return x + y


@task
def total(values: list[int], plus: int = 0) -> int:
    return sum(values) + plus


@task
def same(value: Any) -> Any:
    return value


@task
def t(value: Any) -> Any:
    """What the report 5138 has: a list is added up, everything grows by one."""
    return (sum(value) if isinstance(value, list) else value) + 1


@task
def fail(*_: Any) -> None:
    raise ValueError("broken")


@task
def noted(word: str, path: str) -> None:
    with Path(path).open("a") as file:
        file.write(f"{word}\n")


@task
def opened_by(path: str) -> str:
    until(Path(path).exists)
    return "open"


@task(retry=RetryPolicy(3, delay=0.0))
def second_time(value: int) -> int:
    if taskflow.current().attempt < 2:
        raise OSError("again")
    return value


def deep_chords() -> Signature:
    """Groups of groups of groups, each with a task behind it."""

    def level(name: int, depth: int) -> Signature:
        if depth == 0:
            return add.si(name)
        return group([level(10 * name + i, depth - 1) for i in (1, 2)]) | total.s()

    return chain(level(1, 3), add.s(1), add.s(1))


SHAPES: list[tuple[int, str, Callable[[], Signature], Any]] = [
    (
        4681,
        "the last task of a chord in a chord's header is never run",
        lambda: group([add.si(1) | group([add.si(2), add.si(3)]) | same.s()]) | same.s(),
        [[2, 3]],
    ),
    (
        2573,
        "the body behind a chain that ends with a chord is never run",
        lambda: chain(
            add.s(1),
            chord([add.s(2), chain(add.s(3), chord([add.s(4), add.s(5)], total.s()))], total.s()),
        ),
        3 + (8 + 9),
    ),
    (
        2573,
        "get() of a group in a group hangs",
        lambda: group(group(add.s(16, 16), add.s(32, 32)), add.s(2, 2) | add.s(4)),
        [32, 64, 8],
    ),
    (
        2573,
        "get() of a chord beside a chain hangs",
        lambda: group(group(add.s(16, 16), add.s(32, 32)) | total.s(4), add.s(2, 2) | add.s(4)),
        [100, 8],
    ),
    (
        3506,
        "the same as 2573, with two tasks behind the inner chord",
        lambda: chain(
            add.s(1),
            chord(
                [add.s(2), chain(add.s(3), chord([add.s(4), add.s(5)], total.s()), add.s(3), add.s(4))],
                total.s(),
            ),
        ),
        3 + (8 + 9 + 3 + 4),
    ),
    (
        5354,
        "task, group, task, task, group, task never completes",
        lambda: chain(
            add.s(1), group(add.s(1), add.s(2)), total.s(), add.s(1), group(add.s(1), add.s(2)), total.s()
        ),
        6 + 1 + 6 + 2,
    ),
    (
        5512,
        "groups at both ends with several tasks between them never complete",
        lambda: chain(group(add.s(1), add.s(2)), total.s(), add.s(1), add.s(1), group(add.s(1), add.s(2))),
        [6, 7],
    ),
    (
        5958,
        "groups of one behind a group of three run three times each",
        lambda: chain(
            group(add.si(1), add.si(2), add.si(3)), group(total.s(), total.s(10)), group(same.s()), same.s()
        ),
        [[6, 16]],
    ),
    (
        8182,
        "what is behind a group of a chain of a group does not wait for the inner group",
        lambda: chain(group(add.s(1), chain(group(add.s(3), add.s(4)))), same.s()),
        [1, [3, 4]],
    ),
    (
        9772,
        "empty groups in a chain are an AttributeError",
        lambda: chain(group([add.s(1), add.s(2)]), group(), group()),
        [],
    ),
    (
        9772,
        "a task behind an empty group never runs",
        lambda: chain(group([add.s(1), add.s(2)]), group(), total.s(7)),
        7,
    ),
    (
        4401,
        "chords of chords never complete",
        lambda: group([group([total.s([i, 2]), total.s([4, 5])]) | total.s() for i in (1, 6)]) | total.s(),
        (3 + 9) + (8 + 9),
    ),
    (3538, "three levels of chords run their bodies twice, or hang", deep_chords, 9334),
    (
        3885,
        "a chord in a header whose own header is one task is a KeyError",
        lambda: chord([chord([add.s(1), add.s(2)], total.s()), chord([add.s(3)], total.s())], total.s()),
        6,
    ),
    (
        3968,
        "a chain in a group behind a task gets no argument",
        lambda: chain(add.s(1), group(chain(add.s(1)), chain(add.s(2), add.s(3)))),
        [2, 6],
    ),
    (
        4161,
        "a chain in a group in a body loses the results of the header",
        lambda: chord([same.s(1), same.s(2)], group(same.s() | same.s(), same.s())),
        [[1, 2], [1, 2]],
    ),
    (
        4274,
        "a nested chain that ends with a group is a TypeError",
        lambda: chain(
            add.si(0),
            group(add.si(1), chain(add.si(2), group(add.si(3), add.si(4)))),
            same.s(),
        ),
        [1, [3, 4]],
    ),
    (
        3066,
        "chains in groups give wrong results",
        lambda: group([chain(add.s(1), add.s(2))] * 2).clone((10,)),
        [13, 13],
    ),
    (
        2325,
        "a chain in a group behind a task is an internal error",
        lambda: chain(add.si(0), group(add.si(1), chain(add.si(2), add.si(3)))),
        [1, 3],
    ),
    (
        3009,
        "groups of a task with a group behind it freeze",
        lambda: group(add.s(i) | group(add.s(1), add.s(2)) for i in range(3)),
        [[1, 2], [2, 3], [3, 4]],
    ),
    (
        3585,
        "two groups in a chain, each with a task behind it, run out of order",
        lambda: chain(
            add.si(1), group(add.si(2), add.si(3)), total.s(), group(add.s(4), add.s(5)), total.s()
        ),
        19,
    ),
    (
        4848,
        "groups one behind the other are an AttributeError",
        lambda: chain(group(add.s(1), add.s(2)), group(total.s(), total.s(1)), total.s()),
        7,
    ),
    (
        5138,
        "the tasks behind a chord in a chain are not run",
        lambda: chain(
            t.s(1),
            chord(
                group(chain(t.s(), group(chain(t.s(), t.s(), t.s()), chain(t.s(), t.s(), t.s())), t.s())),
                t.s(),
            ),
            t.s(),
            t.s(),
            t.s(),
        ),
        17,
    ),
    (
        5220,
        "the last task behind chains that end with chords is never run",
        lambda: chord(
            group([chain(add.si(1), chord(group([add.si(2), add.si(3)]), total.s()))] * 2), total.s()
        ),
        10,
    ),
    (5496, "a group of a chain of a group fails", lambda: group(chain(group(add.s(1), add.s(2)))), [[1, 2]]),
    (
        1057,
        "a result does not reach the chains in a group",
        lambda: add.s(3, 2) | group(add.s(1) | add.s(2), add.s(7) | add.s(3)),
        [8, 15],
    ),
    (
        1921,
        "chords side by side are not run",
        lambda: group(
            chord(group(add.s(1), add.s(2)), total.s(1)), chord(group(add.s(1), add.s(2)), total.s(2))
        ),
        [4, 5],
    ),
    (
        2324,
        "a body does not wait for a member that is tried again",
        lambda: chord([second_time.s(1), second_time.s(2), add.s(3)], total.s()),
        6,
    ),
    (
        6734,
        "get() of a group with a chord whose body is a chain times out",
        lambda: group([chord(same.si(42), chain(same.s()))]),
        [[42]],
    ),
    (
        6176,
        "a chord that begins a chain gets none of the arguments that the chain is called with",
        lambda: chain(chord([same.s(), same.s()], same.s()), same.s()).clone((1,)),
        [1, 1],
    ),
    (
        6200,
        "a chain that is all of another chain gets none of the arguments that this is called with",
        lambda: chain(chain(same.s(), same.s())).clone((1,)),
        1,
    ),
]


@pytest.mark.parametrize(
    ("shape", "expected"),
    [pytest.param(shape, value, id=f"{issue}: {breaks}") for issue, breaks, shape, value in SHAPES],
)
def test_a_shape_that_breaks_elsewhere_gives_its_value(
    shape: Callable[[], Signature], expected: Any, client: Client
) -> None:
    result = shape().apply_async(client=client)

    assert result.get(DEADLINE_S) == expected
    assert result.successful()


BROKEN: list[tuple[int, str, Callable[[], Signature]]] = [
    (
        6437,
        "an exception in a group of chains makes get() hang",
        lambda: group([chain(add.s(1), fail.s(), add.s(2)), chain(add.s(1), add.s(2))]),
    ),
    (
        3810,
        "an exception early in a chain of a group makes get() hang",
        lambda: group(add.si(1, 2), fail.si() | add.si(1, 1)),
    ),
    (
        6220,
        "a chain in a header that fails early never fails the chord",
        lambda: chord([chain(fail.si(), add.si(1)), add.si(2)], total.s()),
    ),
    (
        5229,
        "a failed member of a header never fails the chord",
        lambda: chord([add.si(1), fail.si()], total.s()),
    ),
    (
        8786,
        "a failed member of a group in a chain of groups makes get() hang",
        lambda: chain(group(add.si(1), add.si(2)), group(add.si(3), fail.si()), add.si(9)),
    ),
    (
        4834,
        "a failed group in a chain in a chain is an internal error",
        lambda: chain(chain(group(add.si(1), fail.si()), add.si(2)), add.si(3)),
    ),
    (
        3396,
        "a failed member of a nested chord is an internal error",
        lambda: chord([chord([fail.si()], total.s()), add.si(1)], total.s()),
    ),
]


@pytest.mark.parametrize(
    "shape", [pytest.param(shape, id=f"{issue}: {breaks}") for issue, breaks, shape in BROKEN]
)
def test_a_failure_anywhere_in_a_shape_ends_it(shape: Callable[[], Signature], client: Client) -> None:
    result = shape().apply_async(client=client)

    with pytest.raises((ValueError, UpstreamFailed), match=r"broken|fail failed|skipped"):
        result.get(DEADLINE_S)
    until(result.ready)
    assert result.failed()


@pytest.mark.parametrize(
    "begin",
    [
        lambda say: [group(map(say, "123")), group(map(say, "456"))],
        lambda say: [chord(map(say, "123"), group(map(say, "456")))],
    ],
    ids=["two groups", "a chord with a group for a body"],
)
def test_5958_each_task_of_groups_in_a_row_runs_once(begin: Any, client: Client, tmp_path: Path) -> None:
    """There, what is behind two groups runs once for each member of the second."""

    def say(word: str) -> Signature:
        return noted.si(word, str(tmp_path / "said"))

    sig = chain(*begin(say), group(say("7")), group(say("8")), say("9"))
    sig.apply_async(client=client).get(DEADLINE_S)

    assert sorted((tmp_path / "said").read_text().split()) == list("123456789")


@pytest.mark.parametrize(
    ("sig", "expected"),
    [(chain(chord([same.s(), same.s()], same.s()), same.s()), [1, 1]), (chain(chain(same.s(), same.s())), 1)],
    ids=["6176", "6200"],
)
def test_6176_and_6200_a_canvas_may_be_called_with_arguments(
    sig: Signature, expected: Any, client: Client
) -> None:
    """There, they are lost on the way, by apply_async as by apply."""
    assert sig.apply_async((1,), client=client).get(DEADLINE_S) == expected
    assert sig.apply((1,)).get() == expected


def test_8182_what_is_behind_waits_for_an_inner_group(client: Client, tmp_path: Path) -> None:
    """There, the last task runs when the outer group has ended, whether the inner one has or not."""
    gate = tmp_path / "gate"
    sig = chain(group(same.si(1), chain(same.si(2), group(opened_by.si(str(gate)), same.si(4)))), same.s())
    result = sig.apply_async(client=client)
    until(lambda: result.parent is not None and result.parent[0].successful())

    assert not result.ready()
    gate.touch()

    assert result.get(DEADLINE_S) == [1, ["open", 4]]


def test_10692_a_failed_member_of_an_inner_group_stands_in_its_place(client: Client) -> None:
    """There, get(propagate=False) of an outer group raises what a member of an inner one raised."""
    sig = group(add.si(1), chain(add.si(0), group(add.si(2), fail.si())))

    one, (two, error) = sig.apply_async(client=client).get(DEADLINE_S, propagate=False)

    assert (one, two) == (1, 2)
    assert isinstance(error, ValueError)


def test_10408_the_tuple_of_a_chain_has_all_its_groups(client: Client) -> None:
    """There, the tuple of a chain with two groups one behind the other loses the members of both."""
    sig = chain(add.s(1), group(add.s(1), add.s(2)), group(total.s(), total.s(1), total.s(2)), total.s())
    result = sig.apply_async(client=client)

    again = result_from_tuple(result.as_tuple(), client=client)

    assert again is not None
    assert again.get(DEADLINE_S) == 18
    assert isinstance(again.parent, GroupResult)
    assert [part.get() for part in again.parent] == [5, 6, 7]
    assert isinstance(again.parent.parent, GroupResult)
    assert [part.get() for part in again.parent.parent] == [2, 3]
    assert again.as_tuple() == result.as_tuple()


def test_3535_a_task_in_a_header_is_replaced_by_a_chord(client: Client) -> None:
    """There, the body behind members that were replaced by chords is not run."""

    @task
    def spawn(size: int) -> Any:
        replace(chord([add.si(i) for i in range(size)], total.s()))

    sig = chain(add.si(0), group(spawn.si(3), spawn.si(4)), total.s(), add.s(1))

    assert sig.apply_async(client=client).get(DEADLINE_S) == 3 + 6 + 1


# ── large ones ───────────────────────────────────────────────────────────────────────


def test_large_shapes_take_moments(client: Client) -> None:
    wide = chord((add.s(i) for i in range(10_000)), total.s()).apply_async(client=client)
    long = chain([add.s(0), *[add.s(1) for _ in range(999)]]).apply_async(client=client)
    broken = chain([fail.s(), *[add.s(1) for _ in range(9_999)]]).apply_async(client=client)

    assert wide.get(DEADLINE_S) == sum(range(10_000))
    assert wide.parent.completed_count() == 10_000
    assert long.get(DEADLINE_S) == 999
    with pytest.raises(UpstreamFailed):
        broken.get(DEADLINE_S)
