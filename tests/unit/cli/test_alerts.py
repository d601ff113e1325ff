"""alerts: what is listed, and what is done to one."""

from __future__ import annotations

import json

import pytest

from taskflow.alerts import Alerts
from taskflow.codec import Codec, Keyring
from tests.unit.cli.shop import Shop


class _Home:
    def __init__(self, shop: Shop) -> None:
        self.store = shop.store
        self.codec = Codec(Keyring.load(), shop.store.blobs)


@pytest.fixture
def alerts(shop: Shop) -> Alerts:
    made = Alerts(_Home(shop), clock=shop.clock.now)  # type: ignore[arg-type]
    made.add("stuck", "queue_length >= 1 for 1m", watch=False)
    return made


def test_alerts_are_listed_with_how_they_stand(shop: Shop, alerts: Alerts) -> None:
    shop.submit(shop.call(), name="one")

    answer = shop("alerts")

    assert answer.code == 0
    assert answer.words[1] == ["stuck", "queue_length", ">=", "1", "for", "1m", "quiet", "1", "log"]
    (row,) = json.loads(shop("alerts", "--json").out)
    assert (row["name"], row["now"], row["enabled"]) == ("stuck", 1, True)


def test_one_is_paused_resumed_and_removed(shop: Shop, alerts: Alerts) -> None:
    assert shop("alerts", "pause", "stuck").code == 0
    assert "paused" in shop("alerts").words[1]
    assert shop("alerts", "resume", "stuck").code == 0
    assert "quiet" in shop("alerts").words[1]
    assert shop("alerts", "remove", "stuck").code == 0
    assert shop("alerts") == (0, "", "There are no alerts. client.alerts.add(...) makes one.\n")


def test_a_test_is_told(shop: Shop, alerts: Alerts, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", "taskflow.alerts"):
        assert shop("alerts", "test", "stuck").code == 0

    assert caplog.records[0].getMessage().startswith("test: stuck: queue_length >= 1 for 1m")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["pause"], "needs the name"),
        (["list", "stuck"], "takes no name"),
        (["pause", "stack"], "Did you mean 'stuck'"),
        (["run", "--every", "0"], "above 0"),
    ],
)
def test_a_mistake_is_explained(shop: Shop, alerts: Alerts, words: list[str], said: str) -> None:
    answer = shop("alerts", *words)

    assert answer.code == 2
    assert said in answer.err
