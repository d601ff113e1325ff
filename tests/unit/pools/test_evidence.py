"""Which failures bring their frames along."""

from __future__ import annotations

import pytest

from taskflow.codec import frames
from taskflow.pools.evidence import Evidence
from taskflow.shells import FRAMES


@pytest.fixture
def evidence(monkeypatch: pytest.MonkeyPatch) -> Evidence:
    """At a time that stands still."""
    monkeypatch.delenv(FRAMES, raising=False)
    monkeypatch.setattr("time.monotonic", lambda: 1000.0)
    return Evidence("a worker")


def failed(kind: type[Exception] = ValueError) -> Exception:
    try:
        raise kind("of a kind")
    except Exception as error:  # noqa: BLE001 - it is what is wanted
        return error


def taken(evidence: Evidence, error: Exception, run: str = "run", fn: str = "fn") -> bool:
    return evidence.take(error, run, fn)[0] is not None


def test_three_failures_of_a_cause_are_enough(evidence: Evidence) -> None:
    assert [taken(evidence, failed()) for _ in range(5)] == [True] * 3 + [False] * 2
    assert taken(evidence, failed(LookupError))
    assert taken(evidence, failed(), run="another")


def test_a_run_with_many_causes_has_an_end(evidence: Evidence) -> None:
    kinds = [type(f"Kind{n}", (Exception,), {}) for n in range(20)]

    assert sum(taken(evidence, failed(kind)) for kind in kinds) == 12


def test_a_function_that_fails_in_one_run_after_the_other_is_soon_known(
    evidence: Evidence, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = [f"run {n}" for n in range(100)]

    assert sum(taken(evidence, failed(), run) for run in runs) == 20
    assert taken(evidence, failed(), "run", "another function")
    monkeypatch.setattr("time.monotonic", lambda: 1003.0)
    assert sum(taken(evidence, failed(), f"later {run}") for run in runs) == 3


def test_what_is_refused_is_not_taken(evidence: Evidence, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FRAMES, "0")

    assert not taken(evidence, failed())


def test_where_no_thread_can_be_had_the_text_has_to_do(
    evidence: Evidence, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(frames, "capture", full)

    assert not taken(evidence, failed())
