"""Tasks that are defined in cells: workers that run know them, also when they are defined anew."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from IPython.core.interactiveshell import InteractiveShell

import taskflow.client as clients
from taskflow import Client
from tests.notebook.test_magics import new_shell


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InteractiveShell]:
    """A shell whose client has two workers."""
    with pytest.MonkeyPatch.context() as patch:
        store = tmp_path_factory.mktemp("store") / "runs.db"
        patch.setattr(clients, "_default", Client(f"sqlite:///{store}", workers=2))
        shell = new_shell()
        run(shell, "import taskflow\napp = taskflow.Taskflow('cells')\nfactor = 10")
        yield shell
        clients._default.shutdown(wait=False)


def run(shell: InteractiveShell, cell: str) -> object:
    outcome = shell.run_cell(cell)
    outcome.raise_error()
    return outcome.result


def test_a_task_of_a_cell_is_run_by_workers_and_as_it_is_now(shell: InteractiveShell) -> None:
    run(shell, "@app.task\ndef grow(x):\n    return x * factor")

    assert run(shell, "grow.delay(4).get(timeout=60)") == 40

    run(shell, "factor = 100")
    assert run(shell, "grow.delay(4).get(timeout=60)") == 400
    run(shell, "@app.task(bind=True)\ndef grow(self, x):\n    return self.name, x + 1, self.request.retries")
    assert run(shell, "grow.delay(4).get(timeout=60)") == ("cells.grow", 5, 0)
    assert run(shell, "app.tasks['cells.grow'] is grow") is True


def test_classes_and_retries_of_a_cell_work(shell: InteractiveShell) -> None:
    run(
        shell,
        """
class Loud(taskflow.Task):
    def on_retry(self, exc, task_id, args, kwargs, einfo):
        print("again:", exc)

@app.task(base=Loud, bind=True, max_retries=3, default_retry_delay=0)
def shaky(self):
    if self.request.retries < 2:
        raise self.retry(exc=ValueError(str(self.request.retries)))
    return "steady"

result = shaky.delay()
""",
    )

    assert run(shell, "result.get(timeout=60)") == "steady"
    assert run(shell, "result.future.logs") == "again: 0\nagain: 1\n"


def test_canvases_and_maps_of_a_cell_work(shell: InteractiveShell) -> None:
    run(shell, "@app.task\ndef add(x, y=1):\n    return x + y")

    assert run(shell, "(add.s(1) | add.s(2)).delay().get(timeout=60)") == 4
    assert run(shell, "taskflow.group(add.s(i) for i in range(3))().get(timeout=60)") == [1, 2, 3]
    assert run(shell, "list(taskflow.get_client().map(add, [1, 2]))") == [2, 3]
    assert run(shell, "taskflow.get_client().submit(add, 1, y=5).result(60)") == 6
