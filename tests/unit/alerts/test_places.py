"""Where notices go: real servers, and text that somebody made for harm."""

from __future__ import annotations

import json
import logging
import urllib.error
from dataclasses import replace

import pytest

from taskflow.alerts import Callback, Email, Log, Notice, Webhook
from taskflow.alerts.places import place_from
from taskflow.blobs.memory import MemoryBlobs
from taskflow.codec import Codec, Keyring
from taskflow.errors import ConfigError, Untrusted
from tests.unit.alerts.listeners import mailbox, wall

NOTICE = Notice("failing", "firing", "failure_rate > 5%", 0.25, 1_700_000_000.0, "runs.db", id="a/1")
EVIL = 'x"}\r\nBcc: eve@example.org\r\n\r\n<script>alert(1)</script>\x1b[2J\u2028'


@pytest.fixture
def codec() -> Codec:
    return Codec(Keyring.ephemeral(), MemoryBlobs())


def test_a_notice_is_one_line() -> None:
    """With what was measured."""
    assert NOTICE.text == "firing: failing: failure_rate > 5% (now 0.25) in runs.db"
    full = replace(NOTICE, queue="mail", task="shop.*", value=None)
    assert full.text == "firing: failing: failure_rate > 5%, queue mail, task shop.* in runs.db"


def test_what_somebody_called_it_is_text_and_nothing_else() -> None:
    evil = replace(NOTICE, task=EVIL)

    assert evil.text.isprintable()
    assert json.loads(evil.to_json())["task"] == EVIL
    assert "\n" not in evil.to_json()


def test_it_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Loud when it fires, and quietly when it is over."""
    with caplog.at_level("INFO", "taskflow.alerts"):
        Log("ERROR").tell(replace(NOTICE, task=EVIL))
        Log("ERROR").tell(replace(NOTICE, state="resolved"))

    assert [record.levelno for record in caplog.records] == [logging.ERROR, logging.INFO]
    assert all(record.getMessage().isprintable() for record in caplog.records)


def test_a_webhook_is_posted() -> None:
    with wall() as server:
        Webhook(server.url, headers={"Authorization": "Bearer 1"}).tell(replace(NOTICE, task=EVIL))

        (told,) = server.posted
        assert (told["alert"], told["state"], told["value"], told["task"]) == (
            "failing",
            "firing",
            0.25,
            EVIL,
        )
        assert told["text"].startswith("firing: failing")
        assert server.headers[0]["authorization"] == "Bearer 1"
        assert server.headers[0]["content-type"] == "application/json"


@pytest.mark.parametrize("answer", [302, 404, 500])
def test_another_answer_than_well_is_a_failure(answer: int) -> None:
    """Nothing is posted to where somebody else says."""
    with wall() as server:
        server.answer = answer
        with pytest.raises(urllib.error.HTTPError, match=str(answer)):
            Webhook(server.url).tell(NOTICE)
        assert len(server.posted) == 1


def test_an_email_is_sent_and_has_no_more_headers_than_ours() -> None:
    with mailbox() as server:
        mail = Email(("ann@example.org", "bob@example.org"), sender="us@example.org", server=server.server)
        mail.tell(replace(NOTICE, task=EVIL))

        ((to, message),) = server.mails
        assert to == ["ann@example.org", "bob@example.org"]
        assert message["Subject"].startswith("[taskflow] firing: failing")
        assert message["Bcc"] is None
        assert message.get_content_type() == "text/plain"
        assert "\x1b" not in message.get_content()
        assert "condition: failure_rate > 5%" in message.get_content()


def test_a_function_is_called_with_the_notice() -> None:
    told: list[Notice] = []
    Callback(told.append).tell(NOTICE)
    assert told == [NOTICE]


def shout(notice: Notice) -> str:
    return notice.text.upper()


def test_places_are_kept_as_text(codec: Codec) -> None:
    """Functions sealed: who has no key puts in none of his own."""
    places = [
        Log("ERROR"),
        Webhook("https://example.org/hook", headers={"A": "b"}),
        Email("ann@example.org", tls="starttls", user="us"),
        Callback(shout),
    ]
    told = [json.loads(json.dumps({"kind": place.kind, **place.to_json(codec)})) for place in places]

    assert [place_from(one, codec) for one in told[:3]] == places[:3]
    elsewhere = Codec(codec.keyring, MemoryBlobs())
    assert place_from(told[3], elsewhere).fn(NOTICE) == NOTICE.text.upper()  # type: ignore[attr-defined]
    with pytest.raises(Untrusted):
        place_from(told[3], Codec(Keyring.ephemeral(), MemoryBlobs()))


def test_a_function_that_captures_much_is_refused(codec: Codec) -> None:
    data = bytes(range(256)) * 10_000
    with pytest.raises(ConfigError, match="captures too much"):
        Callback(lambda notice: data[0]).to_json(codec)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Log("LOUD"), "WARNING"),
        (lambda: Callback(3), "a function"),  # type: ignore[arg-type]
        (lambda: Webhook("ftp://example.org"), "http://"),
        (lambda: Webhook("file:///etc/passwd"), "http://"),
        (lambda: Webhook("https://example.org", headers={"A": "b\r\nC: d"}), "header"),
        (lambda: Email("nobody"), "no e-mail address"),
        (lambda: Email("a@b\r\nBcc: c@d"), "no e-mail address"),
        (lambda: Email(()), "needs an address"),
        (lambda: Email("a@b", tls="ssl"), "starttls"),
        (lambda: Email("a@b", server="host:x"), "host:port"),
    ],
)
def test_what_is_no_place_is_refused(make: object, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        make()  # type: ignore[operator]
