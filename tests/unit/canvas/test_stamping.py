"""Stamps: what a visitor puts on a canvas, and what becomes of it when that is drawn."""

from __future__ import annotations

import json
from typing import Any

import pytest

from taskflow import canvas
from taskflow.beat.template import Template
from taskflow.canvas import Signature, StampingVisitor, chain, chord, group, signature, task, xmap
from taskflow.client import Client
from taskflow.errors import ConfigError
from taskflow.ids import RunId, new_id
from taskflow.marks import marks_of
from tests.unit.evaluator import new_draft


@task
def add(x: Any, y: Any = 0) -> Any:
    return x + y


@task
def total(values: Any) -> Any:
    return sum(values)


@task
def tell(request: Any, error: Any, trace: Any) -> None:
    pass


def stamps(sig: Signature) -> dict[str, Any]:
    return canvas.stamping.stamps_of(sig.options)


def marks(sig: Signature) -> dict[str, Any]:
    """What the meta of its run would say, by labels."""
    draft = new_draft()
    canvas.compile(sig, draft)
    labels: Any = {node.id: node.label for node in draft.nodes}
    found = marks_of(list(labels), draft.tags, {})
    named = [[tags, [labels[node] for node in nodes]] for tags, nodes in found.get("marks", ())]
    return {"tags": found.get("tags", {}), "marks": named}


class Everywhere(StampingVisitor):
    """What Celery's guide has as an example."""

    def on_signature(self, sig: Signature, **headers: Any) -> dict[str, Any]:
        return {"header": "value"}

    def on_callback(self, callback: Signature, **header: Any) -> dict[str, Any]:
        return {"on_callback": True}

    def on_errback(self, errback: Signature, **header: Any) -> dict[str, Any]:
        return {"on_errback": True}


class InGroup(StampingVisitor):
    """The other one."""

    def __init__(self) -> None:
        self.in_group = False

    def on_group_start(self, group: Signature, **headers: Any) -> dict[str, Any]:
        self.in_group = True
        return {"in_group": [self.in_group], "stamped_headers": ["in_group"]}

    def on_group_end(self, group: Signature, **headers: Any) -> None:
        self.in_group = False

    def on_chain_start(self, chain: Signature, **headers: Any) -> dict[str, Any]:
        return {"in_group": [self.in_group], "stamped_headers": ["in_group"]}

    def on_signature(self, sig: Signature, **headers: Any) -> dict[str, Any]:
        return {"in_group": [self.in_group], "stamped_headers": ["in_group"]}


def test_a_stamp_is_an_option_as_in_celery() -> None:
    sig = add.s(1, 1).stamp(stamp="mine")

    assert sig.options == {"stamp": "mine", "stamped_headers": ["stamp"]}
    assert signature(json.loads(json.dumps(sig))) == sig


def test_every_part_of_a_canvas_is_stamped() -> None:
    sig = chain(add.s(1, 1), group(add.s(1), total.map([[1]])), chord([add.s()], total.s()))

    sig.stamp(exp=7)

    assert marks(sig) == {"tags": {"exp": 7}, "marks": []}


def test_what_is_linked_is_stamped_as_what_it_is() -> None:
    sig = chord([add.s(1, 1), add.s(2, 2)], total.s())
    sig.link(add.s())
    sig.body.link_error(tell.s())  # type: ignore[union-attr]

    sig.stamp(visitor=Everywhere())

    assert [stamps(member) for member in sig.tasks] == [{"header": "value"}] * 2
    assert sig.body is not None
    assert stamps(sig.body) == {"header": "value"}
    assert stamps(sig.body.options["link"][0]) == {"header": "value", "on_callback": True}
    assert sig.body.options["link_error"][0].options == {
        "header": "value", "on_errback": True, "stamped_headers": ["header", "on_errback"],
    }  # fmt: skip


def test_a_visitor_knows_where_it_is() -> None:
    sig = chain(add.s(1, 1), group(add.s(1), add.s(2)), total.s())

    sig.stamp(visitor=InGroup())

    first, members, last = sig.tasks
    assert [stamps(first), stamps(last)] == [{"in_group": [False]}] * 2
    assert [stamps(member) for member in members.tasks] == [{"in_group": [True]}] * 2  # type: ignore[attr-defined]


def test_a_visitor_may_stamp_each_task_differently() -> None:
    class Numbered(StampingVisitor):
        number = 0

        def on_signature(self, sig: Signature, **headers: Any) -> dict[str, Any]:
            self.number += 1
            return {"number": self.number, "other": "no stamp", "stamped_headers": ["number"]}

    sig = group(add.s(n, n) for n in range(3)).clone().stamp(Numbered(), all=True)

    assert marks(sig) == {"tags": {"all": True}, "marks": [[{"number": n}, ["add"]] for n in (1, 2, 3)]}


def test_the_last_stamp_of_a_name_counts_unless_they_are_gathered() -> None:
    last, both = add.s(1, 1).stamp(x=1).stamp(x=2), add.s(1, 1).stamp(x=1).stamp(x=2, append_stamps=True)

    assert (stamps(last), stamps(both)) == ({"x": 2}, {"x": [1, 2]})


def test_the_members_of_a_generator_are_stamped_as_they_are_read() -> None:
    read: list[int] = []

    def members() -> Any:
        for n in range(3):
            read.append(n)
            yield add.s(n, n)

    sig = group(members()).stamp(exp=7)

    assert read == []
    assert marks(sig) == {"tags": {"exp": 7}, "marks": []}
    assert read == [0, 1, 2]


def test_stamps_alone_keep_members_apart_or_together() -> None:
    alike, apart = (
        group([add.s(n, n).stamp(a=1) for n in range(4)]),
        group([add.s(n, n).stamp(a=n) for n in (1, 2)]),
    )

    for sig, nodes in ((alike, 1), (apart, 2)):
        draft = new_draft()
        canvas.compile(sig, draft)
        assert len(draft.nodes) == nodes


def test_the_calls_of_a_map_are_one_task_with_its_stamps() -> None:
    assert marks(xmap(add.s(1), [1, 2]).stamp(exp=7)) == {"tags": {"exp": 7}, "marks": []}
    assert marks(xmap(add.s(1).stamp(exp=7), [1, 2])) == {"tags": {"exp": 7}, "marks": []}


def test_errbacks_are_stamped_with_what_serves_them() -> None:
    sig = add.s(1, 1).on_error(add.s()).stamp(exp=7)

    assert marks(sig) == {"tags": {"exp": 7}, "marks": []}


@pytest.mark.parametrize(
    ("stamp", "why"),
    [({"queue": "x"}, "an option"), ({"when": object()}, "not JSON"), ({"s": {1}}, "not JSON")],
)
def test_a_stamp_that_cannot_be_is_refused_at_once(stamp: dict[str, Any], why: str) -> None:
    sig = add.s(1, 1)

    with pytest.raises(ConfigError, match=why):
        sig.stamp(**stamp)

    assert sig == add.s(1, 1)


def test_each_run_of_a_schedule_has_the_stamps_of_its_canvas() -> None:
    with Client(mode="inline") as client:
        plan = client._sender.drawn(chain(add.s(1, 1).stamp(step=1), add.s(2)))
        run = Template.of(plan, client._engine.codec).plan(RunId(new_id()), tags={"schedule": "s"})

    assert run.meta["marks"] == [[{"step": 1}, [run.nodes[0].id]]]
    assert run.meta["tags"] == {"schedule": "s"}
    assert run.nodes[0].id != plan.nodes[0].id
