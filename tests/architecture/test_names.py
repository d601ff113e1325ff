"""What is public, where it lives, and that importing it is cheap."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import taskflow
from tests.architecture.modules import module_names, source_of

HEAVY = {"asyncio", "cloudpickle", "ipywidgets", "networkx", "numpy", "pandas", "redis", "sqlite3"}


@pytest.mark.parametrize("name", taskflow.__all__)
def test_a_public_name_can_be_used(name: str) -> None:
    value = getattr(taskflow, name)

    assert value is not None
    assert name in dir(taskflow)


@pytest.mark.parametrize("name", taskflow.__all__)
def test_no_module_takes_the_place_of_a_public_name(name: str) -> None:
    """Its import would put the module there, for all of the process."""
    modules = {module for module in module_names() if module == f"taskflow.{name}"}

    assert all(getattr(taskflow, name) is sys.modules.get(module) for module in modules)


def test_public_names_are_sorted_and_said_once() -> None:
    assert list(taskflow.__all__) == sorted(set(taskflow.__all__))


def test_a_name_that_is_not_public_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Flow'"):
        _ = taskflow.Flow


def test_types_and_lazy_names_agree() -> None:
    """Type checkers read the imports under TYPE_CHECKING, programs the table: both say the same."""
    tree = ast.parse(source_of("taskflow").read_text(encoding="utf-8"))
    imported = {
        alias.name: statement.module
        for block in tree.body
        if isinstance(block, ast.If)
        for statement in block.body
        if isinstance(statement, ast.ImportFrom) and statement.module not in ("typing", "taskflow")
        for alias in statement.names
    }

    assert imported == taskflow._ROOM_OF
    assert {*imported, "errors"} == set(taskflow.__all__)


@pytest.mark.parametrize("module", module_names())
def test_what_a_module_declares_public_is_there(module: str) -> None:
    loaded = __import__(module, fromlist=["*"])

    missing = [name for name in getattr(loaded, "__all__", ()) if not hasattr(loaded, name)]

    assert missing == []


def test_importing_taskflow_imports_nothing_heavy() -> None:
    loaded = _modules_after("import taskflow")

    assert loaded & HEAVY == set()
    assert "taskflow.client" not in loaded


def test_importing_the_client_imports_nothing_heavy() -> None:
    loaded = _modules_after("import taskflow; taskflow.Client; taskflow.RetryPolicy; taskflow.chord")

    assert loaded & (HEAVY - {"cloudpickle", "sqlite3"}) == set()


def test_openstack_taskflow_in_the_same_folder_is_named(tmp_path: Path) -> None:
    mixed = tmp_path / "taskflow"
    (mixed / "engines").mkdir(parents=True)
    (mixed / "engines" / "__init__.py").touch()
    (mixed / "__init__.py").write_bytes(source_of("taskflow").read_bytes())

    done = _python("import taskflow", cwd=tmp_path)

    assert done.returncode == 1
    assert "ImportError: OpenStack TaskFlow" in done.stderr
    assert "pip uninstall" in done.stderr


def _modules_after(code: str) -> set[str]:
    done = _python(f"{code}\nimport sys; print(*sys.modules)", cwd=Path(taskflow.__path__[0]).parent)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def _python(code: str, *, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run code in a fresh interpreter that finds modules in `cwd` first."""
    return subprocess.run([sys.executable, "-c", code], cwd=cwd, capture_output=True, text=True, check=False)
