"""Services together: A21 of the seeds, as it is printed, and our own docker-compose.yml without Docker."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.seeds.stage import Browser, Folder, sample
from tests.servers import free_port, until

ROOT = Path(__file__).parents[2]
IN_DOCKER = "redis://redis:6379/0"

# What its services run is not in the seed: the application of A2, and that of A17 with a server to start.
APP = """
import os
from flask import Flask
from tasks import add

app = Flask(__name__)

@app.route("/process", methods=["POST"])
def process():
    return {"task_id": add.delay(4, 6).id}, 202

if __name__ == "__main__":
    app.run(port=int(os.environ["PORT"]))
"""
TASKS = "from celery_app import app\n\n@app.task\ndef add(x, y):\n    return x + y\n"


def moved(service: Any, server: str) -> dict[str, str]:
    """The environment of a service, for a server that is here."""
    return {name: str(text).replace(IN_DOCKER, server) for name, text in service["environment"].items()}


def test_a21_web_worker_and_beat_of_the_seed_work_together(folder: Folder) -> None:
    pytest.importorskip("flask")
    services = yaml.safe_load(sample("A21-docker-compose.yml"))["services"]
    web, worker, beat = (services[name] for name in ("web", "celery_worker", "celery_beat"))
    port = free_port()
    # The program says localhost, where nobody is: the environment of a service is the stronger of the two.
    (folder.path / "celery_app.py").write_text(sample("A02-celery_app.py"))
    folder.put("tasks.py", TASKS)
    folder.put("app.py", APP)
    folder.environment |= {**moved(web, folder.server.url), "PORT": str(port)}

    with (
        folder.started(worker["command"]),
        folder.started(beat["command"]),
        folder.started(web["command"], code=-signal.SIGTERM),
    ):
        browser = Browser(f"http://127.0.0.1:{port}")
        until(lambda: browser.status("/") == 404)
        status, said = browser.post("/process", {})
        script = f"from tasks import app; print(app.AsyncResult('{said['task_id']}').get(timeout=30))"
        assert (status, folder.python("-c", script)) == (202, ["10"])


def test_ours_work_together_with_a_notebook(folder: Folder) -> None:
    pytest.importorskip("flask")
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))["services"]
    port = free_port()
    told = moved(services["web"], folder.server.url)
    del told["TASKFLOW_KEY"]  # here it is a file
    folder.environment |= {**told, "FLASK_SECONDS": "0"}
    folder.add_to_path(ROOT / "examples")
    web = services["web"]["command"].replace("5000", str(port)).replace("0.0.0.0", "127.0.0.1")

    with (
        folder.started(services["worker"]["command"]),
        folder.started(services["beat"]["command"]),
        folder.started(web, code=-signal.SIGTERM),
    ):
        browser = Browser(f"http://127.0.0.1:{port}")
        until(lambda: browser.status("/") == 404)
        processed(browser)

        in_notebook = (
            "import taskflow\n"
            "from flask_app.tasks import process_data\n"
            "client = taskflow.Client()\n"
            "print(client.submit(lambda: 6 * 7).result(30))\n"
            "client.schedules.add('often', process_data, 0.3, args=([1],))\n"
        )
        assert folder.python("-c", in_notebook) == ["42"]
        until(lambda: "succeeded" in folder.run("taskflow", "runs", "--json", "--tag", "schedule=often"))
        processed(browser)


def processed(browser: Browser) -> None:
    """Have three items processed."""
    _, said = browser.post("/process", {"data": [1, 2, 3]})
    until(lambda: browser.ask(f"/result/{said['task_id']}")[1]["result"] == "Processed 3 items")
