"""What a person does with a run under a cell: looks, sorts, filters, interrupts, restarts, debugs, saves."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Locator, expect

from taskflow.observe.snapshot import MIME
from tests.browser.driving import Driver, code, written
from tests.jupyter_servers import Jupyter, jupyter

WIDGET = "application/vnd.jupyter.widget-view+json"
HOSTILE = "<img src=x onerror=\"document.title='pwned'\">"
START = """\
%load_ext taskflow
import taskflow, time
client = taskflow.get_client()"""
THIRDS = """\
def third(x):
    print('looking at', x)
    if x % 3 == 2:
        raise ValueError(f'{x} is one of every three')
    return {'square': x * x}
run = client.map(third, range(60))
run.results('skip')[:3]"""
SLOW = """\
def slow(x):
    time.sleep(0.05)
    return x
run = client.map(slow, range(2000))"""


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Jupyter]:
    """JupyterLab without our extension: what is shown there is the widget."""
    app, home = "--LabApp.expose_app_in_browser=True", tmp_path_factory.mktemp("bare")
    config = home / "config" / "labconfig" / "page_config.json"
    config.parent.mkdir(parents=True)
    config.write_text('{"disabledExtensions": {"taskflow-lab": true}}')
    with jupyter(home, app, app="lab") as server:
        yield server


def opened(output: Locator, name: str) -> Locator:
    """A fold of the drawing, open."""
    fold = output.locator(f".tf-{name}")
    fold.locator("> summary").click()
    return fold


def test_the_table_fills_sorts_filters_pages_and_tells_details(on_lab: Driver, lab: Jupyter) -> None:
    on_lab.open(written(lab, "table.ipynb", code(START, THIRDS)))
    on_lab.run(0)
    on_lab.run(1)
    output = on_lab.output(1)
    expect(output).to_have_attribute("data-state", "failed")
    expect(output.locator(".tf-reasons")).to_contain_text("20 failed, 1 cause")

    table = opened(output, "rows")
    rows = table.locator("tbody tr")
    expect(rows).to_have_count(50)
    expect(table.get_by_role("status")).to_have_text("1–50 of 60")
    expect(rows.first).to_contain_text(
        "{'square': 0}"
    )  # which the kernel has told: a server opens no results
    table.get_by_role("button", name="next page").click()
    expect(rows).to_have_count(10)
    expect(rows.first).to_contain_text("third[50]")

    table.get_by_role("combobox").select_option("failed")
    expect(table.get_by_role("status")).to_have_text("1–20 of 20")
    expect(rows.first).to_contain_text("ValueError: 2 is one of every three")
    table.get_by_role("button", name="Item").click()
    expect(table.get_by_role("columnheader", name="Item")).to_have_attribute("aria-sort", "descending")
    expect(rows.first).to_contain_text("third[59]")

    table.get_by_role("button", name="details of third[59]").press("Enter")
    expect(table.locator(".tf-detail")).to_contain_text("line 4, in third")
    expect(table.locator(".tf-detail")).to_contain_text("looking at 59")
    on_lab.shot("table", output)


def test_the_panel_leads_to_the_cell_of_a_run(on_lab: Driver, lab: Jupyter) -> None:
    cell = "client.options(label='from here').map(abs, range(3)).results()"
    on_lab.open(written(lab, "origin.ipynb", code(START, cell, "1 + 1")))
    for index in range(3):
        on_lab.run(index)
    panel = on_lab.panel()
    panel.locator(".tf-Item", has_text="from here").first.click()
    panel.get_by_role("button", name="Go to its cell").click()

    on_lab.page.wait_for_function("() => jupyterapp.shell.currentWidget.content.activeCellIndex === 1")
    expect(on_lab.output(1).get_by_role("button", name="Go to its cell")).to_be_hidden()


def test_the_squares_and_the_boxes_of_the_graph_lead_to_their_rows(on_lab: Driver, lab: Jupyter) -> None:
    flow = """\
