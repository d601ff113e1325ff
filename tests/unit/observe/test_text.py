"""Untrusted text cannot steer a terminal."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskflow.observe.text import cells, clock, duration, fit, pad, visible


@given(st.text())
def test_nothing_that_a_terminal_obeys_is_left(text: str) -> None:
    assert visible(text).isprintable()
    assert visible(text, lines=True).replace("\n", "").replace("\t", "").isprintable()


@pytest.mark.parametrize(
    "evil", ["\x1b[2J", "\x9b31m", "\x07", "\r", "\x7f", "\u202e", "\u2028", "\u200b", "\ud800", "\x00"]
)
def test_an_escape_is_written_out(evil: str) -> None:
    shown = visible(f"a{evil}b", lines=True)

    assert shown.startswith("a\\")
    assert shown.isascii()


@given(st.text(), st.integers(1, 30))
def test_a_cut_text_fits(text: str, width: int) -> None:
    assert cells(fit(visible(text), width)) <= width


@given(st.text(), st.integers(0, 60))
def test_a_padded_text_fills_its_cells(text: str, width: int) -> None:
    text = visible(text)

    assert cells(pad(text, width)) == max(width, cells(text))
    assert cells(pad(text, width, right=True)) == max(width, cells(text))


def test_wide_and_combining_characters_take_the_cells_they_take() -> None:
    assert cells("日本") == 4
    assert cells("e\u0301") == 1
    assert fit("日本語", 4) == "日…"


@pytest.mark.parametrize(
    ("seconds", "shown"), [(59.96, "1 min 0 s"), (3599.6, "1 h 0 min"), (86399.9, "1 d 0 h"), (-3, "0.0 ms")]
)
def test_a_duration_is_rounded_before_its_unit_is_chosen(seconds: float, shown: str) -> None:
    assert duration(seconds) == shown


def test_a_clock_never_shows_less_than_nothing() -> None:
    assert clock(-1) == "0:00"
