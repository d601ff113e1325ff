"""Every public name says what it is, and every example in a docstring is true."""

from __future__ import annotations

import ast
import doctest
import importlib
from collections.abc import Iterator

import pytest

from tests.architecture.modules import module_names, source_of

Documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


@pytest.mark.parametrize("module", module_names())
def test_a_module_and_its_public_names_say_what_they_are(module: str) -> None:
    tree = ast.parse(source_of(module).read_text(encoding="utf-8"))

    silent = [name for name, node in _public(tree, module) if not ast.get_docstring(node)]

    assert silent == []


@pytest.mark.parametrize("module", module_names())
def test_the_examples_of_a_module_are_true(module: str) -> None:
    loaded = importlib.import_module(module)

    outcome = doctest.testmod(loaded, optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)

    assert outcome.failed == 0


def _public(node: Documented, name: str) -> Iterator[tuple[str, Documented]]:
    """A node and the public names inside it; what a function holds is its own affair."""
    yield name, node
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return
    for child in node.body:
        if isinstance(child, Documented) and not child.name.startswith("_") and not _is_overload(child):
            yield from _public(child, f"{name}.{child.name}")


def _is_overload(node: Documented) -> bool:
    return any("overload" in ast.dump(mark) for mark in getattr(node, "decorator_list", ()))
