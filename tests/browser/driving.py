"""Drives JupyterLab and Notebook 7 in a browser: opens notebooks, runs cells, looks at what is drawn.

Cells are run, and outputs read, by JupyterLab's own commands and models, not by clicks: what is tested is
what taskflow draws. Notebook 7 does not lend out its application, and is clicked.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nbformat
from playwright.sync_api import ConsoleMessage, Locator, Page, Request, WebSocket

from tests.jupyter_servers import Jupyter

__all__ = ["OPEN_MS", "Driver", "Seen", "code", "written"]

OPEN_MS = 60_000
NOTEBOOK7 = ["reading 'schema'", "Command 'filebrowser:open-path' not registered"]
"""Errors that Notebook 7.6 has by itself, without any extension."""
_LAB = "window.jupyterapp.shell.currentWidget"
_READY = f"""async () => {{
  const context = {_LAB}.sessionContext;
  await context.ready;
  await context.session.kernel.info;
}}"""
_RUN = f"""index => {{
  const notebook = {_LAB}.content;
  notebook.activeCellIndex = index;
  notebook.deselectAll();
  window.jupyterapp.commands.execute('notebook:run-cell');
}}"""
_TEXTS = f"""index => {_LAB}.content.widgets[index].model.outputs.toJSON().map(
  output => output.text || (output.traceback || []).join('\\n') || (output.data || {{}})['text/plain'] ||
    '')"""
_MIMES = f"""index => {_LAB}.content.widgets[index].model.outputs.toJSON().map(
  output => Object.keys(output.data || {{}}))"""


class Seen:
    """What a page must not have done: errors on its console, requests to others than this machine.

    A test that makes something fail on purpose says which words may be in the error: `allowed`.
    """

    def __init__(self, page: Page) -> None:
        self.allowed: list[str] = []
        self._errors: list[str] = []
        self._strangers: set[str] = set()
        page.on("console", self._hear)
        page.on("pageerror", lambda error: self._errors.append(f"{error}\n{error.stack}"))
        page.on("request", self._follow)
        page.on("websocket", lambda socket: self._meet(socket.url))

    @property
    def errors(self) -> list[str]:
        """Errors that nobody expected."""
        return [error for error in self._errors if not any(words in error for words in self.allowed)]

    @property
    def strangers(self) -> list[str]:
        """Addresses off this machine."""
        return sorted(self._strangers)

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self._errors.append(f"{message.text} ({message.location.get('url', '')})")

    def _follow(self, request: Request) -> None:
        self._meet(request.url)

    def _meet(self, url: str) -> None:
        if not url.startswith(("http://127.0.0.1:", "ws://127.0.0.1:", "data:", "blob:")):
            self._strangers.add(url)


def code(*cells: str) -> nbformat.NotebookNode:
    """A notebook with these cells."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return notebook


def written(server: Jupyter, name: str, notebook: nbformat.NotebookNode) -> str:
    """Put a notebook where the server serves it; its name."""
    nbformat.write(notebook, server.folder / name)
    return name


