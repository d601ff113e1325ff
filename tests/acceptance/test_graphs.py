"""Canvas, workflows and map-reduce through a client with real workers."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

from taskflow import (
    AsyncResult,
    Client,
    Workflow,
    WorkflowRun,
    blocks,
    chain,
    chord,
    files,
    group,
    lines,
    map_reduce,
    task,
)
from taskflow.errors import GraphError, UpstreamFailed, UsageError
from taskflow.ids import id_from
from taskflow.states import State
from tests.acceptance.stage import DEADLINE_S

pytestmark = pytest.mark.usefixtures("current")


@task
def add(x: int, y: int = 0) -> int:
    return x + y


@task
def total(numbers: list[int]) -> int:
    return sum(numbers)


@task
def fail(*_: Any) -> None:
    raise ValueError("broken")


def words(line: str) -> list[tuple[str, int]]:
    if "!" in line:
        raise ValueError(line)
    return [(word, 1) for word in line.split()]


def count(_: str, ones: list[int]) -> int:
    return sum(ones)


# ── canvas ───────────────────────────────────────────────────────────────────────────


def test_a_chain_hands_results_on() -> None:
    result = chain(add.s(1, 2), add.s(10), add.s(100)).delay()

    assert result.get(DEADLINE_S) == 113
    assert result.parent.get(DEADLINE_S) == 13
    assert result.parent.parent.get(DEADLINE_S) == 3
    assert result.successful()


def test_a_group_gives_a_list() -> None:
    result = group(add.s(i, i) for i in range(10)).delay()

    assert result.get(DEADLINE_S) == [0, 2, 4, 6, 8, 10, 12, 14, 16, 18]
    assert [child.get(DEADLINE_S) for child in result.children] == result.get()


def test_a_chord_joins() -> None:
    assert chord([add.s(i, 1) for i in range(20)], total.s()).delay().get(DEADLINE_S) == 210
    assert chain(add.s(1), group(add.s(1), add.s(2)), total.s(), add.s(100)).delay().get(DEADLINE_S) == 105


def test_a_failed_step_skips_the_rest() -> None:
    result = chain(add.s(1), fail.s(), add.s(2)).delay()

    with pytest.raises(UpstreamFailed):
        result.get(DEADLINE_S)
    with pytest.raises(ValueError, match="broken"):
        result.parent.get(DEADLINE_S)
    assert result.failed()
    assert not result.successful()


def test_a_canvas_can_be_awaited() -> None:
    async def main() -> Any:
        return await chain(add.s(1), add.s(2)).delay()

    assert asyncio.run(main()) == 3


def test_a_canvas_is_attached_as_what_it_was(client: Client) -> None:
    sent = chain(add.s(1), group(add.s(1), add.s(2))).delay()

    with Client(client.url, workers=0) as other:
        found = other.attach(sent.id)

        assert isinstance(found, AsyncResult)
        assert found.get(DEADLINE_S) == [2, 3]
        assert found.parent.get(DEADLINE_S) == 1
        with pytest.raises(UsageError, match="is a run of"):
            other.future(sent.id)


def test_a_signature_takes_a_future(client: Client) -> None:
    five = client.submit(abs, -5)

    assert add.s(five, 1).delay().get(DEADLINE_S) == 6


def test_a_canvas_with_a_key_is_sent_once(client: Client) -> None:
    once = client.options(key="canvas key")

    first = once.submit_canvas(chain(add.s(1), add.s(2)))
    second = once.submit_canvas(chain(add.s(1), add.s(2)))

    assert first.id == second.id
    assert first.get(DEADLINE_S) == second.get(DEADLINE_S) == 3


def ordered(client: Client, shape: str) -> Any:
    if shape == "canvas":
        return client.submit_canvas(chain(add.s(1), add.s(2)))
    return client.map(_double, [1, 2]) if shape == "map" else diamond().run(client)


@pytest.mark.parametrize(
    ("shape", "result", "value"),
    [
        ("canvas", lambda sent: sent.get(DEADLINE_S), 3),
        ("map", lambda sent: sent.results(), [2, 4]),
        ("workflow", lambda sent: sent.result("span", timeout=DEADLINE_S), 6),
    ],
)
def test_what_two_clients_send_with_one_key_at_one_moment_is_one_run(
    client: Client, monkeypatch: pytest.MonkeyPatch, shape: str, result: Any, value: Any
) -> None:
    store, key, sooner = client._engine._store, f"one moment, {shape}", list[Any]()
    submit = store.submit

    def after_another(plans: Any) -> Any:
        if not sooner:
            sooner.append(ordered(other.options(key=key), shape))
        return submit(plans)

    with Client(client.url, workers=0) as other:
        monkeypatch.setattr(store, "submit", after_another)
        sent = ordered(client.options(key=key), shape)

        assert sent.id == sooner[0].id
        assert result(sent) == result(sooner[0]) == value


# ── workflow ─────────────────────────────────────────────────────────────────────────


def diamond() -> Workflow:
    wf = Workflow("diamond")
    start = wf.add(range, 1, 5, name="start")
    doubled = wf.map(_double, start, name="doubled")
    low = wf.add(min, doubled, name="low")
    high = wf.add(max, doubled, name="high")
    wf.add(_span, low, high, name="span")
    return wf


def test_a_key_is_for_a_workflow_too_of_which_all_is_resumed(client: Client) -> None:
    first = diamond().run(client)
    assert first.result("span", timeout=DEADLINE_S) == 6

    again = diamond().run(client.options(key="all of it"), resume=first)

    assert again.id != first.id
    assert again.result("span", timeout=DEADLINE_S) == 6


def _double(x: int) -> int:
    return 2 * x


def _span(low: int, high: int) -> int:
    return high - low


def test_a_workflow_runs_and_names_its_nodes(client: Client) -> None:
    run = client.submit_workflow(diamond(), {})

    assert run.result(timeout=DEADLINE_S) == 6
    assert run.result("high") == 8
    assert run.nodes["doubled"].results() == [2, 4, 6, 8]
    assert len(run.nodes["doubled"]) == 4
    assert run.gather() == {"start": range(1, 5), "doubled": [2, 4, 6, 8], "low": 2, "high": 8, "span": 6}
    assert run.state is State.SUCCEEDED
    assert set(run.to_frame()["node"]) >= {"start", "doubled", "span"}
    with pytest.raises(GraphError, match="Did you mean 'high'"):
        _ = run.nodes["hihg"]


def test_a_workflow_is_attached_in_another_client(client: Client) -> None:
    run = client.submit_workflow(diamond(), {})

    with Client(client.url, workers=0) as other:
        found = other.attach(run.id)

        assert isinstance(found, WorkflowRun)
        assert found.wait(DEADLINE_S).result() == 6


def test_what_a_step_failed_on_is_told_and_can_run_again(client: Client, tmp_path: Any) -> None:
    gate = tmp_path / "gate"
    wf = Workflow("gated", on_failure="continue")
    first = wf.add(_double, 4, name="first")
    opened_ = wf.add(_through, str(gate), first, name="opened")
    wf.add(_double, opened_, name="last")

    run = client.submit_workflow(wf, {}).wait(DEADLINE_S)
    assert [(label, failure.type) for label, _, failure in run.failures] == [("opened", "FileNotFoundError")]
    assert client.gather(run, errors="skip") == {"first": 8}
    with pytest.raises(UpstreamFailed):
        run.result()
    gate.write_text("")
    again = run.retry_failed()

    assert again.result(timeout=DEADLINE_S) == 16
    assert again.gather() == {"first": 8, "opened": 8, "last": 16}
    assert again.retry_failed() is again


def _through(path: str, value: int) -> int:
    with Path(path).open():
        return value


def test_a_workflow_can_be_cancelled_and_awaited(client: Client) -> None:
    late = client.options(countdown=60).submit_workflow(diamond(), {})
    assert late.cancel()
    assert late.wait(DEADLINE_S).state is State.CANCELLED
    assert not late.cancel()

    async def main() -> Any:
        return await client.submit_workflow(diamond(), {})

    assert asyncio.run(main()) == 6


# ── map-reduce ───────────────────────────────────────────────────────────────────────


def test_a_map_reduce_counts(client: Client) -> None:
    lines = ["a b a", "c", "b a"] * 50

    found = map_reduce(lines, words, count, combiner=count)

    assert dict(found) == {"a": 150, "b": 100, "c": 50}


def test_a_map_reduce_with_a_key_is_run_once(client: Client) -> None:
    lines, once = ["a b a", "c"], client.options(key="words of today")

    first, second = (map_reduce(lines, words, count, client=once) for _ in range(2))

    assert dict(first) == dict(second) == {"a": 2, "b": 1, "c": 1}
    assert len(client.runs(match=id_from("words of today"))) == 1


def test_a_map_reduce_raises_or_skips(client: Client) -> None:
    lines = ["a", "bad!", "a b"]

    with pytest.raises(ValueError, match="bad!"):
        map_reduce(lines, words, count)
    found = map_reduce(lines, words, count, errors="skip")

    assert dict(found) == {"a": 2, "b": 1}
    assert [failure.lo for failure in found.failures] == [1]


def test_a_map_reduce_takes_a_future(client: Client) -> None:
    lines = client.submit("a b;b".split, ";")

    assert dict(map_reduce(lines, words, count)) == {"a": 1, "b": 2}


def test_a_map_reduce_reads_files_on_the_workers(client: Client, tmp_path: Path) -> None:
    for name in "abc":
        (tmp_path / f"{name}.txt").write_bytes(f"{name} x\r\nx\n".encode() * 20_000)

    found = map_reduce(lines(tmp_path / "*.txt"), words, count, combiner=count, sort=True)

    assert list(found.items()) == [("a", 20_000), ("b", 20_000), ("c", 20_000), ("x", 120_000)]
    sizes = client.map(os.path.getsize, files(tmp_path))
    assert sum(sizes) == 3 * 140_000
    assert sum(client.map(len, blocks(tmp_path / "a.txt", block_bytes=50_000))) == 120_000  # \r\n is \n


def test_an_item_that_fails_on_a_worker_is_named(client: Client, tmp_path: Path) -> None:
    path = tmp_path / "data.txt"
    path.write_text("a\nbad!\n")

    with pytest.raises(ValueError, match="bad!") as caught:
        map_reduce(lines(path), words, count)
    assert f"while mapping line 2 of {path}" in caught.value.__notes__
    with pytest.raises(UsageError, match="among its pairs") as refused:
        map_reduce(lines(path), str.split, count)
    assert f"while mapping line 1 of {path}" in refused.value.__notes__
    path.write_bytes(b"a\n\xff\n")
    with pytest.raises(UnicodeDecodeError) as unread:
        map_reduce(lines(path), words, count)
    assert f"while reading bytes 0 to 4 of {path}, as utf-8" in unread.value.__notes__


def test_a_workflow_reads_files_again_whenever_it_runs(client: Client, tmp_path: Path) -> None:
    (tmp_path / "1.txt").write_text("a b\n")
    work = Workflow()
    counts = work.map_reduce(lines(tmp_path / "*.txt"), words, count, name="counts", sort=True)
    work.add(list, counts, name="found")

    assert work.run(client).result("found") == ["a", "b"]
    (tmp_path / "2.txt").write_text("0 c\n")
    assert work.run(client).result("found") == ["0", "a", "b", "c"]


def test_a_map_reduce_takes_a_frame(client: Client) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"city": ["a", "b", "a"] * 1000, "price": range(3000)})

    for data in (frame, client.submit(frame.copy)):
        found = map_reduce(data, lambda row: [(row.city, row.price)], count, combiner=count, sort=True)

        assert dict(found) == frame.groupby("city")["price"].sum().to_dict()
