from __future__ import annotations

import operator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskflow import canvas
from taskflow.canvas import Signature, chain, chord, group, signature
from taskflow.errors import GraphError
from taskflow.workflow import Workflow
from tests.unit.evaluator import evaluate, new_draft


def double(x: int) -> int:
    return 2 * x


def total(numbers: list[int], more: int = 0) -> int:
    return sum(numbers) + more


def of_workflow(sig: Signature) -> Any:
    wf = Workflow.from_canvas(sig)
    draft = new_draft()
    ids = wf.compile(draft)
    ran = evaluate(draft)
    values = {name: ran.value(ids[name]) for name in wf.last}
    return values[wf.last[0]] if len(values) == 1 else values


def of_canvas(sig: Signature) -> Any:
    draft = new_draft()
    shape = canvas.compile(sig, draft)
    return shape.collect(evaluate(draft).value)


def test_a_chain_becomes_steps_that_follow_each_other() -> None:
    wf = chain(signature(pow, (2, 3)), signature(double), signature(double)).to_workflow()

    assert list(wf.graph.edges) == [("pow", "double"), ("double", "double-2")]
    assert wf.name == "chain"
    assert of_workflow(chain(signature(pow, (2, 3)), signature(double))) == 16


def test_equal_calls_of_a_group_become_a_map() -> None:
    header = [signature(double, (n,)) for n in range(5)]

    wf = chord(header, signature(total, kwargs={"more": 1})).to_workflow()

    assert [node.kind for node in wf.nodes.values()] == ["map", "call"]
    assert of_workflow(chord(header, signature(total, kwargs={"more": 1}))) == 21


def test_options_and_names_are_kept() -> None:
    sig = signature(double, (1,), queue="gpu", shadow="twice", task_id="fixed")

    wf = sig.to_workflow()

    assert list(wf.graph) == ["twice"]
    assert wf["twice"].options == {"queue": "gpu"}
    draft = new_draft()
    assert wf.compile(draft)["twice"] != "fixed"
    assert [(node.label, node.queue) for node in draft.nodes] == [("twice", "gpu")]


def test_keywords_may_be_called_as_those_of_add() -> None:
    assert of_workflow(signature(dict, (), {"name": 1, "after": 2})) == {"name": 1, "after": 2}


def test_a_linked_signature_is_a_step_as_well() -> None:
    sig = signature(double, (1,))
    sig.link(signature(str))

    assert of_workflow(sig) == "2"
    with pytest.raises(GraphError, match="body"):
        chord([signature(double, (1,))]).to_workflow()


def test_it_runs_many_times_and_can_be_changed() -> None:
    wf = Workflow.from_canvas(group(signature(double, (n,)) for n in range(3)))
    wf.add(max, wf["double"], name="most")

    for _ in range(2):
        draft = new_draft()
        ids = wf.compile(draft)
        assert evaluate(draft).value(ids["most"]) == 4


calls = st.builds(lambda n: signature(operator.add, (n,)), st.integers(0, 9))
lasts = st.sampled_from([signature(total), signature(total, kwargs={"more": 5})])


def canvases(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(
        st.builds(chord, st.lists(inner, max_size=4), lasts),
        st.builds(lambda one, two: chain(one, signature(double), two), inner, calls),
    )


first = st.builds(lambda n: signature(operator.add, (n, 1)), st.integers(0, 9))


@given(st.recursive(first, canvases, max_leaves=8))
def test_a_canvas_gives_the_same_as_a_workflow(sig: Signature) -> None:
    assert of_workflow(sig) == of_canvas(sig)


@given(st.lists(st.recursive(first, canvases, max_leaves=4), max_size=4))
def test_a_group_gives_the_same_list(parts: list[Signature]) -> None:
    assert of_workflow(group(parts)) == of_canvas(group(parts))
