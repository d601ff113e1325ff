"""A snapshot as text and as HTML: each word that is not ours is inert."""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from html.parser import HTMLParser
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskflow.observe.cells import CODES
from taskflow.observe.page import to_html, to_text
from taskflow.observe.snapshot import Snapshot
from taskflow.observe.text import cells
from taskflow.states import TERMINAL, State
from taskflow.workflow.drawing import arranged, as_svg
from taskflow.workflow.picture import SIGNS, Box, Picture

OURS = frozenset(
    "b details div img p pre progress summary table tbody td th thead tr".split()  # noqa: SIM905 - legible
)
DRAWN = frozenset(["svg", "g", "path", "rect", "text", "tspan", "title", "desc", "style"])
ATTRIBUTES = frozenset(["alt", "class", "max", "open", "src", "value"])
UNSEEN = re.compile("[\u200e\u200f\u202a-\u202e\u2066-\u2069\x00-\x08\x0b-\x1f\x7f]")
VOID = frozenset(["img"])
HOSTILE = [
    "</script><img src=x onerror=alert(1)>",
    "<!--",
    "]]>",
    "<svg onload=alert(1)>",
    '" onmouseover="alert(1)',
    "' onfocus='alert(1)",
    "</pre></td></table></div><iframe src=//evil>",
    "&lt;b&gt;&#60;i&#62;",
    "\u202egnp.exe\u202c\u2066\u2069",
    "a\x00b\x1b[2J\x1b]0;owned\x07\r\x7f\x85\u2028",
    "\ud800 alone",
    "javascript:alert(1)",
    "x" * 100_000,
    "日本" * 200,
    "<" * 1_000,
]


