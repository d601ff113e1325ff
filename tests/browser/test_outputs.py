"""What JupyterLab and Notebook 7 draw under a cell: live from the server, whatever becomes of the kernel."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import nbformat
import pytest
from playwright.sync_api import WebSocketRoute, expect

from taskflow import Client
from taskflow.observe.snapshot import MIME, Watch
from taskflow.stores import open_store
from tests.browser.driving import Driver, code, written
from tests.browser.work import gated
from tests.jupyter_servers import Jupyter

HOSTILE = "<img src=x onerror=\"document.title='pwned'\"><script>document.title='pwned'</script>"
START = """\
%load_ext taskflow
import taskflow
from tests.browser.work import gated
client = taskflow.Client(workers=0)"""
MAP = """\
gates = ['{gate}' + str(n // 10) for n in range(20)]
run = client.options(label='thumbnails').map(gated, range(20), gates)"""


@pytest.fixture(scope="module", autouse=True)
def workers(lab: Jupyter, hub: Jupyter) -> Iterator[None]:
    """They outlive the kernels: those of another process."""
    with Client(lab.store_url, workers=2) as one, Client(hub.store_url, workers=2) as other:
        one.submit(abs, 1).result()
        other.submit(abs, 1).result()
        yield


def open_gates(gate: str, *numbers: int) -> None:
    for number in numbers:
        Path(f"{gate}{number}").touch()


def test_an_output_moves_while_its_cell_blocks_and_the_panel_cancels_it(
    on_lab: Driver, lab: Jupyter, gate: str
) -> None:
    on_lab.open(written(lab, "blocks.ipynb", code(START, f"{MAP.format(gate=gate)}\nrun.results()")))
    on_lab.run(0)
    on_lab.run(1, wait=False)
    expect(on_lab.output(1)).to_contain_text("0 of 20")

    open_gates(gate, 0)
    expect(on_lab.output(1)).to_contain_text("10 of 20")
    assert on_lab.is_running(1)
    panel = on_lab.panel()
    panel.locator(".tf-Item", has_text="thumbnails").first.click()
    on_lab.shot("output-and-panel")
    panel.get_by_role("button", name="Cancel").click()

    on_lab.until_run(1)
    expect(on_lab.output(1)).to_have_attribute("data-state", "cancelled")
    assert "TaskCancelled" in on_lab.text(1)


def test_an_output_moves_on_through_a_restart_of_the_kernel_and_a_reload_of_the_page(
    on_lab: Driver, lab: Jupyter, gate: str
) -> None:
    on_lab.open(written(lab, "outlives.ipynb", code(START, f"{MAP.format(gate=gate)}\nrun")))
    on_lab.run(0)
    on_lab.run(1)
    expect(on_lab.output(1)).to_contain_text("0 of 20")

    on_lab.restart()
    open_gates(gate, 0)
    expect(on_lab.output(1)).to_contain_text("10 of 20")

    on_lab.save()
    on_lab.reload()
    expect(on_lab.output(1)).to_contain_text("10 of 20")
    open_gates(gate, 1)
    expect(on_lab.output(1)).to_contain_text("20 of 20")
    expect(on_lab.output(1)).to_have_attribute("data-state", "succeeded")


def test_under_a_base_url_outputs_and_panel_are_live_and_notebook_7_draws_the_same(
    on_hub: Driver, hub: Jupyter, gate: str
) -> None:
    name = written(hub, "hub.ipynb", code(START, f"{MAP.format(gate=gate)}\nrun"))
    on_hub.open(name)
    on_hub.run(0)
    on_hub.run(1)
    expect(on_hub.panel().locator(".tf-Item", has_text="thumbnails")).to_contain_text("0 of 20")
    expect(on_hub.output(1)).to_contain_text("0 of 20")
    on_hub.save()

    on_hub.open_notebook7(name)
    expect(on_hub.output(1)).to_contain_text("0 of 20")
    open_gates(gate, 0)
    expect(on_hub.output(1)).to_contain_text("10 of 20")
    on_hub.shot("notebook7")
    on_hub.output(1).get_by_role("button", name="Cancel").click()
    expect(on_hub.output(1)).to_have_attribute("data-state", "cancelled")


def test_an_untrusted_notebook_shows_the_snapshot_asks_nothing_and_runs_nothing(
    on_lab: Driver, lab: Jupyter, gate: str
) -> None:
    live = snapshot_of(lab, gate)
    assert (live["state"] in ("queued", "running"), live["done"]) == (True, 0)
    forged = json.loads(json.dumps(live).replace("gated", "forged")) | {"name": HOSTILE}
    forged["stages"][0]["label"] = HOSTILE
    forged["errors"] = [
        {"type": HOSTILE, "message": HOSTILE, "count": 1, "traceback": HOSTILE, "items": [[HOSTILE, 1]]}
    ]
    damaged = live | {"stages": [None], "cells": 7}
    on_lab.open(written(lab, "stranger.ipynb", saved(live, forged, damaged, {"v": 99})))

    for index, words in enumerate(["0 of 4", "<script>"]):
        expect(on_lab.output(index)).to_contain_text(words)
        expect(on_lab.output(index).get_by_role("button", name="Cancel")).to_be_hidden()
        expect(on_lab.cell(index).locator(".tf-Output")).to_have_attribute("data-live", "false")
    expect(on_lab.cell(2).locator(".tf-Output")).to_contain_text("damaged")
    expect(on_lab.cell(3).locator(".tf-Output")).to_contain_text("another version")
    on_lab.shot("untrusted")
    assert on_lab.page.locator("img[src=x], .tf-Output script").count() == 0
    assert "pwned" not in on_lab.page.title()
    assert len(on_lab.told) >= 1
    assert live["run"] not in "".join(on_lab.told)


def test_without_the_server_an_output_stands_as_it_was_and_goes_on_when_it_is_back(
    on_lab: Driver, lab: Jupyter, gate: str
) -> None:
    sockets: list[WebSocketRoute] = []
    is_away = False

    def route(socket: WebSocketRoute) -> None:
        sockets.append(socket)
        if is_away:
            socket.close()
        else:
            socket.connect_to_server()

    on_lab.page.route_web_socket("**/taskflow/api/events*", route)
    on_lab.open(written(lab, "away.ipynb", code(START, f"{MAP.format(gate=gate)}\nrun")))
    on_lab.run(0)
    on_lab.run(1)
    output = on_lab.cell(1).locator(".tf-Output")
    expect(output).to_have_attribute("data-live", "true")

    is_away = True
    sockets[-1].close()
    expect(output).to_have_attribute("data-live", "false", timeout=10_000)
    expect(output.get_by_role("button", name="Cancel")).to_be_hidden()
    expect(on_lab.panel()).to_contain_text("The Jupyter server is away")

    is_away = False
    open_gates(gate, 0)
    expect(output).to_have_attribute("data-live", "true", timeout=20_000)
    expect(output).to_contain_text("10 of 20")
    open_gates(gate, 1)


def snapshot_of(server: Jupyter, gate: str) -> dict[str, Any]:
    """A run as it stood at its gate; it has ended since."""
    with Client(server.store_url, workers=0) as client, closing(open_store(server.store_url)) as store:
        run = client.map(gated, range(4), [gate] * 4)
        client.flush()
        snapshot = Watch(store, run.id).look()
        Path(gate).touch()
        run.results()
    assert snapshot is not None
    return snapshot


def saved(*snapshots: dict[str, Any]) -> nbformat.NotebookNode:
    """A notebook that somebody else has saved, with these runs under its cells."""
    notebook = code(*("run" for _ in snapshots))
    for cell, snapshot in zip(notebook.cells, snapshots, strict=True):
        data = {MIME: snapshot, "text/plain": "a run"}
        cell.execution_count = 1
        cell.outputs = [nbformat.v4.new_output("display_data", data=data)]
    return notebook
