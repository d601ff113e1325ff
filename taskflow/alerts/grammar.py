"""What a condition says: ``failure_rate > 5% for 5m``. Pure.

::

    condition  =  measure  comparison  number [unit]  [ "for" number time ]
    comparison =  > | >= | < | <= | == | !=
    unit       =  %, for a share;  time, for seconds
    time       =  ms | s | m | h | d
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from taskflow.errors import ConfigError, nearest

__all__ = ["MEASURES", "Condition", "parse"]

SHARE, COUNT, TIME = "a share", "a number", "a time"
MEASURES: Mapping[str, str] = {
    "failure_rate": SHARE,
    "failures": COUNT,
    "retry_rate": SHARE,
    "duration_p95": TIME,
    "queue_length": COUNT,
    "waiting_s": TIME,
    "workers": COUNT,
    "dead": COUNT,
}
"""What can be measured, and what kind of number that is."""

_COMPARISONS: Mapping[str, Callable[[float, float], bool]] = {
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
}
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86_400.0}
_TOKEN = re.compile(
    r"\s*(?:(?P<word>[A-Za-z_]\w*)|(?P<sign>[<>=!]+)|(?P<number>\d+(?:\.\d+)?)(?P<unit>%|[A-Za-z]+)?|(?P<other>\S))"
)


@dataclass(frozen=True)
class Condition:
    """A measure, and when it is too much.

    Args:
        measure: One of `MEASURES`.
        sign: How it is compared.
        bound: With what; a share from 0 to 1, or seconds.
        for_s: How long it has to hold, seconds.
        text: As it was written.
    """

    measure: str
    sign: str
    bound: float
    for_s: float = 0.0
    text: str = ""

    def holds(self, value: float) -> bool:
        """Whether it is too much.

        Example:
            >>> parse("waiting_s >= 2m").holds(120)
            True
        """
        return _COMPARISONS[self.sign](value, self.bound)


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str
    at: int
    unit: str = ""

    @property
    def length(self) -> int:
        return len(self.text) + len(self.unit)


def parse(text: str) -> Condition:
    """Read a condition.

    Raises:
        ConfigError: It is none; the message points to the place, and names the nearest word.

    Example:
        >>> parse("failure_rate > 5% for 5m")
        Condition(measure='failure_rate', sign='>', bound=0.05, for_s=300.0, text='failure_rate > 5% for 5m')
    """
    reader = _Reader(text)
    measure = reader.take("word", "a measure, such as failure_rate")
    if measure.text not in MEASURES:
        near = nearest(measure.text, MEASURES) or f" Known are {', '.join(MEASURES)}."
        raise reader.wrong(measure, f"There is no measure {measure.text!r}.{near}")
    sign = reader.take("sign", "a comparison, such as >")
    if sign.text not in _COMPARISONS:
        raise reader.wrong(sign, f"There is no comparison {sign.text!r}: use one of {' '.join(_COMPARISONS)}")
    bound = reader.bound(MEASURES[measure.text])
    for_s = 0.0
    if not reader.is_over:
        word = reader.take("word", "'for', or nothing more")
        if word.text != "for":
            raise reader.wrong(word, f"{word.text!r} cannot stand here.{nearest(word.text, ['for'])}")
        for_s = reader.seconds()
    if not reader.is_over:
        raise reader.wrong(reader.next, "A condition ends with its time: nothing can stand behind it.")
    return Condition(measure.text, sign.text, bound, for_s, " ".join(text.split()))


class _Reader:
    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens: list[_Token] = []
        at = 0
        while found := _TOKEN.match(text, at):
            kind = str(found.lastgroup if found.lastgroup != "unit" else "number")
            self._tokens.append(_Token(kind, found[kind], found.start(kind), found["unit"] or ""))
            at = found.end()

    @property
    def is_over(self) -> bool:
        return not self._tokens

    @property
    def next(self) -> _Token:
        return self._tokens[0] if self._tokens else _Token("end", " ", len(self._text.rstrip()))

    def take(self, kind: str, wanted: str) -> _Token:
        found = self.next
        if found.kind != kind:
            raise self.wrong(found, f"Here should be {wanted}.")
        return self._tokens.pop(0)

    def bound(self, kind: str) -> float:
        number = self.take("number", "a number")
        value = float(number.text)
        if kind == SHARE and number.unit in ("", "%"):
            value = value / 100 if number.unit else value
            if value > 1:
                raise self.wrong(number, "A share is from 0 to 1, or from 0% to 100%.")
            return value
        if kind == TIME:
            return value * self._unit(number)
        if number.unit:
            raise self.wrong(number, f"It is {kind}, and {number.unit!r} is no unit of that.")
        return value

    def seconds(self) -> float:
        number = self.take("number", "a time, such as 5m")
        if not number.unit:
            raise self.wrong(number, "A time needs its unit: 30s, 5m, 1h.")
        return float(number.text) * self._unit(number)

    def _unit(self, number: _Token) -> float:
        unit = number.unit or "s"
        if unit not in _SECONDS:
            known = nearest(unit, _SECONDS) or f" Use one of {', '.join(_SECONDS)}."
            raise self.wrong(number, f"{unit!r} is no time.{known}")
        return _SECONDS[unit]

    def wrong(self, token: _Token, words: str) -> ConfigError:
        shown = "".join(char if char.isprintable() else " " for char in self._text)
        return ConfigError(f"{words}\n    {shown}\n    {' ' * token.at}{'^' * max(1, token.length)}")
