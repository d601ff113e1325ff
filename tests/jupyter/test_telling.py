"""What the server tells its pages of runs, and what they may do about them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from taskflow import Client
from tests.jupyter.pages import page
from tests.jupyter_servers import Jupyter, jupyter
from tests.servers import RedisServer, until

HOSTILE = "<img src=x onerror=alert(1)>\x1b[31m"


def gated(index: int, gate: str) -> int:
    """Ends when the gate is opened."""
    while not Path(gate).exists():
        time.sleep(0.01)
    return index


def failing(index: int, gate: str) -> int:
    gated(index, gate)
    if index % 2:
        raise ValueError(f"odd {index}")
    return index


@pytest.fixture(scope="module")
def client(server: Jupyter) -> Iterator[Client]:
    """Of the server's embedded store, which is not there before."""
    with Client(server.store_url, workers=2) as client:
        yield client


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    return tmp_path / "gate"


def test_a_store_that_is_not_there_yet_is_an_empty_list_and_found_when_it_is(tmp_path: Path) -> None:
    with jupyter(tmp_path) as server, page(server) as told:
        first = told.until(lambda m: m["kind"] == "list")

        with Client(server.store_url, workers=1) as client:
            run = client.submit(pow, 2, 3).run_id
            told.until_listed(run, lambda row: row.get("state") == "succeeded")

    assert (first["runs"], [store["state"] for store in first["stores"]]) == ([], ["absent"])
    assert told.messages[-1]["stores"][0]["state"] == "ok"


def test_a_page_is_told_how_a_run_moves_and_only_of_what_changed(
    server: Jupyter, client: Client, gate: Path
) -> None:
    ended = client.map(abs, range(10))
    ended.results()
    run = client.map(gated, range(40), [str(gate)] * 40)
    with page(server) as told:
        told.want(run.id)
        first = told.until(lambda m: m["kind"] == "run" and m["snapshot"]["state"] == "running")
        told.until_listed(run.id, lambda row: row.get("running"))
        listed = len(told.messages)
        gate.touch()
        last = told.until(lambda m: m["kind"] == "run" and m["snapshot"]["state"] == "succeeded")
        told.until_listed(run.id, lambda row: row.get("state") == "succeeded")

    assert (first["snapshot"]["done"], first["snapshot"]["total"]) == (0, 40)
    assert (last["snapshot"]["done"], last["run"]) == (40, run.id)
    row = told.rows[run.id]
    assert (row["done"], row["total"], row["name"], row["failed"]) == (40, 40, "gated", 0)
    again = [r["run"] for m in told.messages[listed:] if m["kind"] == "list" for r in m["runs"]]
    assert ended.id not in again


def test_snapshots_come_at_most_ten_times_a_second(server: Jupyter, client: Client) -> None:
    run = client.map(time.sleep, [0.01] * 200)
    with page(server) as told:
        told.want(run.id)
        began = time.monotonic()
        told.until(lambda m: m["kind"] == "run" and m["snapshot"]["state"] == "succeeded")
        took_s = time.monotonic() - began

    snapshots = [message for message in told.messages if message["kind"] == "run"]
    assert 2 <= len(snapshots) <= 10 * took_s + 2


def test_a_run_that_is_cancelled_here_stops(server: Jupyter, client: Client, gate: Path) -> None:
    run = client.map(gated, range(4), [str(gate)] * 4)

    status, answer = server.ask(f"taskflow/api/runs/{run.id}/cancel", {})

    assert (status, answer) == (200, {"changed": True})
    until(lambda: server.ask(f"taskflow/api/runs/{run.id}")[1]["state"] == "cancelled")


def test_failures_are_retried_as_a_new_run(server: Jupyter, client: Client, gate: Path) -> None:
    gate.touch()
    run = client.map(failing, range(6), [str(gate)] * 6)
    until(run.done)

    status, answer = server.ask(f"taskflow/api/runs/{run.id}/retry", {})

    assert status == 200
    until(lambda: server.ask(f"taskflow/api/runs/{answer['run']}")[1]["failed"] == 3)


