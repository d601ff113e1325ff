"""Tasks: A2, A3, A4, A22 and A23 of the seeds; B1 and B2, the quick start."""

from __future__ import annotations

import json
import shlex

from tests.seeds.stage import Folder, Site, as_printed, commands, renamed, sample
from tests.servers import until

WORKER = commands("A05-A09-workers.sh")[0]
APP = "from celery_app import app\n"


def test_a2_the_settings_are_those_of_the_calls(folder: Folder) -> None:
    folder.put("celery_app.py", sample("A02-celery_app.py"))
    folder.put("tasks.py", APP, "@app.task(bind=True)\ndef limits(self):\n    return self.request.timelimit")

    with folder.started(WORKER):
        lines = folder.python(
            "-c",
            "from tasks import app, limits\n"
            "conf = app.conf\n"
            "print(conf.timezone, conf['task_serializer'], *conf.accept_content, conf.result_serializer)\n"
            "print(conf.enable_utc, conf.task_track_started)\n"
            "print(conf.task_time_limit, conf.task_soft_time_limit)\n"
            "print(limits.delay().get(timeout=30))\n",
        )

    assert lines == ["Asia/Tokyo json json json", "True True", "1800.0 1500.0", "(1800.0, 1500.0)"]


# Seconds are a thousandth of what they were: 0.06, 0.12, 0.24.
A03 = {"countdown=60 *": "countdown=0.06 *"}


def test_a3_the_tasks_do_what_they_say(folder: Folder) -> None:
    folder.put("celery_app.py", sample("A02-celery_app.py"))
    folder.put("tasks.py", sample("A03-tasks.py", A03))

    with Site({"/late": 2, "/never": 99}) as site, folder.started(WORKER):
        lines = folder.python(
            "-c",
            "import requests, sys\n"
            "from tasks import add, fetch_url, long_task, send_email\n"
            "print(add(2, 3), add.name, add.__doc__, add.delay(4, 6).get(timeout=30))\n"
            "print(send_email.delay('a@example.org', 'Hi', 'Hello').get(timeout=30))\n"
            "print(long_task.delay(1).get(timeout=30))\n"
            "late = fetch_url.delay(sys.argv[1] + '/late')\n"
            "print(late.get(timeout=30), late.retries)\n"
            "never = fetch_url.delay(sys.argv[1] + '/never')\n"
            "try:\n"
            "    never.get(timeout=30)\n"
            "except requests.HTTPError as error:\n"
            "    print(never.state, error.args[0][:3], never.retries)\n",
            site.url,
        )

    assert lines == [
        "5 tasks.add A simple task 10",
        "Email sent to a@example.org",
        "{'current': 1, 'total': 1, 'status': 'Complete!'}",
        "a page 2",
        "FAILURE 503 3",
    ]
    assert site.asked == ["/late"] * 3 + ["/never"] * 4


def test_a3_a_retry_survives_its_worker(folder: Folder) -> None:
    folder.put("celery_app.py", sample("A02-celery_app.py"))
    folder.put("tasks.py", sample("A03-tasks.py", {"countdown=60 *": "countdown=1 *"}))

    with Site({"/late": 1}) as site:
        with folder.started(WORKER):
            (task,) = folder.python(
                "-c", f"from tasks import fetch_url; print(fetch_url.delay('{site.url}/late').id)"
            )
            until(lambda: site.asked)
        with folder.started(WORKER):
            lines = folder.python(
                "-c", f"from tasks import app; print(app.AsyncResult('{task}').get(timeout=30))"
            )

    assert lines == ["a page"]
    assert site.asked == ["/late"] * 2


# It uses time, and imports it not; what has failed is ready too, so that `failed` would never be asked.
A04 = {
    "from tasks import": "import time\nfrom tasks import",
    "if result.ready():": "if result.successful():",
}
SHORTER = {"long_task.delay(100)": "long_task.delay(4)"}


def test_a4_the_script_prints_what_happens(folder: Folder) -> None:
    folder.put("celery_app.py", sample("A02-celery_app.py"))
    folder.put("tasks.py", sample("A03-tasks.py"))
    folder.put("main.py", sample("A04-main.py", A04 | SHORTER))

    with folder.started(WORKER):
        first, *lines = folder.python("main.py")

    assert first.startswith("Task ID: ")
    assert lines[:3] == ["Result: 10", "Task completed", "Result: 10"]
    progress = [line for line in lines if line.startswith("Progress: ")]
    assert len(progress) >= 2
    assert progress == sorted(progress)
    # 4/4 is the result: the task may end between the question for its state and that for its progress.
    told = progress[:-1] if progress[-1] == "Progress: 4/4" else progress
    assert set(told) <= {f"Progress: {i}/4" for i in range(4)}
    assert lines[3 + len(progress) :] == [str(2 * i) for i in range(10)]


