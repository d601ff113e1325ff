"""What a setting may be: words for a person, and a check that gives the value or says what to write."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from taskflow.errors import ConfigError, nearest

__all__ = [
    "ANY",
    "BOUNDS",
    "COUNT",
    "FLAG",
    "MAPPING",
    "NAMES",
    "NUMBER",
    "PLACE",
    "RATE",
    "SECONDS",
    "SLOTS",
    "STORE",
    "TEXT",
    "WAIT",
    "ZONE",
    "Kind",
    "one_of",
]


@dataclass(frozen=True, slots=True)
class Kind:
    """A type of values.

    Args:
        words: What to write, for a person.
        read: Gives the value as it is kept, also from text of the environment.
            Raises `TypeError` or `ValueError` when it is none of these; a `ConfigError` has words of its own.
    """

    words: str
    read: Callable[[Any], Any]

    def check(self, name: str, value: Any) -> Any:
        """The value as it is kept.

        Raises:
            ConfigError: It is none of these; the message says what to write.

        Example:
            >>> SECONDS.check("task_time_limit", timedelta(minutes=1))
            60.0
        """
        try:
            return self.read(value)
        except ConfigError as error:
            raise ConfigError(f"{name}: {error}") from None
        except (TypeError, ValueError):
            raise ConfigError(f"{name}={value!r} is not possible: use {self.words}.") from None


_BROKERS = frozenset(
    (
        *("amqp", "amqps", "pyamqp", "librabbitmq", "qpid", "sqs", "kafka", "confluentkafka", "zookeeper"),
        *("mongodb", "sqla", "sqlalchemy", "filesystem", "gcpubsub", "azureservicebus", "azurestoragequeues"),
        *("consul", "etcd", "pyro", "SLMQ", "zeromq"),
    )
)
_IN_STORE = ("rpc", "disabled", "amqp")
"""Where results are in the store anyway."""
_TRUE, _FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")


def _flag(value: Any) -> bool:
    if isinstance(value, str):
        if value.strip().lower() in (*_TRUE, *_FALSE):
            return value.strip().lower() in _TRUE
        raise ValueError
    if value not in (0, 1):
        raise ValueError
    return bool(value)


def _number(value: Any) -> float:
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise TypeError
    number = float(value)
    if math.isnan(number):
        raise ValueError
    return int(number) if number.is_integer() and not isinstance(value, float) else number


def _seconds(value: Any) -> float:
    number = float(_number(value))
    if number < 0:
        raise ValueError
    return number


def _count(value: Any) -> int:
    number = _number(value)
    if number < 0 or number != int(number):
        raise ValueError
    return int(number)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _names(value: Any) -> tuple[str, ...]:
    listed = value.split(",") if isinstance(value, str) else list(value)
    names = tuple(_text(name).strip() for name in listed)
    return tuple(name for name in names if name)


def _mapping(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise TypeError
    return value


def _slots(value: Any) -> int | str:
    if value == "auto":
        return "auto"
    number = _count(value)
    if not number:
        raise ValueError
    return number


def _bounds(value: Any) -> tuple[int, int]:
    most, least = [*value.split(","), "1"][:2] if isinstance(value, str) else value
    bounds = (_count(most), _count(least))
    if not 1 <= bounds[1] <= bounds[0]:
        raise ValueError
    return bounds


def _rate(value: Any) -> Any:
    from taskflow.limits import RateLimit

    if value in ("", 0):
        return None
    return value if isinstance(value, RateLimit) else RateLimit(value) and value


def _store(value: Any) -> str:
    from taskflow.links import shown
    from taskflow.stores import file_of

    if not isinstance(value, str):
        listed = list(value)
        if len(listed) != 1:
            raise ConfigError(
                "Name one store. Where several servers stand in for each other, use redis+sentinel:// or"
                " redis+cluster://."
            )
        value = listed[0]
    url = _text(value)
    scheme = url.partition("://")[0].partition("+")[0]
    if scheme in _BROKERS:
        raise ConfigError(
            f"{scheme} carries messages, and calls are kept in a store here: use redis://host:6379/0, or a"
            " file of one host, sqlite:////path/runs.db."
        )
    try:
        file_of(url)
    except ConfigError as error:
        raise ConfigError(str(error).replace(url, shown(url))) from None
    return url


def _place(value: Any) -> str:
    from taskflow.backends import is_backend
    from taskflow.links import shown
    from taskflow.stores import file_of

    url = _text(value)
    if url.partition("://")[0] in _IN_STORE or is_backend(url):
        return url
    try:
        if "://" not in url:
            raise ConfigError(url)
        file_of(url)
    except ConfigError:
        raise ConfigError(
            f"{shown(url)!r}: there is no such place for results. Leave it out, as the store keeps them, or"
            " use db+sqlite:// or db+postgresql://."
        ) from None
    return url


def _wait(value: Any) -> Any:
    return value if value in ("wait", "raise") else _seconds(value)


def _zone(value: Any) -> Any:
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

    if not isinstance(value, str):
        if not hasattr(value, "utcoffset"):
            raise TypeError
        return value
    try:
        ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        near = nearest(value, available_timezones())
        raise ConfigError(f"There is no time zone {value!r}.{near}") from None
    return value


def one_of(*values: str, **aliases: str) -> Kind:
    """One of some words; an alias means the word that it names.

    Example:
        >>> one_of("process", "thread", prefork="process").check("worker_pool", "prefork")
        'prefork'
    """

    def read(value: Any) -> str:
        word = _text(value)
        if word not in (*values, *aliases):
            raise ConfigError(f"{word!r} is not known.{nearest(word, (*values, *aliases))} Use {listed}.")
        return word

    also = f" (also {', '.join(aliases)})" if aliases else ""
    listed = ", ".join(map(repr, values)) + also
    return Kind(listed, read)


ANY = Kind("anything", lambda value: value)
FLAG = Kind("True or False", _flag)
COUNT = Kind("a whole number of 0 or more", _count)
NUMBER = Kind("a number", _number)
SECONDS = Kind("seconds, or a timedelta", _seconds)
TEXT = Kind("text", _text)
NAMES = Kind("names, as a list or with commas", _names)
MAPPING = Kind("a dictionary", _mapping)
SLOTS = Kind("a number above 0, or 'auto'", _slots)
BOUNDS = Kind("the most and the least, as in (10, 3) or '10,3'", _bounds)
PLACE = Kind("the URL of a place for results", _place)
RATE = Kind("a rate such as '10/m'", _rate)
STORE = Kind("the URL of a store", _store)
WAIT = Kind("'wait', 'raise' or seconds", _wait)
ZONE = Kind("the name of a time zone, or a tzinfo", _zone)
