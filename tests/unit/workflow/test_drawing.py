"""Pictures: valid XML whatever the labels, states told by words and signs, few boxes for many steps."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskflow.errors import ConfigError, UnknownNode
from taskflow.states import State
from taskflow.workflow import Workflow
from taskflow.workflow.drawing import to_mermaid, to_svg
from taskflow.workflow.picture import PLAIN_SIGNS, SIGNS, Box, Picture, overall, picture_of

SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = "<script>alert('x')</script>\"& \x00\x1b[2J \ud800 ]]> -->"


def small() -> Workflow:
    wf = Workflow("report")
    lines = wf.map(str.upper, ["a", "b", "c"], name="lines")
    wf.add(len, lines, name="count", after=wf.add(print, name="hello"))
    return wf


def texts(svg: str) -> list[str]:
    return ["".join(text.itertext()) for text in ET.fromstring(svg).iter(f"{SVG}text")]


def test_boxes_tell_label_kind_width_and_state() -> None:
    found = texts(small().to_svg({"lines": "succeeded", "count": State.RUNNING}))

    assert found == ["✓lines", "map × 3 · succeeded", "hello", "call", "►count", "call · running"]


def test_edges_without_a_value_are_dotted() -> None:
    lines = [e for e in ET.fromstring(small().to_svg()).iter(f"{SVG}path") if e.get("class") == "line"]

    assert sorted(line.get("stroke-dasharray") is not None for line in lines) == [False, True]


def test_it_has_a_title_and_a_description_and_stands_alone() -> None:
    svg = small().to_svg({"lines": "failed"})
    root = ET.fromstring(svg)

    assert root.get("role") == "img"
    assert [root[0].text, root[1].text] == ["report", "A graph of 3 steps and 2 dependencies, 1 failed."]
    assert "prefers-color-scheme:dark" in svg
    assert "currentColor" in svg
    assert svg.count("http") == 1, "nothing but the namespace"
    assert small()._repr_svg_() == small().to_svg()


def test_hostile_labels_are_text() -> None:
    wf = Workflow(HOSTILE)
    wf.add(len, wf.input(f"in {HOSTILE}"), name=HOSTILE)

    root = ET.fromstring(wf.to_svg({HOSTILE: "dead"}))

    assert not list(root.iter(f"{SVG}script")) and not list(root.iter("script"))
    assert {e.tag.removeprefix(SVG) for e in root.iter()} <= {
        *("svg", "title", "desc", "style", "g", "rect", "path", "text", "tspan")
    }
    assert "<script>alert('x')</script>\"&" in (root[0].text or "")


@given(st.lists(st.text(max_size=60), min_size=1, max_size=4, unique=True))
def test_any_labels_give_valid_xml_and_one_line_of_mermaid_each(labels: list[str]) -> None:
    picture = Picture(
        labels[0], {i: Box(label, note=label) for i, label in enumerate(labels)}, {(0, 0): True}
    )

    ET.fromstring(to_svg(picture))
    nodes = to_mermaid(picture).split("\n")[1:-1]

    assert len(nodes) == len(labels)
    for line in nodes:
        inside = line.strip().partition('["')[2].removesuffix('"]')
        assert not set(inside) & set('"<>`\r'), line


def test_many_steps_that_are_alike_are_one_box() -> None:
    wf = Workflow()
    loads = [wf.add(str, i) for i in range(1234)]
    wf.add(len, loads, name="count")

    svg = wf.to_svg({loads[0].name: "failed", loads[1].name: "running"})

    assert texts(svg) == ["►str × 1,234", "calls · running", "count", "call"]
    assert "A graph of 1,235 steps and 1,234 dependencies" in svg
    assert 'n0["► str × 1,234"]' in wf.to_mermaid({loads[1].name: "running"})


def test_very_many_links_are_not_drawn_one_by_one() -> None:
    picture = Picture("dense", {i: Box(f"step {i}", same=i) for i in range(200)})
    picture.links = {(a, b): True for a in range(100) for b in range(100, 200)}

    assert texts(to_svg(picture)) == ["step × 100", "steps", "step × 100", "steps"]


def test_a_graph_that_is_not_finished_can_be_drawn() -> None:
    wf = small()
    wf.graph.add_edge("later", "hello")
    wf.graph.add_edge("count", "hello")

    svg = wf.to_svg()

    assert "later" in texts(svg)
    assert "closes a cycle" in svg
    ET.fromstring(svg)
    ET.fromstring(Workflow().to_svg())


def test_the_same_workflow_gives_the_same_text() -> None:
    assert small().to_svg() == small().to_svg()


def test_states_of_unknown_steps_and_unknown_states_are_errors() -> None:
    with pytest.raises(UnknownNode, match="Did you mean 'lines'"):
        small().to_svg({"line": "failed"})
    with pytest.raises(ConfigError, match="Did you mean 'failed'"):
        small().to_mermaid({"lines": "faild"})


def test_mermaid_has_a_class_for_each_state() -> None:
    lines = small().to_mermaid({"lines": "succeeded", "hello": "succeeded", "count": "failed"}).splitlines()

    assert lines[1] == '    n0[["✓ lines"]]'
    assert "    class n0,n1 succeeded" in lines
    assert "    class n2 failed" in lines
    assert sum(line.startswith("    classDef ") for line in lines) == 2


@pytest.mark.parametrize("signs", [SIGNS, PLAIN_SIGNS])
def test_every_state_has_a_sign_of_its_own(signs: dict[State, str]) -> None:
    assert set(signs) == set(State)
    assert len(set(signs.values())) == len(State)
    assert all(len(sign) == 1 for sign in signs.values())
    assert all(map(str.isascii, PLAIN_SIGNS.values()))


@pytest.mark.parametrize("state", State)
def test_every_state_is_drawn(state: State) -> None:
    found = texts(small().to_svg({"hello": state}))

    assert f"{SIGNS[state]}hello" in found
    assert f"call · {state}" in found


@given(st.lists(st.sampled_from(State), min_size=1))
def test_several_states_as_one(states: list[State]) -> None:
    found = overall(states)

    assert found in states or found is State.RUNNING
    assert overall(reversed(states)) is found
    assert overall([found]) is found


def test_the_width_of_a_map_over_a_node_is_not_known() -> None:
    wf = Workflow()
    numbers = wf.add(range, 3, name="numbers")
    wf.map(abs, numbers, name="sizes")

    assert [box.width for box in picture_of(wf).boxes.values()] == [1, None]