FAILING = {
    "result = add.delay(4, 6)": "result = add.delay(4, None)",
    'print(f"Result: {result.get(timeout=10)}")': "result.get(timeout=10, propagate=False)",
    "long_task.delay(100)": "long_task.delay(0)",
}


def test_a4_the_script_tells_of_what_failed(folder: Folder) -> None:
    folder.put("celery_app.py", sample("A02-celery_app.py"))
    folder.put("tasks.py", sample("A03-tasks.py"))
    folder.put("main.py", sample("A04-main.py", A04 | FAILING))

    with folder.started(WORKER):
        said = folder.run("python", "main.py")

    assert "Task failed\nError: Traceback" in said
    assert "TypeError: unsupported operand" in said


ORDERS = """
import json
from pathlib import Path

FILE = Path(__file__).with_name("orders.json")


class Order:
    @staticmethod
    def get(id):
        order = Order()
        order.id, (order.status, order.saved) = id, json.loads(FILE.read_text())
        return order

    def save(self):
        FILE.write_text(json.dumps([self.status, self.saved + 1]))


Order.objects = Order
"""


def test_a22_an_order_is_processed_once(folder: Folder) -> None:
    folder.put("celery_app.py", sample("A02-celery_app.py"))
    folder.put("orders.py", ORDERS)
    folder.put("orders.json", json.dumps(["new", 0]))
    folder.put("tasks.py", APP, "from orders import Order", sample("A22-order.py"))

    with folder.started(WORKER):
        lines = folder.python(
            "-c",
            "from tasks import process_order\n"
            "print(process_order.delay(7).get(timeout=30))\n"
            "print(process_order.delay(7).get(timeout=30))\n",
        )

    assert lines == ["None", "Already processed"]
    assert json.loads((folder.path / "orders.json").read_text()) == ["processed", 1]


def test_a23_the_limits_are_those_of_the_task(folder: Folder) -> None:
    folder.put("celery_app.py", sample("A02-celery_app.py"))
    folder.put("tasks.py", APP, sample("A23-limits.py"))

    lines = folder.python(
        "-c",
        "from tasks import long_running_task as task\n"
        "print(task.options['time_limit'], task.options['soft_time_limit'])\n"
        "print(task.max_retries, task.default_retry_delay)",
    )

    assert lines == ["300 240", "3 60"]


# It takes longer than it may, and the limits are shorter.
A23 = {
    "    time_limit=300": "    time_limit=1.5",
    "soft_time_limit=240": "soft_time_limit=0.5",
    "    pass": """
    try:
        time.sleep(60)
    except SoftTimeLimitExceeded:
        print("warned")
        time.sleep(60)
""",
}


def test_a23_a_task_is_warned_then_killed_and_its_worker_goes_on(folder: Folder) -> None:
    folder.put("celery_app.py", sample("A02-celery_app.py"))
    imports = "import time\nfrom taskflow.exceptions import SoftTimeLimitExceeded"
    folder.put("tasks.py", APP, imports, sample("A23-limits.py", A23), "add = app.task(pow, name='pow')")

    with folder.started(WORKER + " --concurrency=1"):
        lines = folder.python(
            "-c",
            "from tasks import add, long_running_task\n"
            "result = long_running_task.delay()\n"
            "print(repr(result.get(timeout=30, propagate=False)).partition('(')[0], result.state)\n"
            "print(add.delay(2, 3).get(timeout=10), result.id)\n",
        )
        *said, last = lines
        eight, task = last.split()
        logs = folder.logs(task)

    assert said == ["TaskTimedOut FAILURE"]
    assert eight == "8"
    assert "warned" in logs


def test_b2_the_quick_start_prints_8(folder: Folder) -> None:
    config = renamed(as_printed("B1-quick-start.sh")).partition("# celeryconfig.py\n")[2]
    folder.put("celeryconfig.py", config)
    folder.put("tasks.py", sample("B2-tasks.py"))
    worker, call = (
        line.partition(": ")[2] for line in sample("B2-tasks.py").splitlines() if line.startswith("# a ")
    )

    with folder.started(worker):
        assert folder.shell(call) == "8\n"
    assert shlex.split(worker) == ["taskflow", "-A", "tasks", "worker", "--loglevel=info"]
