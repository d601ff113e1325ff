"""One setting: its names, its type, its default, and what it does here."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from taskflow.errors import ConfigError
from taskflow.settings.kinds import ANY, FLAG, Kind

__all__ = ["SAME", "Option", "Status", "always", "without_meaning"]


class _Same(enum.Enum):
    SAME = "the same"

    def __repr__(self) -> str:
        return "SAME"


SAME = _Same.SAME
"""In place of a value: that of ours, or none in particular."""


class Status(enum.StrEnum):
    """What becomes of one of Celery's settings, in the words of the documentation."""

    HONOURED = "honoured"
    DIFFERS = "differs on purpose"
    OTHERWISE = "means something else here"
    NOTHING = "no meaning here"


@dataclass(frozen=True, slots=True)
class Option:
    """A setting.

    Args:
        name: As Celery writes it since its version 4, in lower case.
        kind: What it may be.
        default: What it is when nobody says anything.
        does: What it does here, in one sentence.
        status: What becomes of it.
        why: Why it differs, what it means instead, or why it has no meaning.
        unit: Of a number.
        celery: Celery's own default, where it is another one; ``compat="celery"`` brings it back.
        old: Older names of Celery, in upper case.
        always: What it is here whatever is set; to set just that is no mistake.
        none: What `None` means; it is refused when this is empty and the default is something.
        ours: It is not one of Celery's.
        secret: It is never shown.
    """

    name: str
    kind: Kind
    default: Any
    does: str
    status: Status = Status.HONOURED
    why: str = ""
    unit: str = ""
    celery: Any = SAME
    old: tuple[str, ...] = ()
    always: Any = SAME
    none: str = ""
    ours: bool = False
    secret: bool = False

    def check(self, value: Any) -> Any:
        """The value as it is kept. What has no meaning is not looked at.

        Raises:
            ConfigError: It cannot be used; the message says what to write.
        """
        if self.status is Status.NOTHING:
            return value
        if value is None:
            if self.default is None or self.none or self.celery is None:
                return None
            raise ConfigError(f"{self.name}=None is not possible: use {self.kind.words}.")
        return self.kind.check(self.name, value)

    def default_for(self, compat: str | None) -> Any:
        """Our default, or Celery's when that was asked for."""
        return self.celery if compat == "celery" and self.celery is not SAME else self.default

    def holds(self, value: Any) -> bool:
        """Whether what was asked for is what happens, as far as that can be said of a value."""
        if self.always is not SAME:
            return bool(value == self.always)
        return self.status is not Status.NOTHING

    def status_of(self, value: Any) -> Status:
        """What becomes of a value that was set; where only defaults differ it is honoured."""
        if self.always is not SAME:
            return Status.HONOURED if self.holds(value) else Status.NOTHING
        if self.status is Status.DIFFERS and self.celery is not SAME:
            return Status.HONOURED
        return self.status

    def effect(self, value: Any = SAME) -> str:
        """What happens here, in words: of a value that was set, or in general."""
        if self.status is Status.NOTHING:
            return self.why[:1].upper() + self.why[1:]
        if value is SAME or self.status_of(value) is self.status:
            return f"{self.does} {self.why}".strip()
        return self.does if self.holds(value) else f"This cannot be switched off: {self.does}"


def without_meaning(whys: Mapping[str, str], **old: tuple[str, ...]) -> tuple[Option, ...]:
    """Settings that are accepted and do nothing, by name, and why; `old` has other old names of some."""
    return tuple(
        Option(
            name,
            ANY,
            None,
            "",
            Status.NOTHING,
            why,
            old=old.get(name, ()),
            secret=any(word in name for word in _SECRET),
        )
        for name, why in whys.items()
    )


def always(does: Mapping[str, str], *, celery: bool = False, **old: tuple[str, ...]) -> tuple[Option, ...]:
    """Switches of Celery that are always on here, and what that is; `celery` is where they stand there."""
    return tuple(
        Option(name, FLAG, True, what, Status.OTHERWISE, celery=celery, always=True, old=old.get(name, ()))
        for name, what in does.items()
    )


_SECRET = (
    "password",
    "secret",
    "auth_kwargs",
    "backend_settings",
    "database_url",
    "credential",
    "security_key",
)
