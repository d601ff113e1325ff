"""JupyterLab and Notebook 7 in the system's Chromium. Two servers for all: one at the root, one as on a hub.

The tests here are of one process of the suite, one after the other (tests/conftest.py), so that no more
servers are started than these.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import pytest
from playwright.sync_api import Browser, expect, sync_playwright

from tests.browser.driving import OPEN_MS, Driver
from tests.jupyter_servers import Jupyter, jupyter

ROOT = Path(__file__).parents[2]
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--disable-extensions",
]  # fmt: skip
SIZE = {"width": 1280, "height": 900}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All tests of this folder have the mark."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.browser)


def missing(what: str) -> NoReturn:
    """Without it the test is skipped, or fails in CI."""
    if os.environ.get("CI"):
        pytest.fail(f"{what}, and this is CI")
    pytest.skip(what)


@pytest.fixture(scope="session")
def extension() -> Path:
    """The lab extension, as `make lab` builds it."""
    built = ROOT / "jupyter_ext" / "labextension"
    if not (built / "package.json").is_file():
        missing("the lab extension is not built: make lab")
    return built


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """The system's Chromium, without a window.

    Of a module, not of the session: while Playwright lasts, its event loop is the running one of this thread,
    and later tests of this process could not use ``asyncio.run``.
    """
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        missing("Chromium is not installed: apt install chromium")
    expect.set_options(timeout=OPEN_MS)  # of what must come; a page among six busy processes takes its time
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS, headless=True)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory, extension: Path) -> Iterator[Jupyter]:
    """JupyterLab at the root of a server."""
    with jupyter(tmp_path_factory.mktemp("lab"), *APP, app="lab", extension=extension) as server:
        yield server


@pytest.fixture(scope="session")
def hub(tmp_path_factory: pytest.TempPathFactory, extension: Path) -> Iterator[Jupyter]:
    """JupyterLab and Notebook 7 under a base URL, as hubs and Binder have them."""
    place = tmp_path_factory.mktemp("hub")
    with jupyter(place, *APP, app="lab", base_url="/user/jovyan/", extension=extension) as server:
        yield server


APP = ["--LabApp.expose_app_in_browser=True"]


@pytest.fixture
def drive(browser: Browser) -> Iterator[Callable[[Jupyter], Driver]]:
    """Opens a page of a server; in the end no page may have had an error, or have asked a stranger."""
    contexts, drivers = [], []

    def opened(server: Jupyter) -> Driver:
        contexts.append(browser.new_context(viewport=SIZE))
        drivers.append(Driver(contexts[-1].new_page(), server))
        return drivers[-1]

    yield opened

    for driver in drivers:
        driver.close()
    stray = [said for driver in drivers for said in driver.stray()]
    for context in contexts:
        context.close()
    assert stray == []


@pytest.fixture
def gate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where a gate is for `work.gated`. In the end it is open, as are those with 0 or 1 behind it.

    They stay open: tasks may still come to them, and would stand before a gate that is gone for good.
    """
    place = tmp_path_factory.mktemp("gates")
    yield str(place / "gate")
    for number in ("", "0", "1"):
        (place / f"gate{number}").touch()


@pytest.fixture
def on_lab(drive: Callable[[Jupyter], Driver], lab: Jupyter) -> Driver:
    """An empty page of JupyterLab."""
    return drive(lab)


@pytest.fixture
def on_hub(drive: Callable[[Jupyter], Driver], hub: Jupyter) -> Driver:
    """An empty page of the server with the base URL."""
    return drive(hub)
