"""show of a run whose tasks depend on each other: the graph, in every state, and while it goes on."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from taskflow.cli import follow
from taskflow.ids import RunId
from taskflow.records import EdgeMode, Kind
from tests.unit.cli.shop import Shop


def diamond(shop: Shop) -> RunId:
    load = shop.call("load")
    low = shop.call("low", load.id)
    parse = shop.call("parse", load.id)
    return shop.submit(load, low, parse, shop.call("report", low.id, parse.id))


def graph(out: str) -> list[str]:
    """The column of tasks, below its heading."""
    lines = out.split("\n\n")[1].splitlines()
    at, end = lines[0].index("task"), lines[0].index("state")
    return [line[at:end].rstrip() for line in lines[1:]]


def test_a_run_is_shown_as_its_graph(shop: Shop) -> None:
    run = diamond(shop)
    shop.succeed()
    shop.fail(ValueError("no"))

    assert graph(shop("show", run).out) == [
        "✓ load",
        "├─╮",
        "│ ✗ low",
        "○ │ parse",
        "├─╯",
        "◇ report",
    ]


def test_a_wide_map_is_one_line_with_its_counts(shop: Shop) -> None:
    parse = shop.map(10_000)
    run = shop.submit(parse, shop.call("total", parse.id))
    shop.succeed()
    shop.fail(ValueError("no"))
    shop.take()

    (line,) = [line.split() for line in shop("show", run).out.splitlines() if "/10,000" in line]

    assert line[1:4] == ["►", "parse", "running"]
    assert line[line.index("2/10,000") :][:3] == ["2/10,000", "1", "1"]


@pytest.mark.parametrize(
    ("what", "signs"),
    [
        ("nothing", "○◇"),
        ("taken", "►◇"),
        ("succeeded", "✓○"),
        ("failed", "✗»"),
        ("retry", "~◇"),
        ("cancelled", "⊘⊘"),
        ("dead", "✘»"),
    ],
)
def test_each_state_has_its_sign(shop: Shop, what: str, signs: str) -> None:
    first = shop.call("first")
    run = shop.submit(first, shop.call("second", first.id, mode=EdgeMode.ALL))
    if what == "cancelled":
        shop.store.cancel(run)
    elif what == "dead":
        for _ in range(3):
            shop.settle(shop.take(), Kind.LOST)
    elif what != "nothing":
        lease = shop.take()
        if what == "retry":
            shop.settle(lease, Kind.RETRY, delay_s=60.0)
        elif what == "failed":
            shop.settle(lease, Kind.FAILED, error='{"kind":"failed"}')
        elif what == "succeeded":
            shop.settle(lease, value=b"")

    assert [line[:1] for line in graph(shop("show", run).out)] == list(signs)


def test_a_run_of_very_many_tasks_is_shown_as_a_small_graph(shop: Shop) -> None:
    load = shop.call("load")
    steps = [shop.call(f"step-{i}", load.id) for i in range(200)]
    run = shop.submit(load, *steps, shop.call("last", *(step.id for step in steps)))
    shop.succeed()
    shop.succeed()

    answer = shop("show", run)

    assert graph(answer.out) == ["✓ load", "► step × 200", "◇ last"]
    assert "1/200" in answer.out
    assert "202 tasks; those that are alike are one" in answer.err
    assert "step-199" in shop("show", run, "--items").out


def test_hostile_names_cannot_steer_the_terminal(shop: Shop) -> None:
    evil = "\x1b[2J\x07\u202e\n"
    first = shop.call(f"first{evil}")
    run = shop.submit(first, shop.call(f"second{evil}", first.id))

    answer = shop("show", run)

    assert all(line.isprintable() for line in (answer.out + answer.err).split("\n"))


def test_following_without_a_terminal_tells_what_happens_line_by_line(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    parse = shop.map(20)
    run = shop.submit(parse, shop.call("total", parse.id))

    def happens(store: object) -> Iterator[None]:
        yield
        for _ in range(20):
            shop.clock.advance(1)
            shop.succeed()
            yield
        shop.clock.advance(1)
        shop.succeed()
        yield

    monkeypatch.setattr(follow, "news", happens)
    answer = shop("show", run, "-f")

    told = answer.err.splitlines()
    assert answer.code == 0
    assert told[0].split() == ["0:01", "parse", "running", "1/20"]
    assert told[-2].split() == ["0:20", "parse", "succeeded", "20/20"]
    assert told[-1].split() == ["0:21", "total", "succeeded", "1/1"]
    assert len(told) == 12, "no more than a line for each tenth"
    assert answer.out.startswith("census  succeeded\n")


def test_following_ends_when_the_run_ends(shop: Shop) -> None:
    run = diamond(shop)
    worker = threading.Thread(target=shop.work, args=[lambda index: index])
    worker.start()

    answer = shop("show", run, "-f")
    worker.join()

    assert answer.code == 0
    assert "report  succeeded" in answer.err
