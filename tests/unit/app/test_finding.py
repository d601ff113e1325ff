"""The application that ``taskflow -A`` names."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from taskflow import hooks
from taskflow.app import find_app
from taskflow.errors import ConfigError

numbers = itertools.count()


@pytest.fixture(autouse=True)
def unchanged() -> Iterator[None]:
    before = hooks.app
    yield
    hooks.app = before


@pytest.fixture
def name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A name for a package in the working directory that no other test has."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return f"found{next(numbers)}"


def written(path: str, text: str) -> None:
    Path(path).parent.mkdir(exist_ok=True)
    Path(path).write_text(text)


@pytest.mark.parametrize("variable", ["app", "celery", "taskflow", "anything"])
def test_an_application_in_a_module_is_found_by_its_variable_or_by_its_class(
    name: str, variable: str
) -> None:
    written(f"{name}.py", f"import taskflow as t\n{variable} = t.Taskflow('mine')\n")

    assert find_app(name).main == "mine"
    assert find_app(f"{name}:{variable}").main == "mine"
    assert find_app(f"{name}.{variable}").main == "mine"


@pytest.mark.parametrize("module", ["celery", "taskflow"])
def test_in_a_package_a_module_of_that_name_is_looked_into(name: str, module: str) -> None:
    written(f"{name}/__init__.py", "")
    written(f"{name}/{module}.py", "import taskflow as t\napp = t.Taskflow('inner')\n")

    assert find_app(name).main == "inner"
    assert find_app(f"{name}.{module}").main == "inner"


def test_a_module_that_is_not_there_is_said_so(name: str) -> None:
    with pytest.raises(ConfigError, match=f"no module '{name}'"):
        find_app(name)


def test_a_module_without_an_application_names_what_is_near(name: str) -> None:
    written(f"{name}.py", "import taskflow\nshop = taskflow.Taskflow('shop')\n")

    with pytest.raises(ConfigError, match="Did you mean 'shop'"):
        find_app(f"{name}:shopp")
    written(f"{name}x.py", "")
    with pytest.raises(ConfigError, match="There is no application"):
        find_app(f"{name}x")


def test_what_is_wrong_inside_a_module_is_raised(name: str) -> None:
    written(f"{name}.py", "import nothing_of_that_name")

    with pytest.raises(ModuleNotFoundError, match="nothing_of_that_name"):
        find_app(name)
