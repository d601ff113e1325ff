"""A cell as a function: what it needs is captured, or handed over; its last expression is what it gives."""

from __future__ import annotations

import ast
import builtins
import linecache
from collections.abc import Callable, Mapping, Sequence
from itertools import count
from typing import Any, NamedTuple

from IPython.core.error import UsageError

__all__ = ["Cell", "cell_function", "each", "steps"]

_numbers = count(1)


class Cell(NamedTuple):
    """A function made of a cell, and what it is to be called with."""

    fn: Callable[..., Any]
    inputs: tuple[str, ...]


def cell_function(
    source: str,
    names: dict[str, Any],
    *,
    label: str = "cell",
    inputs: Sequence[str] | None = None,
    handed: Callable[[Any], bool] = lambda value: False,
    first: Sequence[str] = (),
) -> Cell:
    """Make a function of a cell. Its names are its own; those of the notebook that it only reads it captures.

    Args:
        source: The cell.
        names: Those of the notebook.
        label: What the function is called.
        inputs: Names that are handed over as arguments; by default those that the cell both reads and
            assigns, and those whose value cannot be captured.
        handed: Whether a value has to be handed over.
        first: Further parameters, before the others.

    Raises:
        UsageError: It is no Python, or an input is no name of the notebook.
    """
    tree = _parsed(source, label)
    body = tree.body or [ast.Pass()]
    if isinstance(body[-1], ast.Expr) and not source.rstrip().endswith(";"):
        body[-1] = ast.copy_location(ast.Return(body[-1].value), body[-1])
    if inputs is None:
        inputs = _needed(tree, names, handed, first)
    unknown = [name for name in inputs if name not in names]
    if unknown:
        raise UsageError(f"There is no {unknown[0]!r} in this notebook.")
    return Cell(_function(label, [*first, *inputs], body, source, names), tuple(inputs))


def each(words: str, source: str, names: dict[str, Any], label: str = "cell") -> tuple[Any, Cell]:
    """The items that ``x in items`` names, and the cell as a function of one.

    Raises:
        UsageError: It says something else, or there are no such items.
    """
    try:
        loop = ast.parse(f"for {words}:\n    pass").body[0]
    except SyntaxError:
        loop = None
    if not isinstance(loop, ast.For):
        raise UsageError("Say what the cell is run for: %%parallel x in items")
    items = eval(compile(ast.Expression(loop.iter), "<items>", "eval"), names)  # noqa: S307 - the user's own
    if isinstance(loop.target, ast.Name):
        return items, cell_function(source, names, label=label, first=[loop.target.id], inputs=())
    apart = ast.unparse(loop.target)
    made = cell_function(f"{apart} = item_\n{source}", names, label=label, first=["item_"], inputs=())
    return items, made


def steps(source: str, names: dict[str, Any]) -> list[tuple[str, Callable[..., Any]]]:
    """The steps of a workflow that a cell spells: names, and functions of the steps that they need.

    A step is ``name: expression`` or a function; either needs the steps that it names.

    Raises:
        UsageError: A line is neither.
    """
    found: list[tuple[str, Callable[..., Any]]] = []
    for statement in _parsed(source, "workflow").body:
        match statement:
            case ast.AnnAssign(target=ast.Name(id=name), annotation=value, value=None):
                needs = [word for word, _ in found if word in _read(value)]
                answer = ast.copy_location(ast.Return(value), value)
                found.append((name, _function(name, needs, [answer], source, names)))
            case ast.FunctionDef(name=name):
                space = _compiled(ast.Module([statement], []), source, name, names)
                found.append((name, space[name]))
            case _:
                raise UsageError(f"line {statement.lineno} is no step: write name: expression, or a function")
    return found


def _parsed(source: str, label: str) -> ast.Module:
    try:
        return ast.parse(source)
    except SyntaxError as error:
        raise UsageError(f"{label}, line {error.lineno}: {error.msg}") from None


def _function(
    label: str, parameters: Sequence[str], body: list[ast.stmt], source: str, names: Mapping[str, Any]
) -> Callable[..., Any]:
    name = label if label.isidentifier() else "cell"
    taken = ast.arguments([], [ast.arg(p) for p in parameters], None, [], [], None, [])
    made = ast.FunctionDef(name, taken, body, [], None, None)
    made.lineno = made.col_offset = 0
    space = _compiled(ast.Module([ast.fix_missing_locations(made)], []), source, name, names)
    fn: Callable[..., Any] = space[name]
    return fn


def _compiled(module: ast.Module, source: str, name: str, names: Mapping[str, Any]) -> dict[str, Any]:
    """What a module defines; its functions see the names of the notebook, and tracebacks show its lines."""
    place = f"<taskflow cell {next(_numbers)}: {name}>"
    linecache.cache[place] = (len(source), None, source.splitlines(keepends=True), place)
    space: dict[str, Any] = {}
    # The globals of the functions are the names of the notebook themselves: what they read is captured when
    # they are sent, and cloudpickle sends what belongs to the notebook by value.
    exec(compile(module, place, "exec"), names, space)  # type: ignore[arg-type]  # noqa: S102 - the user's own
    for value in space.values():
        if callable(value):
            value.__module__ = "__main__"
    return space


def _needed(
    tree: ast.Module, names: Mapping[str, Any], handed: Callable[[Any], bool], first: Sequence[str]
) -> list[str]:
    reads, writes = _read(tree), _written(tree)
    return sorted(
        name
        for name in reads
        if name in names and name not in first and not hasattr(builtins, name)
        and (name in writes or handed(names[name]))
    )  # fmt: skip


def _read(tree: ast.AST) -> set[str]:
    return {
        node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)
    } | {
        node.target.id
        for node in ast.walk(tree)
        if isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name)
    }


def _written(tree: ast.AST) -> set[str]:
    return {
        node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    }
