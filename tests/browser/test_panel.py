"""The panel of JupyterLab, its status-bar item and its notifications."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

from taskflow import Client
from tests.browser.driving import Driver
from tests.browser.work import fails_at_odd, gated
from tests.jupyter_servers import Jupyter

HOSTILE = "<img src=x onerror=\"document.title='pwned'\"><script>document.title='pwned'</script>"


@pytest.fixture(scope="module")
def client(lab: Jupyter) -> Iterator[Client]:
    """Of the store that the server shows."""
    with Client(lab.store_url, workers=2) as client:
        yield client


def test_the_panel_lists_a_run_and_shows_how_it_moves(on_lab: Driver, client: Client, gate: str) -> None:
    on_lab.open_lab()
    panel = on_lab.panel()
    run = client.options(label="previews").map(gated, range(40), [f"{gate}{n // 20}" for n in range(40)])
    item = panel.locator(".tf-Item", has_text="previews")
    expect(item).to_contain_text("0 of 40")
    expect(on_lab.page.locator(".tf-Status-button")).to_have_text("1 run · 0 %")

    Path(f"{gate}0").touch()
    expect(item).to_contain_text("20 of 40")
    expect(on_lab.page.locator(".tf-Status-button")).to_have_text("1 run · 50 %")
    on_lab.shot("panel-list")

    Path(f"{gate}1").touch()
    run.results()
    expect(item).to_have_attribute("data-state", "succeeded")
    expect(on_lab.page.locator(".tf-Status-button")).to_be_hidden()


def test_a_run_is_opened_in_the_panel_and_its_failures_are_retried(
    on_lab: Driver, client: Client, gate: str
) -> None:
    Path(gate).touch()
    run = client.options(label="clean").map(fails_at_odd, range(10), [gate] * 10)
    on_lab.open_lab()
    panel = on_lab.panel()
    item = panel.locator(".tf-Item[data-state=failed]", has_text="clean")
    item.press("Enter")

    detail = panel.locator(".tf-Detail")
    expect(detail).to_contain_text("10 of 10")
    expect(detail.locator(".tf-reasons")).to_contain_text("5 failed, 1 cause")
    on_lab.shot("panel-detail")
    detail.get_by_role("button", name="Retry 5 failed").click()

    expect(detail).to_contain_text("10 of 10")
    expect(detail.locator(".tf-run")).to_have_attribute("data-state", "failed")
    on_lab.page.keyboard.press("Shift+Tab")
    panel.get_by_role("button", name="All runs").click()
    expect(panel.locator(".tf-Item[data-state=failed]", has_text="clean")).to_have_count(2)
    assert len(run.failed) == 5


def test_runs_are_filtered_by_text_and_state(on_lab: Driver, client: Client, gate: str) -> None:
    Path(gate).touch()
    client.options(label="good apples").map(gated, range(3), [gate] * 3).results()
    bad = client.options(label="bad apples").map(fails_at_odd, range(3), [gate] * 3)
    on_lab.open_lab()
    panel = on_lab.panel()
    items = panel.locator(".tf-Item", has_text="apples")
    expect(items).to_have_count(2)

    panel.get_by_role("combobox").select_option("failed")
    expect(items).to_have_count(1)
    expect(items).to_contain_text("bad apples")

    panel.get_by_role("searchbox").fill("good apples")
    expect(panel.locator(".tf-Item")).to_have_count(0)
    expect(panel).to_contain_text("No run is like that.")
    assert bad.failed


def test_workers_are_shown_when_they_are_looked_for(on_lab: Driver, client: Client) -> None:
    client.submit(abs, -1).result()
    on_lab.open_lab()
    panel = on_lab.panel()

    panel.get_by_text("Workers").click()

    row = panel.locator(".tf-Workers tbody tr").first
    expect(row).to_contain_text("of 2")
    on_lab.theme(dark=True)
    on_lab.shot("panel-workers-dark")


def test_the_end_of_a_long_run_is_notified_with_its_result(on_lab: Driver, client: Client, gate: str) -> None:
    on_lab.open_lab()
    run = client.options(label="crunch").map(fails_at_odd, range(6), [gate] * 6)
    on_lab.page.locator(".tf-Status-button").wait_for()
    on_lab.page.wait_for_timeout(5100)  # the run is to be a long one

    Path(gate).touch()

    toast = on_lab.page.locator(".Toastify__toast", has_text="crunch")
    expect(toast).to_contain_text("crunch: 3 of 6, 3 failed")
    on_lab.shot("notification")
    toast.get_by_role("button", name="Show", exact=True).click()
    expect(on_lab.page.locator("#taskflow-runs .tf-Detail")).to_contain_text("6 of 6")
    assert run.failed


def test_hostile_names_and_errors_stay_text(on_lab: Driver, client: Client, gate: str) -> None:
    run = client.options(label=HOSTILE).map(fails_at_odd, range(4), [gate] * 4, [HOSTILE] * 4)
    on_lab.open_lab()
    panel = on_lab.panel()
    expect(panel.locator(".tf-Item", has_text="<script>").first).to_be_visible()
    on_lab.page.wait_for_timeout(5100)  # long enough to be notified of
    Path(gate).touch()

    expect(on_lab.page.locator(".Toastify__toast").first).to_contain_text("<img src=x")
    panel.locator(".tf-Item", has_text="<script>").first.click()
    panel.locator(".tf-reason summary").click()
    expect(panel.locator(".tf-reason pre")).to_contain_text("<script>")

    on_lab.shot("hostile")
    assert on_lab.page.locator("img[src=x], .tf-Panel script").count() == 0
    assert "pwned" not in on_lab.page.title()
    assert run.failed
