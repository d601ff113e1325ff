"""What is done when a module arrives."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from taskflow.importing import when_imported

told: list[str] = []


def tell() -> None:
    told.append("there" if "late_package.part" in sys.modules else "not there")


def tell_too() -> None:
    told.append("too")


@pytest.fixture(autouse=True)
def _package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "late_package").mkdir()
    (tmp_path / "late_package" / "__init__.py").touch()
    (tmp_path / "late_package" / "part.py").write_text("value = 3\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    before = list(sys.meta_path)
    told.clear()
    yield
    sys.meta_path[:] = before
    for name in ("late_package.part", "late_package"):
        sys.modules.pop(name, None)


def test_it_is_done_once_behind_the_import() -> None:
    when_imported("late_package.part", tell)
    when_imported("late_package.part", tell)
    when_imported("late_package.part", tell_too)
    assert told == []

    import late_package.part  # type: ignore[import-not-found]

    assert late_package.part.value == 3
    assert sorted(told) == ["there", "too"]


def test_it_is_done_now_when_the_module_is_there() -> None:
    import late_package.part  # noqa: F401

    when_imported("late_package.part", tell)

    assert told == ["there"]


def test_nothing_is_left_of_it() -> None:
    before = list(sys.meta_path)
    when_imported("late_package.part", tell)

    import late_package.part

    assert sys.meta_path == before
    assert type(late_package.part.__loader__).__module__.startswith(("importlib", "_frozen_importlib"))


def test_a_module_that_is_not_there_is_still_not_found() -> None:
    when_imported("no_such_module_anywhere", tell)

    with pytest.raises(ModuleNotFoundError):
        import no_such_module_anywhere  # noqa: F401

    assert told == []
