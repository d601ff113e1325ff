"""What is in a wheel and in an sdist, and that who installs them needs no node."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PANEL = "share/jupyter/labextensions/taskflow-lab"
SERVER = "etc/jupyter/jupyter_server_config.d/jupyter_taskflow.json"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def built(source: Path, out: Path, environment: Mapping[str, str], *options: str) -> str:
    """Build what the options say, where no node is to be found; what was said."""
    done = subprocess.run(
        [sys.executable, "-m", "build", *options, "--outdir", str(out), str(source)],
        env=os.environ | {"PATH": str(Path(sys.executable).parent)} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def tracked(place: Path) -> Path:
    """A copy of what git knows of: what `pip install git+…` has."""
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    for name in filter(None, names.stdout.split("\0")):
        if (ROOT / name).is_file():
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            (place / name).write_bytes((ROOT / name).read_bytes())
    return place


def data_of(wheel: Path) -> set[str]:
    """The files of a wheel that are put beside the packages."""
    with zipfile.ZipFile(wheel) as archive:
        return {name.partition(".data/data/")[2] for name in archive.namelist() if ".data/data/" in name}


def test_an_sdist_and_a_wheel_made_of_it_have_the_panel_without_node(tmp_path: Path) -> None:
    if not (ROOT / "jupyter_ext" / "labextension" / "package.json").is_file():
        pytest.skip("the lab extension is not built: make lab")

    built(ROOT, tmp_path, {"TASKFLOW_LABEXT": "require"})

    with tarfile.open(next(tmp_path.glob("*.tar.gz"))) as archive:
        source = {name.partition("/")[2] for name in archive.getnames()}
    assert {
        "hatch_build.py",
        "jupyter_ext/package-lock.json",
        "jupyter_ext/labextension/package.json",
    } <= source
    assert not [name for name in source if "node_modules" in name or name.startswith("jupyter_ext/lib/")]
    wheel = next(tmp_path.glob("*.whl"))
    data = data_of(wheel)
    assert {
        f"{PANEL}/package.json",
        f"{PANEL}/install.json",
        f"{PANEL}/schemas/taskflow-lab/plugin.json",
    } <= data
    assert any(name.startswith(f"{PANEL}/static/remoteEntry.") for name in data)
    assert SERVER in data
    assert "enabled OK" in listed(wheel, tmp_path / "installed")


def listed(wheel: Path, prefix: Path) -> str:
    """What JupyterLab says of the extension when the wheel is installed there."""
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--ignore-installed"]
    subprocess.run([*install, "--prefix", str(prefix), str(wheel)], check=True)
    done = subprocess.run(
        [sys.executable, "-m", "jupyter", "labextension", "list"],
        env=os.environ | {"JUPYTER_PATH": str(prefix / "share" / "jupyter")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    place = str(prefix / "share" / "jupyter" / "labextensions")
    lines = re.sub(r"\x1b\[\d*m", "", done.stdout).partition(place)[2].splitlines()
    return next((line for line in lines if "taskflow-lab" in line), "")


def test_from_git_without_node_all_but_the_panel_is_installed_and_a_warning_says_so(tmp_path: Path) -> None:
    said = built(tracked(tmp_path / "clone"), tmp_path, {"TASKFLOW_LABEXT": "auto"}, "--wheel")

    data = data_of(next(tmp_path.glob("*.whl")))
    assert SERVER in data
    assert not [name for name in data if name.startswith(PANEL)]
    assert "The JupyterLab panel is not built: node was not found." in said


def test_a_release_without_the_panel_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="node was not found"):
        built(tracked(tmp_path / "clone"), tmp_path, {"TASKFLOW_LABEXT": "require"}, "--wheel")


def test_the_lock_file_names_no_host_to_fetch_from() -> None:
    text = (ROOT / "jupyter_ext" / "package-lock.json").read_text(encoding="utf-8")

    assert '"resolved"' not in text
    assert text.count('"integrity"') > 100
