"""Where notices go: into the log, to a function, to a webhook, by e-mail.

What they say may have names in it that anybody could choose: it is escaped for where it goes.
"""

from __future__ import annotations

import json
import logging
import os
import smtplib
import ssl
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, asdict, dataclass, fields
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from typing import Any, ClassVar, Protocol
from urllib.parse import urlsplit

from taskflow.alerts.functions import function_from, function_to
from taskflow.codec import Codec
from taskflow.errors import ConfigError
from taskflow.observe.text import visible

__all__ = [
    "Callback",
    "Email",
    "Log",
    "Notice",
    "Place",
    "Webhook",
    "place_from",
]

log = logging.getLogger("taskflow.alerts")

_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
_ANSWER_CHARS = 200


@dataclass(frozen=True)
class Notice:
    """What is told.

    Args:
        alert: The name of the alert.
        state: ``firing``, ``resolved``, or ``test``.
        condition: What it was told to look for.
        value: What was measured; `None` where the condition is a function.
        at: When, seconds since the epoch.
        store: Where, without passwords.
        queue: Of which queue; empty for all.
        task: Of which tasks; empty for all.
        id: Of this notice: the same when it is delivered once more, after somebody died who delivered it.
    """

    alert: str
    state: str
    condition: str
    value: float | None
    at: float
    store: str
    queue: str = ""
    task: str = ""
    id: str = ""

    @property
    def text(self) -> str:
        """One line for people; no character of it is obeyed by a terminal."""
        of = "".join(
            f", {kind} {name}" for kind, name in (("queue", self.queue), ("task", self.task)) if name
        )
        value = "" if self.value is None else f" (now {self.value:g})"
        return visible(f"{self.state}: {self.alert}: {self.condition}{value}{of} in {self.store}")

    def to_json(self) -> str:
        """All of it, and `text`, which chats show."""
        return json.dumps({**asdict(self), "text": self.text})


class Place(Protocol):
    """Where notices go."""

    kind: ClassVar[str]

    def tell(self, notice: Notice, /) -> None:
        """Deliver it; raises when it did not arrive."""
        ...

    def to_json(self, codec: Codec, /) -> dict[str, Any]:
        """As it is kept in the store."""
        ...


@dataclass(frozen=True)
class Log:
    """Into the log ``taskflow.alerts`` of the process that looks.

    Args:
        level: How loud it is that it fires; that it is over is told as ``INFO``.
    """

    level: str = "WARNING"

    kind: ClassVar[str] = "log"

    def __post_init__(self) -> None:
        if self.level not in _LEVELS:
            raise ConfigError(f"level={self.level!r} is not possible: use one of {', '.join(_LEVELS)}.")

    def tell(self, notice: Notice) -> None:
        """Write a line."""
        level = self.level if notice.state == "firing" else "INFO"
        log.log(logging.getLevelNamesMapping()[level], "%s", notice.text, extra={"alert": asdict(notice)})

    def to_json(self, codec: Codec) -> dict[str, Any]:
        """As it is kept in the store."""
        return asdict(self)

    def __str__(self) -> str:
        return "log"


@dataclass(frozen=True)
class Callback:
    """To a function, in the process that looks: it is called with the `Notice`.

    Args:
        fn: The function; it travels as a task does, and has to be small.
    """

    fn: Callable[[Notice], Any]

    kind: ClassVar[str] = "callback"

    def __post_init__(self) -> None:
        if not callable(self.fn):
            raise ConfigError(f"Callback({self.fn!r}) is not possible: it needs a function of a Notice.")

    def tell(self, notice: Notice) -> None:
        """Call it."""
        self.fn(notice)

    def to_json(self, codec: Codec) -> dict[str, Any]:
        """As it is kept in the store."""
        return {"fn": function_to(codec, self.fn)}

    def __str__(self) -> str:
        return f"callback {getattr(self.fn, '__qualname__', type(self.fn).__qualname__)}"