def test_rows_errors_and_output_are_answered_without_opening_a_value(
    server: Jupyter, client: Client, gate: Path
) -> None:
    gate.touch()
    run = client.options(label=HOSTILE).map(failing, range(6), [str(gate)] * 6)
    until(run.done)
    label = server.ask(f"taskflow/api/runs/{run.id}")[1]["stages"][0]["label"]

    rows = server.ask(f"taskflow/api/runs/{run.id}/ask", {"what": "rows", "state": "failed"})[1]
    why = server.ask(f"taskflow/api/runs/{run.id}/ask", {"what": "error", "label": label, "index": 1})[1]
    odd = server.ask(f"taskflow/api/runs/{run.id}/ask", {"what": "rows", "sort": "colour"})

    assert [row["index"] for row in rows["rows"]] == [1, 3, 5]
    assert {row["preview"] for row in rows["rows"]} == {None}
    assert (why["type"].rpartition(".")[2], why["message"]) == ("ValueError", "odd 1")
    assert (odd[0], "colour" in odd[1]["message"]) == (400, True)
    assert server.ask("taskflow/api/runs?match=onerror")[1]["runs"][0]["name"] == HOSTILE


def test_runs_are_paged_the_newest_first_and_found_by_name_and_state(server: Jupyter, client: Client) -> None:
    runs = [client.options(label=f"paged {i}").map(abs, range(3)) for i in range(5)]
    for run in runs:
        run.results()

    pages = [server.ask(f"taskflow/api/runs?match=paged&size=2&page={n}")[1] for n in range(3)]

    assert [[row["name"][-1] for row in one["runs"]] for one in pages] == [["4", "3"], ["2", "1"], ["0"]]
    assert [one["more"] for one in pages] == [True, True, False]
    assert server.ask("taskflow/api/runs?match=paged&state=failed")[1]["runs"] == []
    assert len(server.ask("taskflow/api/runs?match=paged&state=succeeded")[1]["runs"]) == 5


def test_workers_are_told_to_those_who_want_to_hear_of_them(server: Jupyter, client: Client) -> None:
    client.submit(abs, 1).result()
    with page(server) as told:
        told.want(workers=True)
        workers = told.until(lambda m: m["kind"] == "workers" and m["workers"])["workers"]

    assert workers[0].keys() >= {"worker", "host", "slots", "busy", "status"}
    asked = server.ask("taskflow/api/workers")[1]["workers"]
    assert {worker["worker"] for worker in asked} == {worker["worker"] for worker in workers}


def test_a_run_that_nobody_knows_has_words_instead_of_a_snapshot(server: Jupyter) -> None:
    with page(server) as told:
        told.want("019a9a3b-4f21-7abc-8def-0123456789ab")
        answer = told.until(lambda m: m["kind"] == "run")

    assert answer["snapshot"] is None
    assert "knows run 019a9a3b" in answer["message"]


@pytest.mark.parametrize("words", ["[", "[]", '{"watch": [1]}'])
def test_a_page_that_talks_nonsense_is_let_go(server: Jupyter, words: str) -> None:
    import websocket

    with page(server) as told:
        told._socket.send(words)
        with pytest.raises((websocket.WebSocketException, ValueError, OSError)):
            told.until(lambda m: False, 10)


def test_a_store_that_is_away_is_said_and_comes_back(tmp_path: Path) -> None:
    with closing(RedisServer().start()) as redis:
        environment = {"TASKFLOW_URL": redis.url}
        with jupyter(tmp_path, environment=environment) as server, page(server) as told:
            told.until(lambda m: m["kind"] == "list" and m["stores"][0]["state"] == "ok")
            redis.kill()
            away = told.until(lambda m: m["kind"] == "list" and m["stores"][0]["state"] == "away")
            redis.start()
            told.until(lambda m: m["kind"] == "list" and m["stores"][0]["state"] == "ok", 40)

    assert away["stores"][0]["message"]
    assert away["stores"][1]["state"] == "absent"
