"""docs/celery.md runs as it is printed, and so does the section of the README for Celery users."""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path

from tests.seeds.stage import Folder
from tests.servers import until

ROOT = Path(__file__).parents[2]
NAMED = re.compile(r"# (\S+\.py)\n")


def blocks(text: str, language: str) -> list[str]:
    """The code of a text in a language."""
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def files(code: Iterable[str]) -> dict[str, str]:
    """The blocks that name a file in their first line, by that."""
    found: dict[str, str] = {}
    for block in code:
        if named := NAMED.match(block):
            found[named[1]] = found.get(named[1], "") + block[named.end() :] + "\n"
    return found


def script(code: Iterable[str]) -> str:
    """The other blocks, one after another."""
    return "\n".join(block for block in code if not NAMED.match(block))


def printed(code: str) -> list[str]:
    """What the comments behind its prints say."""
    return re.findall(r"^ *print\(.*\)  # (.*)$", code, re.M)


def test_the_page_runs_as_printed(folder: Folder) -> None:
    text = (ROOT / "docs" / "celery.md").read_text(encoding="utf-8")
    code = blocks(text, "python")
    for name, content in files(code).items():
        if name.startswith("examples/"):
            assert content.strip() in (ROOT / name).read_text(encoding="utf-8")
        else:
            folder.put(name, content)
    main = folder.put("main.py", script(code))

    with ExitStack() as processes:
        for command in "".join(blocks(text, "sh")).splitlines():
            processes.enter_context(folder.started(command))
        assert folder.python(main.name) == printed(main.read_text(encoding="utf-8"))
        until(lambda: "add-often" in folder.run("taskflow", "-A", "shop", "schedules"))
        with folder.started("taskflow -A legacy worker") as worker:
            worker.says("Ctrl-C")
            assert folder.python("legacy.py") == ["[0, 1, 4, 9]"]


def test_the_pages_that_it_names_are_there() -> None:
    page = ROOT / "docs" / "celery.md"

    for link in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
        assert (page.parent / link).exists(), link


def test_the_section_of_the_readme_runs_as_printed(folder: Folder) -> None:
    text = (
        (ROOT / "README.md").read_text(encoding="utf-8").partition("## Celery users")[2].partition("\n## ")[0]
    )
    code = blocks(text, "python")
    for name, content in files(code).items():
        folder.put(name, content)
    (worker,) = "".join(blocks(text, "sh")).splitlines()

    with folder.started(worker):
        assert folder.python("-c", script(code)) == printed(script(code))
