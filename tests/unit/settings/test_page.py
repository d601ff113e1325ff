"""The pages that are made say what is here."""

from __future__ import annotations

import re
import runpy
from pathlib import Path
from typing import Any

import pytest

from taskflow.settings import OPTIONS

DOCS = Path(__file__).parents[3] / "docs"


@pytest.mark.parametrize(
    ("script", "name"), [("settings_page", "settings.md"), ("celery_page", "coming-from-celery.md")]
)
def test_a_page_is_what_would_be_made_now(script: str, name: str) -> None:
    made = runpy.run_path(str(DOCS / f"{script}.py"))["page"]()

    assert (DOCS / name).read_text(encoding="utf-8") == made, "run: make pages"


def test_every_setting_is_on_the_page_once() -> None:
    text = (DOCS / "settings.md").read_text(encoding="utf-8")

    assert [name for name in OPTIONS if len(re.findall(rf"^\| `{name}`(?:<br>| \|)", text, re.M)) < 1] == []


@pytest.mark.parametrize("name", ["settings.md", "coming-from-celery.md"])
def test_links_of_a_page_lead_somewhere(name: str) -> None:
    text = (DOCS / name).read_text(encoding="utf-8")
    text = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    anchors = {
        re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")
        for title in re.findall(r"^#+ (.*)$", text, re.M)
    }

    for target in re.findall(r"\]\(([^)]+)\)", text):
        path, _, anchor = target.partition("#")
        assert (DOCS / path).exists() if path else anchor in anchors, target


def test_a_name_of_celery_is_the_same_or_not_yet_by_what_is_here() -> None:
    module = runpy.run_path(str(DOCS / "celery_page.py"))
    has = {"there": True, "noted": True, "left": True}
    section: Any = module["Section"](
        "Things",
        "there noted gone later",
        lambda name: name in has,
        {"noted": "Otherwise."},
        {"gone": "No use."},
    )

    text = "".join(module["_section"](section))

    assert "The same: `there`." in text
    assert "| `noted` | Otherwise. |" in text
    assert "| `gone` | No use. |" in text
    assert "Not yet: `later`." in text


def test_a_note_on_what_celery_does_not_have_is_a_mistake() -> None:
    module = runpy.run_path(str(DOCS / "celery_page.py"))
    section: Any = module["Section"]("Things", "there", lambda name: True, {"elsewhere": "Wrong."})

    with pytest.raises(AssertionError, match="elsewhere"):
        list(module["_section"](section))
