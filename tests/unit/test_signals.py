"""Signals: who hears of what, and what a receiver that fails does (nothing)."""

from __future__ import annotations

import gc
import logging
import pickle
import threading
from types import SimpleNamespace
from typing import Any

import pytest

from taskflow import signals
from taskflow.errors import SoftTimeLimitExceeded, UsageError
from taskflow.signals import Signal

CELERY = [
    "before_task_publish",
    "after_task_publish",
    "task_internal_error",
    "task_prerun",
    "task_postrun",
    "task_success",
    "task_received",
    "task_rejected",
    "task_unknown",
    "task_retry",
    "task_failure",
    "task_revoked",
    "celeryd_init",
    "celeryd_after_setup",
    "worker_init",
    "worker_before_create_process",
    "worker_process_init",
    "worker_process_shutdown",
    "worker_ready",
    "worker_shutdown",
    "worker_shutting_down",
    "setup_logging",
    "after_setup_logger",
    "after_setup_task_logger",
    "beat_init",
    "beat_embedded_init",
    "heartbeat_sent",
    "eventlet_pool_started",
    "eventlet_pool_preshutdown",
    "eventlet_pool_postshutdown",
    "eventlet_pool_apply",
    "task_sent",
    "import_modules",
    "user_preload_options",
]


@pytest.fixture
def rang() -> Signal:
    return Signal("rang", {"loud"})


def deaf(**_: Any) -> None:
    """Hears, and does nothing."""


@pytest.mark.parametrize("name", CELERY)
def test_every_signal_of_celery_is_there_under_its_name(name: str) -> None:
    signal = getattr(signals, name)
    assert isinstance(signal, Signal)
    assert signal.name == name
    assert name in signals.__all__


def test_a_receiver_gets_the_signal_the_sender_and_the_arguments(rang: Signal) -> None:
    heard: list[Any] = []

    @rang.connect
    def listen(signal: Any = None, sender: Any = None, loud: bool = False, **rest: Any) -> str:
        heard.append((signal, sender, loud, rest))
        return "yes"

    assert rang.send("bell", loud=True, more=1) == [(listen, "yes")]
    assert heard == [(rang, "bell", True, {"more": 1})]


def test_connect_is_a_decorator_with_arguments_too(rang: Signal) -> None:
    @rang.connect(sender="bell")
    def listen(**_: Any) -> int:
        return 1

    assert rang.send("bell") == [(listen, 1)]
    assert rang.send("phone") == []


def test_a_task_is_known_by_its_name_as_the_object_that_travelled_is_another(rang: Signal) -> None:
    here, there = SimpleNamespace(name="proj.add"), SimpleNamespace(name="proj.add")
    rang.connect(deaf, sender=here)
    assert rang.has_listeners(there)
    assert rang.send(there) == rang.send("proj.add") == [(deaf, None)]
    assert not rang.has_listeners(SimpleNamespace(name="proj.mul"))


def test_an_object_without_a_name_is_known_by_itself(rang: Signal) -> None:
    one, other = object(), object()
    rang.connect(deaf, sender=one)
    assert rang.send(one) == [(deaf, None)]
    assert rang.send(other) == []


def test_receivers_are_called_in_the_order_in_which_they_came(rang: Signal) -> None:
    said: list[int] = []
    calls = [lambda n=n, **_: said.append(n) for n in range(3)]
    for call in calls:
        rang.connect(call)
    rang.send(None)
    assert said == [0, 1, 2]
    assert rang.receivers == calls


def test_what_is_connected_is_not_connected_again(rang: Signal) -> None:
    rang.connect(deaf)
    rang.connect(deaf)
    assert len(rang.send(None)) == 1


def test_a_name_replaces_the_identity_of_a_receiver(rang: Signal) -> None:
    def again(**_: Any) -> None:
        """The cell was run a second time."""

    rang.connect(deaf, dispatch_uid="mine")
    rang.connect(again, dispatch_uid="mine")
    assert rang.receivers == [deaf]
    assert rang.disconnect(dispatch_uid="mine")
    assert not rang.has_listeners()


