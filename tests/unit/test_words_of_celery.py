"""The words of Celery for states are those that results say."""

from __future__ import annotations

from taskflow import states
from taskflow.result.words import UNREADY, WORDS
from taskflow.states import TERMINAL


def test_a_word_is_ready_when_what_it_says_has_ended() -> None:
    ended = {WORDS[state] for state in TERMINAL}
    going = {WORDS[state] for state in WORDS.keys() - TERMINAL}

    assert ended <= states.READY_STATES
    assert going | set(UNREADY) <= states.UNREADY_STATES
    assert not states.READY_STATES & states.UNREADY_STATES
    assert states.PROPAGATE_STATES < states.EXCEPTION_STATES


def test_a_word_is_its_own_name() -> None:
    for word in states.READY_STATES | states.UNREADY_STATES:
        assert getattr(states, word) == word
