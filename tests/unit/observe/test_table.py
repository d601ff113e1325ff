"""Tables are aligned, fit the terminal, and are coloured only when asked."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from taskflow.observe.table import Column, render
from taskflow.observe.text import cells

COLUMNS = [
    Column("id"),
    Column("name", shrinks=True),
    Column("state", state=True),
    Column("done", right=True),
]
ROW = ("7f3a", "census", "failed", "3")


@given(st.lists(st.tuples(*[st.text(max_size=40)] * 4), max_size=5), st.integers(1, 120))
def test_no_line_is_wider_than_the_terminal(rows: list[tuple[str, str, str, str]], width: int) -> None:
    assert all(cells(line) <= width for line in render(COLUMNS, rows, width=width))


@given(st.lists(st.tuples(*[st.text(max_size=40)] * 4), max_size=5))
def test_a_cell_cannot_break_its_line(rows: list[tuple[str, str, str, str]]) -> None:
    lines = render(COLUMNS, rows)

    assert len(lines) == 1 + len(rows)
    assert all(line.isprintable() for line in lines)


def test_only_columns_that_shrink_are_cut_while_that_is_enough() -> None:
    lines = render(COLUMNS, [("7f3a", "a very long name indeed", "failed", "12")], width=31)

    assert lines[1] == "7f3a  a very lon…  failed    12"


def test_numbers_are_aligned_to_the_right() -> None:
    lines = render([Column("n", right=True)], [("1",), ("1,000",)])

    assert lines == ["    n", "    1", "1,000"]


def test_states_have_colours_only_when_asked() -> None:
    plain, coloured = render(COLUMNS, [ROW]), render(COLUMNS, [ROW], colour=True)

    assert not any("\x1b" in line for line in plain)
    assert "\x1b[31mfailed\x1b[0m" in coloured[1]
    assert [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in coloured] == plain


def test_a_name_that_is_a_state_is_not_coloured() -> None:
    (_, line) = render(COLUMNS, [("7f3a", "failed", "queued", "")], colour=True)

    assert "\x1b" not in line


def test_a_spare_column_is_left_out_of_a_narrow_terminal_before_others_are_cut() -> None:
    columns = [Column("name", shrinks=True), Column("host", spare=True), Column("done", right=True)]
    row = ("a-name-of-twenty-two-c", "host.example.org", "3")

    assert "host" in render(columns, [row], width=46)[0]
    assert render(columns, [row], width=30)[1] == "a-name-of-twenty-two-c     3"
