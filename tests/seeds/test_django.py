"""Django: A13 to A16 of the seeds in a project, and the project in ``examples/``."""

from __future__ import annotations

import ast
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.seeds.stage import Browser, Folder, renamed, sample
from tests.servers import free_port, until

pytest.importorskip("django", reason="Django is not installed: pip install -e '.[test]'")

EXAMPLE = Path(__file__).parents[2] / "examples" / "django_project"
WORKER = "taskflow -A myproject worker --loglevel=info"
OF_THE_SEED = {
    "myproject/celery.py": "A13-celery.py",
    "myproject/__init__.py": "A14-init.py",
    "myapp/tasks.py": "A16-tasks.py",
}


@pytest.fixture
def project(folder: Folder) -> Folder:
    """A copy of the example, with a database and a folder for mails."""
    left = shutil.ignore_patterns("__pycache__", "db.sqlite3")
    shutil.copytree(EXAMPLE, folder.path, dirs_exist_ok=True, ignore=left)
    told = {"CELERY_BROKER_URL": folder.server.url, "EMAIL_FILE_PATH": str(folder.path / "mails")}
    folder.environment |= told
    folder.run("python", "manage.py", "migrate")
    return folder


def mails(project: Folder) -> list[str]:
    """What was sent. A file may have several: it is named by the second and the address of an object."""
    texts = [file.read_text() for file in project.path.glob("mails/*")]
    return sorted(mail for text in texts for mail in text.split("-" * 79 + "\n") if mail)


# ── the seed's files ─────────────────────────────────────────────────────────────────


@pytest.fixture
def of_the_seed(project: Folder) -> Folder:
    """The same with the files of the seed in place of those of the example."""
    for file, name in OF_THE_SEED.items():
        project.put(file, sample(name))
    settings = project.path / "myproject" / "settings.py"
    own = "\n".join(line for line in settings.read_text().splitlines() if not line.startswith("CELERY_"))
    project.put("myproject/settings.py", own, sample("A15-settings.py"))
    del project.environment["CELERY_BROKER_URL"]
    return project


SEND = """
import django
django.setup()
from myapp.models import User
from myapp.tasks import send_notification
from myproject import celery_app
from myproject.celery import debug_task
user = User.objects.create(email="ada@example.org")
print(send_notification.delay(user.id, "Hello, Ada").get(timeout=30))
result = debug_task.delay()
print(result.get(timeout=30), celery_app.conf.timezone, result.id)
"""


def test_a13_to_a16_the_files_of_the_seed_run(of_the_seed: Folder) -> None:
    of_the_seed.environment["DJANGO_SETTINGS_MODULE"] = "myproject.settings"

    with of_the_seed.started(WORKER) as worker:
        sent, rest = of_the_seed.python("-c", SEND)
        none, zone, task = rest.split()
        told = of_the_seed.logs(task)
        worker.says("2 tasks")  # debug_task, and what was discovered: send_notification

    assert (sent, none, zone) == ("Sent to ada@example.org", "None", "Asia/Tokyo")
    assert [mail.rpartition("\n\n")[2].strip(" -\n") for mail in mails(of_the_seed)] == ["Hello, Ada"]
    assert f"Request: <Request {task} of myproject.celery.debug_task: args=() kwargs={{}}" in told


@pytest.mark.parametrize(("file", "name"), OF_THE_SEED.items())
def test_the_example_is_the_seed(file: str, name: str) -> None:
    assert _code((EXAMPLE / file).read_text()) == _code(renamed(sample(name)))


def _code(text: str) -> set[str]:
    """The statements of a module, without texts that explain them."""
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.FunctionDef)) and ast.get_docstring(node) is not None:
            del node.body[0]
    return {ast.unparse(node) for node in tree.body}


# ── the example ──────────────────────────────────────────────────────────────────────


@contextmanager
def served(project: Folder) -> Iterator[Browser]:
    """The project on a port."""
    port = free_port()
    command = f"python manage.py runserver --noreload 127.0.0.1:{port}"
    with project.started(command, code=-signal.SIGTERM) as server:
        browser = Browser(f"http://127.0.0.1:{port}")
        until(lambda: browser.ask("/notifications/none/"))
        yield browser
        assert "Traceback" not in server.said


def test_the_example_sends_mails_from_requests(project: Folder) -> None:
    with project.started(WORKER), served(project) as browser:
        status, made = browser.ask("/users/", email="ada@example.org")
        assert status == 201
        until(lambda: len(mails(project)) == 1)

        status, sent = browser.ask("/notifications/", user=str(made["id"]), message="Hello, Ada")
        assert status == 202
        page = f"/notifications/{sent['task_id']}/"
        until(lambda: browser.ask(page)[1]["state"] == "SUCCESS")
        assert browser.ask(page) == (200, {"state": "SUCCESS", "result": "Sent to ada@example.org"})

    assert [("Welcome!" in mail, "Hello, Ada" in mail) for mail in mails(project)].count((True, False)) == 1
    assert len(mails(project)) == 2


def test_the_example_needs_neither_server_nor_workers(project: Folder) -> None:
    del project.environment["CELERY_BROKER_URL"]
    project.environment["TASKFLOW_URL"] = str(project.path / "runs.db")

    with served(project) as browser:
        assert browser.ask("/users/", email="ada@example.org")[0] == 201
        until(lambda: len(mails(project)) == 1)


HERE = """
import django
django.setup()
from django.core import mail
from myapp.models import User
from myapp.tasks import send_notification
from myproject import celery_app
celery_app.conf.task_always_eager = True
user = User.objects.create(email="ada@example.org")
print(send_notification.delay(user.id, "Hello").get())
print(mail.outbox[0].to, mail.outbox[0].body)
"""


def test_eager_tasks_leave_their_mails_in_memory(project: Folder) -> None:
    del project.environment["EMAIL_FILE_PATH"]
    project.environment["DJANGO_SETTINGS_MODULE"] = "myproject.settings"

    lines = project.python("-c", HERE)

    assert lines == ["Sent to ada@example.org", "['ada@example.org'] Hello"]


def test_nothing_is_sent_for_what_is_rolled_back(project: Folder) -> None:
    with served(project) as browser:
        status, _ = browser.ask("/users/", email="ada@example.org", refused="yes")

    assert status == 409
    assert project.run("taskflow", "-A", "myproject", "runs", "--json").split() == ["[]"]
