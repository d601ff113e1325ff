"""Pictures of graphs as text: SVG that stands alone, and Mermaid.

The SVG needs no font, script or file from elsewhere. States are told by a sign and a word as well as by
a colour; what is read aloud is in its title and description. Every label is untrusted text and is escaped.
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections import Counter
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import NamedTuple

from taskflow.states import State
from taskflow.workflow.layout import Place, Point, lay_out
from taskflow.workflow.picture import SIGNS, Box, Picture

__all__ = ["Arranged", "Drawn", "Words", "arranged", "as_svg", "to_mermaid", "to_svg"]

LINKS_MOST, GATHERED_LINKS_MOST = 2_000, 250
"""Beyond so many links a graph, or one whose boxes stand for several steps, is drawn with few boxes."""
CROWDED_MOST = 24
LABEL_CELLS = 30
LABEL_PX, NOTE_PX = 7.3, 6.1
PAD, BOX_HEIGHT, NARROWEST = 13.0, 42.0, 84.0
MARGIN, STACK, HEAD = 8.0, 4.0, 5.0

_LIGHT: Mapping[str, tuple[str, str]] = {
    "plain": ("#f6f8fa", "#8c959f"),
    State.BLOCKED: ("#f6f8fa", "#8c959f"),
    State.WAITING: ("#fff8e1", "#9a7300"),
    State.QUEUED: ("#eef1f5", "#57606a"),
    State.RUNNING: ("#ddf4ff", "#0969da"),
    State.SUCCEEDED: ("#dafbe1", "#1a7f37"),
    State.FAILED: ("#ffebe9", "#cf222e"),
    State.DEAD: ("#ffd3cf", "#a40e26"),
    State.EXPIRED: ("#fff1e5", "#bc4c00"),
    State.CANCELLED: ("#fff1e5", "#953800"),
    State.SKIPPED: ("#f3f0fa", "#6e5494"),
}
_DARK: Mapping[str, tuple[str, str]] = {
    "plain": ("#21262d", "#8b949e"),
    State.BLOCKED: ("#21262d", "#8b949e"),
    State.WAITING: ("#332b00", "#d4a72c"),
    State.QUEUED: ("#2a313a", "#9ea7b3"),
    State.RUNNING: ("#0c2d4d", "#58a6ff"),
    State.SUCCEEDED: ("#0f2f1a", "#3fb950"),
    State.FAILED: ("#3d1513", "#f85149"),
    State.DEAD: ("#52100f", "#ff7b72"),
    State.EXPIRED: ("#3a2208", "#db8b2b"),
    State.CANCELLED: ("#3a2208", "#e09b4d"),
    State.SKIPPED: ("#2b2440", "#b392f0"),
}
_INK = {"light": "#1f2328", "dark": "#e6edf3"}


class Drawn(NamedTuple):
    """A box as it is drawn: what is written in it, and where it is.

    Attributes:
        box: The step.
        words: Its name in full, what of it is written, its sign, and what is written below.
        place: Where, from the left upper corner of the drawing.
    """

    box: Box
    words: Words
    place: Place

    @property
    def is_stacked(self) -> bool:
        """Whether it stands for more than one call."""
        return self.box.steps > 1 or self.box.kind in ("map", "map_reduce", "workflow")


class Arranged(NamedTuple):
    """A picture as numbers and words, for whoever draws it.

    Attributes:
        boxes: By their keys.
        lines: The points of each link, and whether it gives a value.
        width, height: Of the whole, with its margin.
    """

    boxes: dict[Hashable, Drawn]
    lines: dict[tuple[Hashable, Hashable], tuple[list[Point], bool]]
    width: float
    height: float


def arranged(
    picture: Picture, *, most: int | None = None, before: Arranged | None = None, grows: bool = False
) -> Arranged:
    """Say where each box and each line of a picture goes; see `to_svg`.

    Args:
        picture: What to draw.
        most: How many boxes there may be.
        before: How it was drawn before: everything stays where it was, as long as its words have room there.
        grows: Whether it goes on: then there is room for what will be written.
    """
    shown = _readable(picture) if most is None else picture.gathered(most)
    words = {key: Words.of(box) for key, box in shown.boxes.items()}
    if before is not None and _fits(shown, words, before):
        kept = {k: Drawn(box, words[k], before.boxes[k].place) for k, box in shown.boxes.items()}
        return before._replace(boxes=kept)
    room = {key: _later(box) if grows else 0.0 for key, box in shown.boxes.items()}
    drawn = lay_out(
        {key: (max(each.width, room[key]), BOX_HEIGHT) for key, each in words.items()}, shown.links
    )
    boxes = {key: Drawn(box, words[key], drawn.boxes[key]) for key, box in shown.boxes.items()}
    lines = {
        link: (drawn.lines[link], gives_value)
        for link, gives_value in shown.links.items()
        if link in drawn.lines
    }
    return Arranged(boxes, lines, drawn.width + 2 * MARGIN + STACK, drawn.height + 2 * MARGIN + STACK)


def _later(box: Box) -> float:
    """How wide a box is made by what is written in it while it goes on well."""
    done = "" if box.kind == "call" or box.width is None else f"{box.width:,} done"
    ways = (replace(box, state=State.RUNNING, note=done), replace(box, state=State.SUCCEEDED, note=""))
    return max(Words.of(way).width for way in ways)


def _fits(shown: Picture, words: Mapping[Hashable, Words], before: Arranged) -> bool:
    return (
        shown.boxes.keys() == before.boxes.keys()
        and before.lines.keys() <= shown.links.keys()
        and len({link for link in shown.links if link[0] != link[1]}) == len(before.lines)
        and all(words[key].width <= drawn.place.width for key, drawn in before.boxes.items())
    )


def to_svg(picture: Picture, *, most: int | None = None) -> str:
    """A picture as SVG text; a large one is drawn with boxes that stand for several steps.

    Args:
        picture: What to draw.
        most: How many boxes there may be; `grouping.BOXES_MOST` unless there are very many links.
    """
    return as_svg(arranged(picture, most=most), picture.title, _described(picture))


def as_svg(drawn: Arranged, title: str = "", described: str = "") -> str:
    """What was arranged as SVG text.

    Args:
        drawn: What goes where.
        title: What the picture is called.
        described: What is read aloud of it.
    """
    width, height = drawn.width, drawn.height
    title = _clean(title or "graph")
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" class="taskflow-graph" role="img" aria-label="{title}"'
        f' width="{_n(width)}" height="{_n(height)}" viewBox="0 0 {_n(width)} {_n(height)}"'
        ' style="max-width:100%;height:auto">',
        f"<title>{title}</title>",
        f"<desc>{_clean(described)}</desc>",
        f"<style>{_STYLE}</style>",
        f'<g transform="translate({_n(MARGIN)} {_n(MARGIN)})">',
    ]
    lines += [_line(points, dotted=not gives_value) for points, gives_value in drawn.lines.values()]
    for each in drawn.boxes.values():
        lines += _box(each)
    return "\n".join([*lines, "</g>", "</svg>"])


def to_mermaid(picture: Picture) -> str:
    """A picture as Mermaid text; maps have double sides, edges without a value are dotted."""
    shown = _readable(picture)
    numbers = {key: f"n{i}" for i, key in enumerate(shown.boxes)}
    lines = ["graph TD"]
    for key, box in shown.boxes.items():
        left, right = _SHAPES.get(box.kind, ("[", "]"))
        sign = f"{SIGNS[box.state]} " if box.state else ""
        lines.append(f'    {numbers[key]}{left}"{sign}{_mermaid(_name(box))}"{right}')
    for (parent, child), gives_value in shown.links.items():
        lines.append(f"    {numbers[parent]} {'-->' if gives_value else '-.->'} {numbers[child]}")
    for state in State:
        if members := [numbers[key] for key, box in shown.boxes.items() if box.state is state]:
            fill, stroke = _LIGHT[state]
            lines.append(f"    classDef {state} fill:{fill},stroke:{stroke},color:{_INK['light']}")
            lines.append(f"    class {','.join(members)} {state}")
    return "\n".join(lines)


def _readable(picture: Picture) -> Picture:
    shown = picture.gathered()
    links_most = LINKS_MOST if shown is picture else GATHERED_LINKS_MOST
    return shown if len(shown.links) <= links_most else picture.gathered(CROWDED_MOST)


# ── words ────────────────────────────────────────────────────────────────────────────


class Words(NamedTuple):
    """What is written in a box.

    Attributes:
        full, label: Its name, and what of it there is room for.
        sign: That of its state.
        below: Kind, state and note.
    """

    full: str
    label: str
    sign: str
    below: str

    @classmethod
    def of(cls, box: Box) -> Words:
        """The words of a box."""
        full = _name(box)
        below = " · ".join(part for part in (_kind(box), str(box.state or ""), box.note) if part)
        return cls(full, _cut(full, LABEL_CELLS), SIGNS[box.state] if box.state else "", below)

    @property
    def width(self) -> float:
        """How wide they make the box."""
        signed = _cells(self.label) * LABEL_PX + (16 if self.sign else 0)
        return max(NARROWEST, 2 * PAD + max(signed, _cells(self.below) * NOTE_PX))


def _name(box: Box) -> str:
    return f"{box.label} × {box.steps:,}" if box.steps > 1 else box.label


def _kind(box: Box) -> str:
    """The kind with its width, where that tells anything."""
    kind = box.kind.replace("_", "-")
    if box.steps > 1:
        return kind if kind.endswith("s") else f"{kind}s"
    if kind != "map":
        return kind
    return f"{kind} × {'?' if box.width is None else format(box.width, ',')}"


def _described(picture: Picture) -> str:
    steps = sum(box.steps for box in picture.boxes.values())
    states = Counter(box.state for box in picture.boxes.values() if box.state)
    told = "".join(f", {number:,} {state}" for state, number in states.items())
    return f"A graph of {steps:,} steps and {len(picture.links):,} dependencies{told}."


def _cells(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text)


def _cut(text: str, cells: int) -> str:
    """A label of at most so many cells, its end kept: names often differ only there."""
    if _cells(text) <= cells:
        return text
    head, tail = text[: cells * 2 // 3], text[-(cells // 3 - 1) :]
    while _cells(head) + _cells(tail) + 1 > cells and len(head) > 1:
        head = head[:-1]
        tail = tail[1:] if len(tail) > len(head) // 2 else tail
    return f"{head}…{tail}"


_FORBIDDEN = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def _clean(text: str) -> str:
    """Text inside XML: what it may not hold is replaced, what it would obey is escaped."""
    return html.escape(_FORBIDDEN.sub("\ufffd", text), quote=True)


def _mermaid(text: str) -> str:
    text = " ".join(_FORBIDDEN.sub("\ufffd", text).split()).replace("#", "#35;")
    return html.escape(text, quote=False).replace('"', "&quot;").replace("`", "#96;")  # as Mermaid spells it


_SHAPES = {
    "map": ("[[", "]]"),
    "map_reduce": ("[[", "]]"),
    "workflow": ("[[", "]]"),
    "reduce": ("[/", "\\]"),
    "input": ("([", "])"),
    "missing": ("{{", "}}"),
}

# ── shapes ───────────────────────────────────────────────────────────────────────────


def _n(number: float) -> str:
    return f"{number:.1f}".removesuffix(".0")


def _box(drawn: Drawn) -> Iterator[str]:
    box, words, place = drawn
    state = str(box.state) if box.state else "plain"
    yield f'<g class="{state}" transform="translate({_n(place.x)} {_n(place.y)})">'
    yield f"<title>{_clean(f'{words.full}: {words.below}')}</title>"
    if drawn.is_stacked:
        yield _rect(place, "box", dx=STACK, dy=STACK, radius=6)
    dashed = ' stroke-dasharray="4 3"' if box.kind == "missing" else ""
    yield _rect(place, "box", radius=place.height / 2 if box.kind == "input" else 6, more=dashed)
    middle = place.width / 2
    label = _clean(words.label)
    if words.sign:
        label = f'<tspan class="sign">{words.sign}</tspan><tspan dx="5">{label}</tspan>'
    yield f'<text class="label" x="{_n(middle)}" y="18">{label}</text>'
    yield f'<text class="note" x="{_n(middle)}" y="33">{_clean(words.below)}</text>'
    yield "</g>"


def _rect(
    place: Place, name: str, *, dx: float = 0.0, dy: float = 0.0, radius: float = 0.0, more: str = ""
) -> str:
    return (
        f'<rect class="{name}" x="{_n(dx)}" y="{_n(dy)}" width="{_n(place.width)}"'
        f' height="{_n(place.height)}" rx="{_n(radius)}"{more}/>'
    )


def _line(points: Sequence[Point], *, dotted: bool) -> str:
    """A line that leaves and arrives vertically, with its head; one that closes a cycle leads upwards."""
    down = points[-1].y > points[0].y
    end = points[-1]._replace(y=points[-1].y + (-HEAD if down else HEAD))
    path = [f"M{_n(points[0].x)} {_n(points[0].y)}"]
    for here, there in pairwise([*points[:-1], end]):
        if abs(here.x - there.x) < 0.5:
            path.append(f"L{_n(there.x)} {_n(there.y)}")
            continue
        middle = _n((here.y + there.y) / 2)
        path.append(f"C{_n(here.x)} {middle} {_n(there.x)} {middle} {_n(there.x)} {_n(there.y)}")
    tip, base, side = points[-1], end.y - (1 if down else -1), HEAD * 0.7
    head = f"M{_n(tip.x)} {_n(tip.y)}L{_n(tip.x - side)} {_n(base)}L{_n(tip.x + side)} {_n(base)}Z"
    dots = ' stroke-dasharray="2 4"' if dotted else ""
    line = f'<path class="line" d="{"".join(path)}"{dots}/><path class="head" d="{head}"/>'
    return line if down else f'<g class="cycle"><title>closes a cycle</title>{line}</g>'


def _colours(theme: Mapping[str, tuple[str, str]], ink: str) -> str:
    """The rules of a theme."""
    rules = [f".taskflow-graph text{{fill:{ink}}}"]
    for name, (fill, stroke) in theme.items():
        rules.append(f".taskflow-graph .{name} .box{{fill:{fill};stroke:{stroke}}}")
        rules.append(f".taskflow-graph .{name} .sign{{fill:{stroke}}}")
    return "".join(rules)


_STYLE = (
    ".taskflow-graph{color:#7d8590;"
    "font-family:system-ui,-apple-system,'Segoe UI',Roboto,'DejaVu Sans',sans-serif}"
    ".taskflow-graph text{text-anchor:middle;stroke:none}"
    ".taskflow-graph .label{font-size:13px;font-weight:600}"
    ".taskflow-graph .note{font-size:10.5px;opacity:.8}"
    ".taskflow-graph .box{stroke-width:1.2}"
    ".taskflow-graph .running .box{stroke-width:2}"
    ".taskflow-graph .line{fill:none;stroke:currentColor;stroke-width:1.3}"
    ".taskflow-graph .head{fill:currentColor;stroke:none}"
    f".taskflow-graph .cycle{{color:{_LIGHT[State.FAILED][1]}}}"
    + _colours(_LIGHT, _INK["light"])
    + f"@media (prefers-color-scheme:dark){{{_colours(_DARK, _INK['dark'])}}}"
)
