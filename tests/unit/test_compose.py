"""The example for Docker: what can be said of it without Docker; and with it, when it is there."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from taskflow.links.redis import parse
from taskflow.worker.options import read

ROOT = Path(__file__).parents[2]
OURS = ("beat", "notebook", "web", "worker")


@pytest.fixture(scope="module")
def compose() -> Any:
    return yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))


def test_there_are_a_server_two_workers_a_beat_a_web_application_and_a_notebook(compose: Any) -> None:
    services = compose["services"]

    assert services.keys() == {"redis", *OURS}
    assert services["worker"]["deploy"]["replicas"] == 2


def test_the_server_loses_nothing_and_is_waited_for(compose: Any) -> None:
    server = compose["services"]["redis"]
    words = shlex.split(server["command"])

    assert words[words.index("--appendonly") + 1] == "yes"
    assert words[words.index("--maxmemory-policy") + 1] == "noeviction"
    assert [volume.partition(":")[2] for volume in server["volumes"]] == ["/data"]
    assert server["healthcheck"]["test"] == ["CMD", "redis-cli", "ping"]
    for name in OURS:
        assert compose["services"][name]["depends_on"]["redis"]["condition"] == "service_healthy"


def test_all_of_ours_share_image_url_and_key(compose: Any) -> None:
    worker = compose["services"]["worker"]

    for name in OURS:
        assert compose["services"][name]["image"] == worker["image"]
        assert compose["services"][name]["environment"] == worker["environment"]
    address = parse(worker["environment"]["TASKFLOW_URL"])
    assert address.hosts[0][0] in compose["services"]
    assert re.fullmatch(r"\$\{TASKFLOW_KEY:\?.+\}", worker["environment"]["TASKFLOW_KEY"])


def test_only_web_and_notebook_are_reached_and_only_from_this_machine(compose: Any) -> None:
    published = {
        name: service["ports"] for name, service in compose["services"].items() if "ports" in service
    }

    assert published == {"notebook": ["127.0.0.1:8888:8888"], "web": ["127.0.0.1:5000:5000"]}
    assert all("network_mode" not in service for service in compose["services"].values())


def test_volumes_are_declared(compose: Any) -> None:
    used = {volume.partition(":")[0] for s in compose["services"].values() for volume in s.get("volumes", ())}

    assert used == compose["volumes"].keys()


def test_a_worker_takes_its_command_and_is_given_the_time_to_stop(compose: Any) -> None:
    worker = compose["services"]["worker"]
    words = shlex.split(worker["command"])
    verb = words.index("worker")

    options = read(words[verb + 1 :])

    assert (words[:verb], options.slots) == (["taskflow", "-A", "flask_app.wsgi"], 2)
    assert float(worker["stop_grace_period"].removesuffix("s")) > options.grace


def test_the_image_is_made_of_what_is_here() -> None:
    steps = (ROOT / "Dockerfile").read_text(encoding="utf-8").splitlines()
    allowed = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    copied = [name for step in steps if step.startswith("COPY ") for name in step.split()[1:-1]]

    assert copied
    assert all((ROOT / name).exists() for name in copied)
    assert {f"!{name}" for name in copied} <= set(allowed)
    assert steps[-2:] == ["WORKDIR /home/taskflow", 'CMD ["taskflow", "worker"]']
    assert "USER taskflow" in steps


def test_docker_understands_it() -> None:
    command = _docker_compose()
    if command is None:
        pytest.skip("docker compose is not installed")

    done = subprocess.run(
        [*command, "-f", str(ROOT / "docker-compose.yml"), "config", "--quiet"],
        env=os.environ | {"TASKFLOW_KEY": "a key"},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )

    assert done.returncode == 0, done.stderr


def _docker_compose() -> list[str] | None:
    for command in (["docker", "compose"], ["docker-compose"]):
        if shutil.which(command[0]) is not None:
            found = subprocess.run([*command, "version"], capture_output=True, timeout=100, check=False)
            if found.returncode == 0:
                return command
    return None
