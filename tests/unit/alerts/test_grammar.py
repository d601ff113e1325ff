"""What a condition says, and what is said of one that cannot be read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskflow.alerts.grammar import MEASURES, Condition, parse
from taskflow.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "bound", "for_s"),
    [
        ("failure_rate > 0.05 for 5m", 0.05, 300.0),
        ("failure_rate>5%for 5m", 0.05, 300.0),
        ("  queue_length >= 100  ", 100.0, 0.0),
        ("waiting_s > 2m for 30s", 120.0, 30.0),
        ("waiting_s > 2", 2.0, 0.0),
        ("duration_p95 < 250ms", 0.25, 0.0),
        ("workers == 0 for 1.5h", 0.0, 5400.0),
        ("dead != 0 for 1d", 0.0, 86_400.0),
        ("retry_rate <= 100%", 1.0, 0.0),
    ],
)
def test_a_condition_is_a_measure_a_bound_and_a_time(text: str, bound: float, for_s: float) -> None:
    read = parse(text)

    assert read.measure in text
    assert read.sign in text
    assert (read.bound, read.for_s) == (bound, for_s)


def test_it_says_when_it_holds() -> None:
    assert [parse("workers < 2").holds(n) for n in (1, 2)] == [True, False]
    assert [parse("dead == 2").holds(n) for n in (1, 2)] == [False, True]


@pytest.mark.parametrize(
    ("text", "words", "marked"),
    [
        ("failure_rat > 0.05", "'failure_rate'", "failure_rat"),
        ("xyz > 1", "Known are failure_rate", "xyz"),
        ("failure_rate => 1", "no comparison '=>'", "=>"),
        ("failure_rate 0.05", "a comparison", "0.05"),
        ("failure_rate > five", "a number", "five"),
        ("failure_rate > 5", "from 0 to 1", "5"),
        ("failures > 5%", "no unit", "5%"),
        ("waiting_s > 5 parsecs", "cannot stand here", "parsecs"),
        ("waiting_s > 5parsecs", "no time", "5parsecs"),
        ("failures > 5 fo 5m", "'for'", "fo"),
        ("failures > 5 for 5", "its unit", "5"),
        ("failures > 5 for 5mm", "Did you mean", "5mm"),
        ("failures > 5 for", "a time", " "),
        ("failures > 5 for 5m and dead > 0", "nothing can stand behind", "and"),
        ("", "a measure", " "),
        ("$ > 1", "a measure", "$"),
        ("failures\n> \x1b[2J", "a number", " "),
    ],
)
def test_a_mistake_is_pointed_to(text: str, words: str, marked: str) -> None:
    """With the nearest word; whatever stands there is not obeyed by a terminal."""
    with pytest.raises(ConfigError) as caught:
        parse(text)

    told, shown, carets = str(caught.value).split("\n")
    assert words in told
    assert shown.isprintable()
    assert carets.strip() == "^" * len(marked)
    at = len(carets) - len(marked)
    assert shown[at : at + len(marked)].strip() == marked.strip()


@given(
    st.sampled_from(sorted(MEASURES)), st.sampled_from([">", ">=", "<", "<=", "==", "!="]), st.integers(0, 1)
)
def test_what_was_read_is_written_as_it_is_meant(measure: str, sign: str, bound: int) -> None:
    read = parse(f"{measure}  {sign}  {bound}")

    assert read == Condition(measure, sign, float(bound), 0.0, f"{measure} {sign} {bound}")
    assert parse(read.text) == read


@given(st.text(max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        parse(text)
    except ConfigError as error:
        assert "^" in str(error)