class Driver:
    """A page of a server.

    Args:
        page: It is empty.
        server: What it will show.

    Attributes:
        seen: What the page must not have done.
        told: What it has said to the socket of taskflow, all of it.
    """

    def __init__(self, page: Page, server: Jupyter) -> None:
        self.page, self.server = page, server
        self.seen = Seen(page)
        self.told: list[str] = []
        page.on("websocket", self._overhear)

    def _overhear(self, socket: WebSocket) -> None:
        """What the page says to our own socket is kept."""
        if "taskflow/api/events" in socket.url:
            socket.on("framesent", lambda frame: self.told.append(str(frame)))

    # ── JupyterLab ───────────────────────────────────────────────────────────────────

    def open(self, name: str) -> None:
        """Open a notebook in JupyterLab, and wait for its kernel."""
        self.page.goto(f"{self.server.url}lab/tree/{name}?reset&token={self.server.token}")
        self.ready()

    def open_lab(self) -> None:
        """Open JupyterLab without a notebook."""
        self.page.goto(f"{self.server.url}lab?reset&token={self.server.token}")
        self.page.wait_for_function("() => window.jupyterapp", timeout=OPEN_MS)
        self.page.evaluate("() => window.jupyterapp.restored")
        self.page.wait_for_selector(".jp-Launcher", timeout=OPEN_MS)  # it takes the focus when it comes

    def reload(self) -> None:
        """Load the page anew, with the notebook that is open."""
        self.page.reload()
        self.ready()

    def ready(self) -> None:
        """Wait for the notebook and its kernel."""
        self.page.wait_for_function(f"() => window.jupyterapp && {_LAB}?.sessionContext", timeout=OPEN_MS)
        self.page.evaluate(_READY)

    def run(self, index: int, *, wait: bool = True) -> None:
        """Run a cell, and wait for its end."""
        self.page.evaluate(_RUN, index)
        if wait:
            self.until_run(index)

    def until_run(self, index: int, timeout_ms: int = OPEN_MS) -> None:
        """Wait until a cell has been run."""
        self.page.wait_for_function(
            f"i => /^\\[\\d+\\]:?$/.test({_LAB}.content.widgets[i].promptNode.textContent.trim())",
            arg=index,
            timeout=timeout_ms,
        )

    def is_running(self, index: int) -> bool:
        """Whether a cell blocks the kernel."""
        prompt = self.page.evaluate(f"i => {_LAB}.content.widgets[i].promptNode.textContent", index)
        return "*" in prompt

    def text(self, index: int) -> str:
        """All that a cell has said, as text."""
        return "".join(self.page.evaluate(_TEXTS, index))

    def mimes(self, index: int) -> list[list[str]]:
        """The types of each output of a cell."""
        found: list[list[str]] = self.page.evaluate(_MIMES, index)
        return found

    def cell(self, index: int) -> Locator:
        """A cell, to look into."""
        return self.page.locator(".jp-Notebook .jp-CodeCell").nth(index)

    def output(self, index: int) -> Locator:
        """What the drawing of a run in a cell's output is in."""
        return self.cell(index).locator(".tf-run").first

    def interrupt(self) -> None:
        """Press ■."""
        self.page.evaluate(f"() => {_LAB}.sessionContext.session.kernel.interrupt()")

    def restart(self) -> None:
        """Restart the kernel, and wait for it."""
        self.seen.allowed.append("Canceled future for")
        self.page.evaluate(f"async () => {{ await {_LAB}.sessionContext.restartKernel(); }}")
        self.page.evaluate(_READY)

    def save(self) -> nbformat.NotebookNode:
        """Save the notebook; what is in the file then."""
        path = self.page.evaluate(
            f"async () => {{ await {_LAB}.context.save(); return {_LAB}.context.path; }}"
        )
        return nbformat.read(self.server.folder / path, as_version=4)

    def command(self, name: str, **arguments: Any) -> None:
        """Do what a command of JupyterLab does."""
        self.page.evaluate(
            f"() => window.jupyterapp.commands.execute({json.dumps(name)}, {json.dumps(arguments)})"
        )

    def theme(self, *, dark: bool) -> None:
        """Choose the colours."""
        self.command("apputils:change-theme", theme="JupyterLab Dark" if dark else "JupyterLab Light")
        self.page.wait_for_selector(f"body[data-jp-theme-light={str(not dark).lower()}]", state="attached")
        self.page.wait_for_selector("#jupyterlab-splash", state="detached")

    # ── taskflow's panel ─────────────────────────────────────────────────────────────

    def panel(self) -> Locator:
        """The panel with the runs, opened."""
        self.command("taskflow:show-runs")
        panel = self.page.locator("#taskflow-runs")
        panel.wait_for(state="visible")
        return panel

    # ── Notebook 7 ───────────────────────────────────────────────────────────────────

    def open_notebook7(self, name: str) -> None:
        """Open a notebook in Notebook 7."""
        self.seen.allowed += NOTEBOOK7
        self.page.goto(f"{self.server.url}notebooks/{name}?token={self.server.token}")
        self.page.wait_for_selector(".jp-Notebook .jp-CodeCell", timeout=OPEN_MS)

    def run_notebook7(self, index: int) -> None:
        """Run a cell there, without waiting."""
        self.cell(index).locator(".cm-content").click()
        self.page.keyboard.press("Shift+Enter")

    # ── pictures ─────────────────────────────────────────────────────────────────────

    def shot(self, name: str, part: Locator | None = None) -> Path:
        """Take a picture, into the folder that TASKFLOW_SCREENSHOTS names."""
        folder = Path(
            os.environ.get("TASKFLOW_SCREENSHOTS") or Path(tempfile.gettempdir()) / "taskflow-shots"
        )
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{name}.png"
        (part or self.page).screenshot(path=path)
        return path

    def close(self) -> None:
        """Leave the settings of the server as they were, for who comes next."""
        if self.page.locator("body[data-jp-theme-light=false]").count():
            self.theme(dark=False)

    def stray(self) -> Sequence[str]:
        """What is wrong with the page, whatever was tested: it is to be nothing."""
        return [*self.seen.errors, *self.seen.strangers]