class Strict(HTMLParser):
    """Reads HTML, and refuses what we do not write."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text: list[str] = []
        self.images: list[dict[str, str | None]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in OURS, tag
        assert {name for name, _ in attrs} <= ATTRIBUTES, attrs
        if tag == "img":
            self.images.append(dict(attrs))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    def refuse(self, data: str) -> None:
        raise AssertionError(data)

    handle_comment = handle_decl = handle_pi = unknown_decl = refuse


def read(html: str) -> Strict:
    """What a browser reads, when it is well-formed and all of it is ours."""
    html.encode()
    found = Strict()
    found.feed(html)
    found.close()
    assert found.open == []
    for image in found.images:
        head, _, data = (image["src"] or "").partition(",")
        assert head == "data:image/svg+xml;base64"
        tree = ElementTree.fromstring(b64decode(data))
        assert {each.tag.rpartition("}")[2] for each in tree.iter()} <= DRAWN
        names = {name for each in tree.iter() for name in each.attrib}
        assert not any(name.startswith("on") or "href" in name for name in names)
    assert not UNSEEN.search("".join(found.text))
    return found


def stage(label: str = "clean", **fields: Any) -> dict[str, Any]:
    plain = {"label": label, "state": "running", "total": 1_000, "done": 734, "running": 2, "failed": 3}
    plain |= {"cancelled": 0, "skipped": 0, "retried": 0, "rate": 52.1, "elapsed_s": 14.1, "eta_s": 5.0}
    return plain | {"eta_most_s": 8.0} | fields


def run(state: str = "running", **fields: Any) -> Snapshot:
    stages = fields.pop("stages", [stage()])
    plain: Snapshot = {"v": 1, "run": "01JRUN", "name": "clean", "state": state, "store": "memory://"}
    plain |= {"created_at": 1_000.0, "ended_at": 1_015.0 if State(state) in TERMINAL else None, "at": 1_014.0}
    plain |= {
        "total": sum(each["total"] or 0 for each in stages),
        "done": sum(each["done"] for each in stages),
    }
    plain |= {"failed": sum(each["failed"] for each in stages), "stages": stages, "stages_left_out": 0}
    return plain | {"graph": None, "errors": [], "cells": None} | fields


def error(text: str, count: int = 3) -> dict[str, Any]:
    return {
        "type": text,
        "message": text,
        "count": count,
        "traceback": f"{text}\n{text}",
        "items": [[text, 1]],
    }


def row(text: str, **fields: Any) -> dict[str, Any]:
    plain = {"node": text, "label": text, "index": 1, "state": "succeeded", "worker": text, "attempts": 1}
    return plain | {"started_at": 1.0, "took_s": 0.1, "preview": text, "error": None} | fields


def everywhere(text: str) -> Snapshot:
    """A run that says it wherever somebody else has the word."""
    states = b64encode(bytes([0, 1, 2, 3, 4, 5])).decode()
    rows = {"rows": [row(text), row(text, error=text, index=None)], "matching": 20, "page": 0, "size": 2}
    output = {"rows": [{"node": "n", "label": text, "index": 1, "text": text}], "matching": 2}
    return run(
        "failed", name=text, stages=[stage(text), stage(text + "2")], errors=[error(text)],
        cells={"label": text, "per_cell": 1, "states": states}, rows=rows, output=output,
    )  # fmt: skip


def graph(text: str) -> str:
    picture = Picture(
        text, {"a": Box(text, state=State.FAILED, note=text), "b": Box(text)}, {("a", "b"): True}
    )
    return as_svg(arranged(picture), text, text)


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_words_are_inert_in_html(text: str) -> None:
    html = to_html(everywhere(text), graph(text))

    found = read(html)

    assert len(found.images) == 2
    told = "".join(found.text)
    assert (text in told) == text.isprintable()


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_words_are_inert_in_a_terminal(text: str) -> None:
    told = to_text(everywhere(text))

    told.encode()
    assert all(line.isprintable() for line in told.split("\n"))
    assert all(cells(line) <= 96 for line in told.split("\n"))


@given(st.text(), st.text(alphabet="<>&\"'/!-= onsrc"))
def test_whatever_words_there_are_the_html_is_ours(one: str, other: str) -> None:
    read(to_html(everywhere(one + other), graph(other + one)))


@pytest.mark.parametrize("state", list(State))
def test_each_state_has_its_sign_and_its_word(state: State) -> None:
    told = run(state, stages=[stage(state=state)])

    html, text = "".join(read(to_html(told)).text), to_text(told)

    assert f"{SIGNS[state]} clean" in html
    assert f"· {state}" in html
    assert "734 of 1,000" in html
    assert "734/1,000" in text


def test_a_stage_of_which_the_total_is_not_known_has_an_open_bar() -> None:
    html = to_html(run(stages=[stage(total=None, eta_s=None, eta_most_s=None, rate=None)], total=None))

    assert "734 of ?" in html
    assert '<progress max="1"></progress>' in html


def test_several_stages_are_a_table_and_what_is_left_out_is_counted() -> None:
    html = to_html(run(stages=[stage("one"), stage("two")], stages_left_out=7))

    assert read(html)
    assert (html.count("<tr>"), "… 7 more stages" in html) == (3, True)
    assert "… 7 more" in to_text(run(stages=[stage("one"), stage("two")], stages_left_out=7))


def test_failures_are_grouped_and_open() -> None:
    html = to_html(run(errors=[error("E", count=1_234), error("F")]))

    text = "".join(read(html).text)
    assert "<details open><summary>3 failed, 2 causes" in html
    assert "1,234 × E: E" in text
    assert "E[1] and 1,233 more" in text


def test_squares_are_an_image_with_each_colour_once() -> None:
    states = bytes([2] * 700 + [1, 3] + [0] * 298)
    squares = {"label": "clean", "per_cell": 10, "states": b64encode(states).decode()}

    (image,) = read(to_html(run(cells=squares))).images

    assert image["alt"] == "the items of clean"
    svg = b64decode((image["src"] or "").partition(",")[2]).decode()
    assert svg.count("<path") == 4
    assert svg.count("h5m1 0") == 1_000


def test_every_state_of_a_square_has_a_colour() -> None:
    squares = {
        "label": "clean",
        "per_cell": 1,
        "states": b64encode(bytes(sorted(set(CODES.values())))).decode(),
    }

    assert read(to_html(run(cells=squares))).images


def test_a_graph_is_an_image_that_says_what_it_is() -> None:
    (image,) = read(to_html(run(), graph("load"))).images

    assert image["alt"] == "graph of clean: running"


@pytest.mark.parametrize(
    ("state", "fields", "told"),
    [
        ("running", {}, None),
        ("succeeded", {"failed": 0}, None),
        ("failed", {"done": 1_000},
         "997 done are kept; %taskflow retry 01JRUN runs the 3 without a value again."),
        ("cancelled", {"done": 1_000, "failed": 0, "cancelled": 1_000},
         "%taskflow retry 01JRUN runs the 1,000 without a value again."),
    ],
)  # fmt: skip
def test_it_says_how_to_go_on(state: str, fields: dict[str, int], told: str | None) -> None:
    ended = run(state, stages=[stage(state=state, **fields)])

    for page in ("".join(read(to_html(ended)).text), to_text(ended)):
        assert ("taskflow retry" in page) == (told is not None)
        assert told is None or told in page


def test_rows_and_output_are_folded_and_what_is_not_there_is_counted() -> None:
    told = everywhere("x")

    html = to_html(told)

    text = "".join(read(html).text)
    assert "… 18 more are in the store, not in this page." in text
    assert "… 1 more have printed something." in text
    assert "<details><summary>Results</summary>" in html
    assert "<details><summary>Output of 2 tasks</summary>" in html


def test_what_was_left_out_for_want_of_room_is_not_missed() -> None:
    bare = everywhere("x") | {"rows": None, "output": None, "graph": None, "cells": None}

    assert read(to_html(bare)).images == []
