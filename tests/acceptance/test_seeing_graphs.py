"""A workflow as it goes on: nodes as they end, what is there so far, when it was worked on, its picture."""

from __future__ import annotations

import base64
import re
import sys
import time
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from taskflow import Client, MapRun, Workflow, WorkflowRun
from taskflow.errors import WaitTimedOut
from tests.acceptance.stage import DEADLINE_S, until


def _wait_for(path: str, value: Any = None) -> Any:
    until(Path(path).exists)
    return value


def _odd(x: int) -> int:
    if x % 2 == 0:
        raise ValueError(x)
    return x


def gated(folder: Path) -> Workflow:
    """`slow` waits for a file; all others do not wait for `slow`."""
    wf = Workflow("gated", on_failure="continue")
    slow = wf.add(_wait_for, str(folder / "gate"), "late", name="slow")
    numbers = wf.add(range, 1, 6, name="numbers")
    wf.map(_odd, numbers, name="odd")
    wf.map(abs, numbers, name="all")
    wf.add(str, slow, name="after")
    return wf


def test_nodes_come_as_they_end(client: Client, tmp_path: Path) -> None:
    run: WorkflowRun = client.submit_workflow(gated(tmp_path), {})
    came = run.as_completed(timeout=DEADLINE_S)

    early = dict(next(came) for _ in range(3))

    assert set(early) == {"numbers", "odd", "all"}
    assert isinstance(early["all"], MapRun)
    assert early["all"].results() == [1, 2, 3, 4, 5]
    assert early["odd"].results(errors="skip") == [1, 3, 5]
    (tmp_path / "gate").touch()
    assert [(name, handle.result()) for name, handle in came] == [("slow", "late"), ("after", "late")]
    assert {name for name, _ in run.as_completed()} == set(run.nodes), "also when all have ended"


def test_waiting_for_nodes_has_a_limit(client: Client, tmp_path: Path) -> None:
    run = client.submit_workflow(gated(tmp_path), {})

    with pytest.raises(WaitTimedOut):
        list(run.as_completed(timeout=0.2))
    run.cancel()


def test_a_node_that_failed_comes_too(client: Client) -> None:
    wf = Workflow(on_failure="continue")
    wf.add(int, wf.add(_odd, 2, name="bad"), name="below")
    run = client.submit_workflow(wf, {})

    assert [name for name, _ in run.as_completed(timeout=DEADLINE_S)] == ["bad", "below"]
    assert isinstance(run.nodes["bad"].exception(), ValueError)


def test_nodes_come_as_they_end_in_an_inline_client() -> None:
    with Client(mode="inline") as client:
        wf = Workflow()
        wf.map(abs, wf.add(range, 3, name="numbers"), name="all")

        assert [name for name, _ in client.submit_workflow(wf, {}).as_completed()] == ["numbers", "all"]


def test_what_is_there_can_be_had_before_the_rest(client: Client, tmp_path: Path) -> None:
    run = client.submit_workflow(gated(tmp_path), {})

    for name in ("odd", "all"):
        run.nodes[name].wait(DEADLINE_S)

    assert run.partial() == {"numbers": range(1, 6), "odd": [1, 3, 5], "all": [1, 2, 3, 4, 5]}
    (tmp_path / "gate").touch()
    run.wait(DEADLINE_S)
    assert set(run.partial()) == {"slow", "numbers", "odd", "all", "after"}


def test_a_run_is_a_timeline(client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    began = time.time()
    run = client.submit_workflow(gated(tmp_path), {})
    until(lambda: any(row["node"] == "slow" for row in run.timeline()))
    (running,) = [row for row in run.timeline() if row["node"] == "slow"]
    assert (running["state"], running["lo"], running["hi"]) == ("running", 0, 1)
    assert running["took_s"] >= 0
    (tmp_path / "gate").touch()
    rows = run.wait(DEADLINE_S).timeline()

    assert {row["node"] for row in rows} >= {"slow", "numbers", "odd", "all", "after"}
    assert all(row["worker"] and row["took_s"] >= 0 for row in rows)
    assert all(began - 1 <= row["started_at"] <= time.time() + 1 for row in rows)
    assert [row["started_at"] for row in rows] == sorted(row["started_at"] for row in rows)
    items = sorted((row["lo"], row["hi"], row["state"]) for row in rows if row["node"] == "odd")
    assert sum(hi - lo for lo, hi, _ in items) == 5
    assert [lo for lo, _, state in items if state == "failed"] == [1, 3]
    (slow,) = [row for row in run.to_frame() if row["node"] == "slow"]
    assert slow["ended_at"] - slow["started_at"] == pytest.approx(slow["took_s"])


def test_the_tables_are_tables_with_pandas(client: Client) -> None:
    wf = Workflow()
    wf.add(abs, -1, name="one")
    run = client.submit_workflow(wf, {}).wait(DEADLINE_S)

    assert list(run.timeline()["node"]) == ["one"]
    assert {"started_at", "ended_at"} <= set(run.to_frame().columns)


def test_the_picture_of_a_run_has_its_states(client: Client, tmp_path: Path) -> None:
    run = client.submit_workflow(gated(tmp_path), {})
    for name in ("odd", "all"):
        run.nodes[name].wait(DEADLINE_S)

    found = _boxes(run.to_svg())

    assert found["✓all"] == "map × 5 · succeeded"
    assert found["✗odd"] == "map × 5 · failed · 2 failed"
    assert found["◇after"] == "call · blocked"
    assert len(found) == 5, "what prepares a map is part of it"
    (tmp_path / "gate").touch()
    run.wait(DEADLINE_S)
    html = run._repr_mimebundle_()["text/html"]
    picture = re.search('alt="graph of gated: failed" src="data:image/svg[+]xml;base64,([^"]*)"', html)
    assert picture is not None
    assert "✓after" in _boxes(base64.b64decode(picture[1]).decode())


def _boxes(svg: str) -> dict[str, str]:
    texts = ["".join(t.itertext()) for t in ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]
    return dict(zip(texts[::2], texts[1::2], strict=True))
