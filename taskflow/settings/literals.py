"""What a file of Python says of settings, found without running it."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from typing import Any, Final, NamedTuple

from taskflow.errors import ConfigError

__all__ = ["COMPUTED", "Assigned", "assignments", "is_spelt_out"]


class _Computed:
    def __repr__(self) -> str:
        return "(computed)"


COMPUTED: Final = _Computed()
"""In place of a value that only running the file would tell."""

_APPS = ("Celery", "Taskflow", "App")
_OF_APPS = {"broker": "broker_url", "backend": "result_backend", "include": "include"}
_ARITHMETIC: Mapping[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
}


class Assigned(NamedTuple):
    """A value that a file gives a name.

    Args:
        line: From 1; `None` when it is not known.
        name: As it is written.
        value: `COMPUTED` when it is not spelt out.
        own: It is a name of the file itself, which need not be a setting.
    """

    line: int | None
    name: str
    value: Any
    own: bool


def assignments(source: str, called: str) -> list[Assigned]:
    r"""The assignments of a file, in their order: its own names, and what it gives to ``….conf`` or an app.

    Values are what is spelt out: literals, arithmetic with numbers, ``timedelta(…)``, and names that were
    given such values before.

    Args:
        source: The text of the file.
        called: Its name, for errors.

    Raises:
        ConfigError: It is not Python.

    Example:
        >>> assignments("broker_url = 'redis://host'\napp.conf.task_time_limit = 30 * 60", "a.py")
        [Assigned(line=1, name='broker_url', value='redis://host', own=True),
         Assigned(line=2, name='task_time_limit', value=1800, own=False)]
    """
    try:
        tree = ast.parse(source, called)
    except (SyntaxError, ValueError) as error:
        raise ConfigError(f"{called} is not Python that can be read: {error}.") from error
    return sorted(_Reader().of(tree.body), key=lambda found: found.line or 0)


def is_spelt_out(value: Any) -> bool:
    """Whether nothing of a value is computed."""
    if isinstance(value, dict):
        return all(map(is_spelt_out, value.values()))
    if isinstance(value, (list, tuple)):
        return all(map(is_spelt_out, value))
    return value is not COMPUTED


class _Reader:
    """Walks statements, and remembers what names were given."""

    def __init__(self) -> None:
        self._known: dict[str, Any] = {}

    def of(self, body: list[ast.stmt]) -> Iterator[Assigned]:
        for statement in body:
            yield from self._of_calls(statement)
            if isinstance(statement, (ast.Assign, ast.AnnAssign)):
                yield from self._of_assignment(statement)
            elif isinstance(statement, ast.AugAssign) and isinstance(statement.target, ast.Name):
                self._known.pop(statement.target.id, None)
                yield Assigned(statement.lineno, statement.target.id, COMPUTED, True)
            for inner in ("body", "orelse", "finalbody", "handlers"):
                yield from self.of(getattr(statement, inner, []))

    def _of_assignment(self, statement: ast.Assign | ast.AnnAssign) -> Iterator[Assigned]:
        if statement.value is None:
            return
        value = self._value(statement.value)
        targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        for target in targets:
            if isinstance(target, ast.Name):
                self._known[target.id] = value
                yield Assigned(statement.lineno, target.id, value, True)
            elif isinstance(target, ast.Attribute) and _is_conf(target.value):
                yield Assigned(statement.lineno, target.attr, value, False)
            elif isinstance(target, ast.Subscript) and _is_conf(target.value):
                key = self._value(target.slice)
                if isinstance(key, str):
                    yield Assigned(statement.lineno, key, value, False)

    def _of_calls(self, statement: ast.stmt) -> Iterator[Assigned]:
        """``app.conf.update(…)`` and ``app = Celery(…)``."""
        expression = getattr(statement, "value", None)
        if not isinstance(expression, ast.Call):
            return
        of_app = isinstance(expression.func, ast.Name) and expression.func.id in _APPS
        of_conf = (
            isinstance(expression.func, ast.Attribute)
            and expression.func.attr == "update"
            and _is_conf(expression.func.value)
        )
        for word in expression.keywords:
            if word.arg is None or not (of_conf or (of_app and word.arg in _OF_APPS)):
                continue
            name = _OF_APPS[word.arg] if of_app else word.arg
            yield Assigned(word.value.lineno, name, self._value(word.value), False)
        for given in expression.args if of_conf else ():
            if isinstance(given, ast.Dict):
                for key, inner in zip(given.keys, given.values, strict=True):
                    if isinstance(key, ast.Constant) and isinstance(key.value, str):
                        yield Assigned(inner.lineno, key.value, self._value(inner), False)

    def _value(self, node: ast.expr) -> Any:
        try:
            return self._spelt(node)
        except (LookupError, TypeError, ValueError, ArithmeticError):
            return COMPUTED

    def _spelt(self, node: ast.expr) -> Any:
        """The value of an expression; raises when it is not spelt out."""
        match node:
            case ast.Constant(value):
                return value
            case ast.Name(name) if self._known[name] is not COMPUTED:
                return self._known[name]
            case ast.List(items):
                return [self._spelt(item) for item in items]
            case ast.Tuple(items):
                return tuple(self._spelt(item) for item in items)
            case ast.Dict(keys, values):
                return {self._spelt(key): self._value(value) for key, value in _pairs(keys, values)}
        return self._reckoned(node)

    def _reckoned(self, node: ast.expr) -> Any:
        match node:
            case ast.UnaryOp(ast.USub(), operand):
                return -_number(self._spelt(operand))
            case ast.BinOp(left, sign, right):
                return _ARITHMETIC[type(sign)](_number(self._spelt(left)), _number(self._spelt(right)))
            case ast.Call(func, [], words) if ast.unparse(func) in ("timedelta", "datetime.timedelta"):
                return timedelta(**{word.arg or "": _number(self._spelt(word.value)) for word in words})
        raise ValueError(ast.dump(node))


def _pairs(keys: list[ast.expr | None], values: list[ast.expr]) -> Iterator[tuple[ast.expr, ast.expr]]:
    for key, value in zip(keys, values, strict=True):
        if key is None:  # {**others}
            raise ValueError
        yield key, value


def _number(value: Any) -> Any:
    """A number, so that no text of a gigabyte can be spelt in a few characters."""
    if isinstance(value, (int, float)):
        return value
    raise TypeError


def _is_conf(node: ast.expr) -> bool:
    return isinstance(node, ast.Attribute) and node.attr == "conf"
