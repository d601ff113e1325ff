"""No sample is forgotten."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from tests.seeds.stage import SAMPLES, as_printed, renamed

HERE = Path(__file__).parent
NOT_RUN = {
    "A19-flower.sh": "the dashboard is not there yet",
    "B1-quick-start.sh": "its first two parts install packages and a server",
    "B3-path.mmd": "a picture",
}


@pytest.mark.parametrize("name", sorted(path.name for path in SAMPLES.iterdir()))
def test_each_sample_is_run(name: str) -> None:
    tests = "".join(path.read_text(encoding="utf-8") for path in HERE.glob("test_*.py"))
    assert f'"{name}"' in tests


def test_a1_the_extras_are_there() -> None:
    project = tomllib.loads((HERE.parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = as_printed("A01-install.sh") + as_printed("B1-quick-start.sh")
    wanted = re.findall(r"pip install celery\[(\w+)\]", lines)

    assert wanted == ["redis", "amqp", "redis"]
    assert set(wanted) - {"amqp"} <= project["optional-dependencies"].keys()  # RabbitMQ is not there yet


def test_b3_the_path_is_a_chapter_of_the_guide() -> None:
    """A diagram of mermaid; GitHub and JupyterLab draw it."""
    guide = (HERE.parents[1] / "docs" / "celery.md").read_text(encoding="utf-8")
    steps = re.findall(r"[A-G][\[{](.*?)[\]}]", as_printed("B3-path.mmd"))

    assert "```mermaid" in guide
    assert all(step in guide for step in steps)


def test_only_names_are_changed() -> None:
    assert renamed("from celery import Celery\ncelery_app = Celery()") == (
        "from taskflow import Taskflow\ncelery_app = Taskflow()"
    )
    assert renamed("from .celery import app\ncelery.conf") == "from .celery import app\ncelery.conf"
    assert renamed("celery -A celery_app worker") == "taskflow -A celery_app worker"
