"""Binder would build, and show, what this repository has for it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.binder.rehearsal import dockerfile, python_of_binder, rehearse
from tests.notebooks.stage import ROOT

BINDER = ROOT / "binder"


def test_repo2docker_makes_of_it_what_we_think() -> None:
    steps = dockerfile()

    escaped = python_of_binder().replace(".", "-2e")
    requirements = steps.index('-r "binder/requirements.txt"')
    assert f"environment-2epy-2d{escaped}-2dlinux" in steps
    assert requirements < steps.index("COPY --chown=1000:1000 src/ ") < steps.index("RUN ./binder/postBuild")


def test_its_script_can_be_run_and_stops_at_the_first_error() -> None:
    script = BINDER / "postBuild"

    assert os.access(script, os.X_OK)
    assert subprocess.run(["bash", "-n", script], check=False).returncode == 0
    assert "set -euo pipefail" in script.read_text(encoding="utf-8")


def test_it_names_one_version_of_all_that_the_package_needs_and_can_have() -> None:
    pins = {found.name: found for found in requirements(BINDER / "requirements.txt")}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    needed = [*project["dependencies"], *extras["notebook"], *extras["frames"]]

    for pin in pins.values():
        assert re.fullmatch(r"==[\w.]+", str(pin.specifier)), f"{pin} is no exact version"
    for requirement in map(Requirement, needed):
        if requirement.name == "ipython":  # it comes with the kernel
            continue
        version = str(pins[requirement.name].specifier).removeprefix("==")
        assert requirement.specifier.contains(version), f"{requirement} is not {version}"


def test_the_link_in_the_readme_opens_a_notebook_that_is_there() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")

    found = re.findall(
        r"https://mybinder\.org/v2/gh/\S+?\?urlpath=lab/tree/(notebooks/[\w.-]+\.ipynb)", readme
    )
    assert found
    assert [path for path in found if not (ROOT / path).exists()] == []


if sys.version_info[:2] == (3, 11):  # takes a minute, and has a Python of its own: once is enough

    @pytest.mark.slow
    @pytest.mark.timeout(900)
    def test_its_steps_lead_to_a_notebook_that_runs(tmp_path: Path) -> None:
        assert rehearse(tmp_path) == ""


def requirements(path: Path) -> list[Requirement]:
    lines = (line.partition("#")[0].strip() for line in path.read_text(encoding="utf-8").splitlines())
    return [Requirement(line) for line in lines if line]
