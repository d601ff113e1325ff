"""What each page is told: what it wants, when it has changed, and the newest of it only."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from taskflow.jupyter.desk import Desk
from taskflow.jupyter.hub import Hub, Page
from taskflow.jupyter.reader import News
from taskflow.jupyter.rows import Paces

RUN = "019a9a3b-4f21-7abc-8def-0123456789ab"


def listing(*rows: dict[str, Any]) -> dict[str, Any]:
    return {"stores": [], "runs": list(rows), "page": 0, "size": 100, "more": False, "read_only": False}


def row(run: str = RUN, done: int = 0, **more: Any) -> dict[str, Any]:
    return {"run": run, "done": done, "total": 100, "ended_at": None, "eta_s": None} | more


@pytest.fixture
def hub() -> Hub:
    return Hub(Desk(list))


def told(page: Page, hub: Hub) -> list[dict[str, Any]]:
    return [json.loads(message) for message in page.news(hub)]


def test_a_page_is_told_the_whole_list_first_and_then_what_changed(hub: Hub) -> None:
    page = Page(lambda: None)
    hub.hear(News(listing=listing(row(), row("other"))))
    (first,) = told(page, hub)
    nothing = told(page, hub)
    hub.hear(News(listing=listing(row(done=1), row("new"))))
    (second,) = told(page, hub)

    assert (first["whole"], [r["run"] for r in first["runs"]]) == (True, [RUN, "other"])
    assert nothing == []
    assert (second["whole"], [r["run"] for r in second["runs"]]) == (False, [RUN, "new"])
    assert second["gone"] == ["other"]


def test_a_page_that_was_slow_is_told_the_newest_only(hub: Hub) -> None:
    page = Page(lambda: None)
    page.want({"watch": [RUN]})
    for done in range(5):
        hub.hear(News(snapshots={RUN: json.dumps({"kind": "run", "run": RUN, "snapshot": {"done": done}})}))

    messages = told(page, hub)

    assert [message["snapshot"]["done"] for message in messages] == [4]
    assert told(page, hub) == []


def test_what_one_page_wants_another_is_not_told(hub: Hub) -> None:
    one, other = Page(lambda: None), Page(lambda: None)
    one.want({"watch": [RUN], "workers": True})
    hub.hear(News(workers=[], snapshots={RUN: '{"kind": "run"}'}))

    assert [message["kind"] for message in told(one, hub)] == ["workers", "run"]
    assert told(other, hub) == []


def test_pages_ring_when_there_is_news(hub: Hub) -> None:
    async def join() -> int:
        rang: list[int] = []
        page = Page(lambda: rang.append(1))
        hub.join(page)
        hub.hear(News())
        hub.leave(page)
        hub.hear(News())
        return len(rang)

    assert asyncio.run(join()) == 2


@pytest.mark.parametrize("words", [None, [], {"watch": "all"}, {"watch": [1]}, {"watch": [None]}])
def test_a_page_that_wants_what_cannot_be_is_told_what_can(words: object) -> None:
    with pytest.raises(ValueError, match="watch"):
        Page(lambda: None).want(words)


def test_what_is_left_of_a_run_is_estimated_by_its_pace() -> None:
    paces = Paces()
    for second in range(11):
        rows = [row(done=5 * second), row("over", done=100, ended_at=1.0)]
        paces.estimate(rows, float(second))

    assert rows[0]["eta_s"] == pytest.approx(10.0)
    assert rows[1]["eta_s"] is None