@dataclass(frozen=True)
class Webhook:
    """To a web address, as JSON: the fields of the `Notice`, and ``text``, which chats show.

    Args:
        url: ``http://`` or ``https://``; it is kept in the store, where whoever reads that can read it.
        headers: Further headers.
        timeout: Seconds to wait for an answer. Another answer than 2xx, also a redirection, is a failure.
    """

    url: str
    _: KW_ONLY
    headers: Mapping[str, str] | None = None
    timeout: float = 10.0

    kind: ClassVar[str] = "webhook"

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigError(f"url={self.url!r} is not possible: a webhook begins with http:// or https://.")
        for name, value in (self.headers or {}).items():
            if not f"{name}{value}".isprintable():
                raise ConfigError(f"The header {name!r} has characters that cannot stand in one.")

    def tell(self, notice: Notice) -> None:
        """Post it."""
        headers = {"Content-Type": "application/json", "User-Agent": "taskflow", **(self.headers or {})}
        request = urllib.request.Request(  # noqa: S310 - the scheme was looked at
            self.url, notice.to_json().encode(), headers, method="POST"
        )
        opener = urllib.request.build_opener(_NoRedirection)
        with opener.open(request, timeout=self.timeout) as answer:
            answer.read(_ANSWER_CHARS)

    def to_json(self, codec: Codec) -> dict[str, Any]:
        """As it is kept in the store."""
        return {"url": self.url, "headers": dict(self.headers or {}), "timeout": self.timeout}

    def __str__(self) -> str:
        return f"webhook {urlsplit(self.url).hostname}"


class _NoRedirection(urllib.request.HTTPRedirectHandler):
    """What is posted goes to the address that was named, and to no other."""

    def redirect_request(self, *_: Any) -> None:
        return None


@dataclass(frozen=True)
class Email:
    """By e-mail, as plain text.

    Args:
        to: One address, or several.
        sender: From whom.
        server: ``host`` or ``host:port`` of the mail server; port 25, 587 with `tls`.
        user: Who logs in there; nobody when it is empty.
        password_env: The name of the variable that has the password, where notices are delivered: a password
            is not kept in the store.
        tls: ``"starttls"``, ``"tls"`` from the beginning, or `None`.
        timeout: Seconds to wait for the server.
    """

    to: str | tuple[str, ...]
    _: KW_ONLY
    sender: str = "taskflow@localhost"
    server: str = "localhost"
    user: str = ""
    password_env: str = "TASKFLOW_SMTP_PASSWORD"  # noqa: S105 - a name
    tls: str | None = None
    timeout: float = 10.0

    kind: ClassVar[str] = "email"

    def __post_init__(self) -> None:
        object.__setattr__(self, "to", (self.to,) if isinstance(self.to, str) else tuple(self.to))
        for address in (*self.to, self.sender):
            if not isinstance(address, str) or "@" not in address or not address.isprintable():
                raise ConfigError(f"{address!r} is no e-mail address.")
        if not self.to:
            raise ConfigError("Email() needs an address.")
        if self.tls not in (None, "starttls", "tls"):
            raise ConfigError(f"tls={self.tls!r} is not possible: use 'starttls', 'tls' or None.")
        host, _, port = self.server.partition(":")
        if not host or (port and not port.isdecimal()):
            raise ConfigError(f"server={self.server!r} is not possible: use 'host' or 'host:port'.")

    def tell(self, notice: Notice) -> None:
        """Hand it to the mail server."""
        message = self.message(notice)
        host, _, port = self.server.partition(":")
        number = int(port or (587 if self.tls else 25))
        context = ssl.create_default_context() if self.tls else None
        if self.tls == "tls":
            server: smtplib.SMTP = smtplib.SMTP_SSL(host, number, timeout=self.timeout, context=context)
        else:
            server = smtplib.SMTP(host, number, timeout=self.timeout)
        with server:
            if self.tls == "starttls":
                server.starttls(context=context)
            if self.user:
                server.login(self.user, os.environ.get(self.password_env, ""))
            server.send_message(message)

    def message(self, notice: Notice) -> EmailMessage:
        """What is sent."""
        message = EmailMessage()
        message["Subject"] = f"[taskflow] {notice.text}"
        message["From"] = self.sender
        message["To"] = ", ".join(self.to)
        message["Date"] = formatdate(notice.at)
        message["Message-ID"] = make_msgid(domain="taskflow")
        lines = [notice.text, ""]
        lines += [f"{name}: {visible(str(value))}" for name, value in asdict(notice).items() if value != ""]
        message.set_content("\n".join(lines) + "\n")
        return message

    def to_json(self, codec: Codec) -> dict[str, Any]:
        """As it is kept in the store."""
        return {**asdict(self), "to": list(self.to)}

    def __str__(self) -> str:
        return f"email {', '.join(self.to)}"


_KINDS: dict[str, Any] = {one.kind: one for one in (Log, Callback, Webhook, Email)}


def place_from(told: dict[str, Any], codec: Codec) -> Place:
    """What `to_json` gave, with its kind."""
    kind = _KINDS[told["kind"]]
    values = {name: value for name, value in told.items() if name in {field.name for field in fields(kind)}}
    if kind is Callback:
        values["fn"] = function_from(codec, values["fn"])
    made: Place = kind(**values)
    return made
