"""What a bug report needs, and what it must not have."""

from __future__ import annotations

import json

import pytest

from taskflow.app import Taskflow
from taskflow.cli.report import settings_of
from tests.unit.cli.shop import Shop


def test_versions_the_machine_and_the_store_are_told(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TASKFLOW_URL", "redis://user:secret@host/0")

    told = json.loads(shop("report", "--json").out)

    assert {"taskflow", "python", "machine", "store"} <= told.keys()
    assert "secret" not in told["store"]


def test_settings_are_told_without_passwords() -> None:
    app = Taskflow("shop", broker="redis://:secret@host/0", set_as_current=False)
    app.conf.timezone = "Asia/Tokyo"
    app.conf.broker_transport_options = {"sentinel_kwargs": {"password": "secret"}}

    told = settings_of(app)

    assert told["timezone"] == "'Asia/Tokyo'"
    assert "secret" not in str(told)
    assert "host" in told["broker_url"]