def test_disconnect_tells_whether_there_was_anything(rang: Signal) -> None:
    rang.connect(deaf, sender="bell")
    assert not rang.disconnect(deaf)
    assert rang.disconnect(deaf, sender="bell")
    assert rang.send("bell") == []


def test_a_receiver_that_nobody_holds_is_let_go(rang: Signal) -> None:
    def brief(**_: Any) -> None:
        """Gone when the test lets go of it."""

    rang.connect(brief)
    assert rang.has_listeners()
    del brief
    gc.collect()
    assert not rang.has_listeners()
    assert rang.send(None) == []


def test_a_method_lives_as_long_as_its_object(rang: Signal) -> None:
    class Ear:
        def hear(self, **_: Any) -> str:
            return "heard"

    ear = Ear()
    rang.connect(ear.hear)
    assert [said for _, said in rang.send(None)] == ["heard"]
    assert not rang.disconnect(Ear().hear)
    del ear
    gc.collect()
    assert not rang.has_listeners()


def test_weak_false_keeps_it(rang: Signal) -> None:
    rang.connect(lambda **_: 7, weak=False)
    gc.collect()
    assert [said for _, said in rang.send(None)] == [7]


def test_a_receiver_that_fails_is_logged_and_the_others_are_called(
    rang: Signal, caplog: pytest.LogCaptureFixture
) -> None:
    def bad(**_: Any) -> None:
        raise KeyError("oh")

    rang.connect(bad)
    rang.connect(deaf)
    with caplog.at_level(logging.ERROR, "taskflow.signals"):
        (first, error), second = rang.send(None)
    assert first is bad
    assert isinstance(error, KeyError)
    assert second == (deaf, None)
    (record,) = caplog.records
    assert "signal rang failed" in record.getMessage()
    assert record.exc_info is not None


def test_a_soft_time_limit_in_a_receiver_is_for_the_task(rang: Signal) -> None:
    def slow(**_: Any) -> None:
        raise SoftTimeLimitExceeded

    rang.connect(slow)
    with pytest.raises(SoftTimeLimitExceeded):
        rang.send(None)


def test_a_receiver_with_retry_is_called_until_it_returns(
    rang: Signal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signals, "PAUSES_S", (0.0,))
    there = threading.Event()
    calls: list[Any] = []

    def connects(sender: Any = None, **_: Any) -> None:
        calls.append(sender)
        if len(calls) < 4:
            raise ConnectionError("not yet")
        there.set()

    rang.connect(connects, retry=True)
    ((_, first),) = rang.send("bell")
    assert isinstance(first, ConnectionError)
    assert there.wait(20)
    assert calls == ["bell"] * 4


@pytest.mark.parametrize(("bad", "word"), [(7, "function"), (lambda sender: sender, "kwargs")])
def test_what_cannot_receive_is_refused_when_it_is_connected(rang: Signal, bad: Any, word: str) -> None:
    with pytest.raises(UsageError, match=word):
        rang.connect(bad)
    assert not rang.has_listeners()


def test_a_receiver_may_disconnect_itself_while_it_is_called(rang: Signal) -> None:
    def once(**_: Any) -> None:
        rang.disconnect(once)

    rang.connect(once)
    rang.connect(deaf)
    assert len(rang.send(None)) == 2
    assert rang.receivers == [deaf]


def test_a_signal_travels_by_its_name() -> None:
    assert pickle.loads(pickle.dumps(signals.task_prerun)) is signals.task_prerun


def test_a_signal_of_a_user_travels_without_its_receivers(rang: Signal) -> None:
    rang.connect(deaf)
    there = pickle.loads(pickle.dumps(rang))
    assert (there.name, there.providing_args, there.receivers) == ("rang", {"loud"}, [])