flow = taskflow.Workflow('report')
load = flow.task(lambda: list(range(30)), name='load')
clean = flow.map(lambda x: x + 1, load, name='clean')
flow.task(lambda clean: sum(clean), name='total')
run = flow.run()
run.result()"""
    on_lab.open(written(lab, "graph.ipynb", code(START, flow)))
    on_lab.run(0)
    on_lab.run(1)
    output = on_lab.output(1)
    expect(output).to_have_attribute("data-state", "succeeded")
    on_lab.shot("workflow", output)

    output.get_by_role("button", name="total: call · succeeded").press("Enter")
    rows = output.locator(".tf-rows tbody tr")
    expect(rows).to_have_count(1)
    expect(rows.first).to_contain_text("total")
    output.get_by_role("img", name="clean: 30 squares: 30 succeeded").click(position={"x": 3, "y": 3})
    expect(rows).to_have_count(30)
    expect(rows.first).to_contain_text("clean[0]")


def test_without_our_extension_a_widget_moves_while_the_cell_blocks(on_bare: Driver, bare: Jupyter) -> None:
    on_bare.open(written(bare, "widget.ipynb", code(START, f"{SLOW}\nrun.results()", "run.retry_failed")))
    on_bare.run(0)
    on_bare.run(1, wait=False)
    output = on_bare.output(1)
    expect(output.locator(".tf-head .tf-fact-count")).not_to_have_text("0 of 2,000")
    table = opened(output, "rows")
    expect(table.locator("tbody tr")).to_have_count(50)
    expect(table.locator("tbody tr").first).to_contain_text("✓ succeeded")
    before = done(output)
    on_bare.page.wait_for_function(
        "before => Number(document.querySelector('.tf-fact-count').textContent.split(' ')[0]) > before + 4",
        arg=before,
    )
    assert on_bare.is_running(1)
    on_bare.shot("widget")

    on_bare.interrupt()
    on_bare.until_run(1)
    assert "Interrupted: cancelling" in on_bare.text(1)
    shown = on_bare.cell(1).locator(".taskflow-run")
    expect(shown).to_contain_text("cancelled")
    expect(shown).to_contain_text("done are kept; %taskflow retry")


def test_the_saved_notebook_shows_how_it_ended_without_a_kernel(on_bare: Driver, bare: Jupyter) -> None:
    on_bare.open(written(bare, "saved.ipynb", code(START, THIRDS)))
    on_bare.run(0)
    on_bare.run(1)
    outputs = on_bare.save().cells[1].outputs
    assert sorted(outputs[0]["data"]) == [MIME, "text/html", "text/plain"]
    assert WIDGET not in str(outputs)

    on_bare.page.evaluate("() => jupyterapp.serviceManager.sessions.shutdownAll()")
    on_bare.page.goto(f"{bare.url}lab/tree/saved.ipynb?reset&token={bare.token}")
    shown = on_bare.cell(1).locator(".taskflow-run")
    expect(shown).to_contain_text("60 of 60")
    expect(shown).to_contain_text("20 × ValueError")
    expect(on_bare.page.get_by_text("model not found")).to_have_count(0)


def test_a_second_interrupt_leaves_it_running_and_attach_finds_it_after_a_restart(
    on_lab: Driver, lab: Jupyter
) -> None:
    attach = "%load_ext taskflow\nagain = %taskflow attach\nagain"
    on_lab.open(written(lab, "attach.ipynb", code(START, f"{SLOW}\nrun.results()", attach, "again.cancel()")))
    on_lab.run(0)
    on_lab.run(1, wait=False)
    expect(on_lab.output(1).locator(".tf-fact-count").first).not_to_have_text("0 of 2,000")
    on_lab.interrupt()
    on_lab.page.wait_for_function(
        "() => JSON.stringify(jupyterapp.shell.currentWidget.content.widgets[1].model.outputs.toJSON())"
        ".includes('Once more')"
    )
    on_lab.interrupt()
    on_lab.until_run(1)
    assert "Left running" in on_lab.text(1)
    expect(on_lab.output(1)).to_have_attribute("data-state", "running")

    on_lab.restart()
    on_lab.run(2)
    assert "1 run has not ended, the newest is slow." in on_lab.text(2)
    before = done(on_lab.output(2))
    expect(on_lab.output(2)).to_have_attribute("data-state", "running")
    on_lab.page.wait_for_timeout(10)
    on_lab.page.wait_for_function(
        "before => Number([...document.querySelectorAll('.tf-run')].pop()"
        ".querySelector('.tf-fact-count').textContent.split(' ')[0].replace(',', '')) > before",
        arg=before,
    )
    on_lab.run(3)
    expect(on_lab.output(2)).to_have_attribute("data-state", "cancelled")


def test_debug_answers_with_the_variables_of_the_worker(on_lab: Driver, lab: Jupyter) -> None:
    ratio = "def ratio(x):\n    doubled = 2 * x\n    return 1 / (doubled - 6)\n"
    ratio += "client.map(ratio, [1, 2, 3]).results()"
    on_lab.open(written(lab, "debug.ipynb", code(START, ratio, "%debug")))
    on_lab.run(0)
    on_lab.run(1)
    assert "return 1 / (doubled - 6)" in plain(on_lab.text(1))
    on_lab.run(2, wait=False)
    box = on_lab.cell(2).locator(".jp-Stdin-input")
    box.fill("p doubled, x")
    box.press("Enter")
    expect(on_lab.cell(2).locator(".jp-OutputArea-output").filter(has_text="(6, 3)")).to_be_visible()
    on_lab.shot("debug")
    on_lab.cell(2).locator(".jp-Stdin-input").last.fill("q")
    on_lab.cell(2).locator(".jp-Stdin-input").last.press("Enter")
    on_lab.until_run(2)


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_every_word_can_be_read(on_lab: Driver, lab: Jupyter, dark: bool) -> None:
    on_lab.open(written(lab, f"readable-{dark}.ipynb", code(START, THIRDS)))
    on_lab.theme(dark=dark)
    on_lab.run(0)
    on_lab.run(1)
    output = on_lab.output(1)
    expect(output).to_have_attribute("data-state", "failed")
    expect(opened(output, "rows").locator("tbody tr")).to_have_count(50)
    opened(output, "output")
    on_lab.shot("dark" if dark else "light", output)

    faint: list[str] = output.evaluate(FAINT)
    assert faint == []


def test_hostile_words_stay_words(on_bare: Driver, bare: Jupyter) -> None:
    cell = f"""\
words = {HOSTILE!r}
def hostile(x):
    print(words)
    if x == 1:
        raise ValueError(words)
    return words
run = client.options(label=words).map(hostile, range(2))
run.results('skip')"""
    on_bare.open(written(bare, "hostile.ipynb", code(START, cell, "run", "client")))
    for index in range(4):
        on_bare.run(index)
    expect(on_bare.cell(2).locator(".taskflow-run")).to_contain_text(HOSTILE)
    assert on_bare.page.locator("img[src=x]").count() == 0
    assert "pwned" not in on_bare.page.title()


# ── what these tests need ────────────────────────────────────────────────────────────


@pytest.fixture
def on_bare(drive: object, bare: Jupyter) -> Driver:
    """An empty page of JupyterLab without our extension."""
    return drive(bare)  # type: ignore[operator]


def done(output: Locator) -> int:
    """How many items have ended, as it is drawn."""
    return int((output.locator(".tf-fact-count").first.text_content() or "0").split()[0].replace(",", ""))


def plain(text: str) -> str:
    """Without colours."""
    import re

    return re.sub(r"\x1b\[[0-9;]*m", "", text)


FAINT = (Path(__file__).parent / "faint.js").read_text(encoding="utf-8")
