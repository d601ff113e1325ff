"""The build of JupyterLab's extension, a hook of the package's build: made where node is, shipped when made.

``TASKFLOW_LABEXT`` says how much it matters:

- ``auto`` (default): built when its assets are absent or older than its source, and node and npm can do it;
  else the package is installed without the panel, and a warning says so. Wheels and sdists hold the assets:
  who installs those needs no node.
- ``require``: as above, but without the assets there is no package. For releases and CI.
- ``skip``: never built; shipped when it is there.

``python hatch_build.py`` builds the assets alone, when they are out of date (`make lab`).
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

try:
    from hatchling.builders.hooks.plugin.interface import BuildHookInterface
except ImportError:  # run as a script, which builds the assets only
    BuildHookInterface = object

EXTENSION = "jupyter_ext"
INSTALLED_AS = "share/jupyter/labextensions/taskflow-lab"
DRAWING = "taskflow/observe/static"
BUILDER = "jupyter-builder>=1.2,<2"
NODES = ((20, 19), (22, 12))
"""What the bundler of `@jupyter/builder` needs: of a major release this or later; or a later major one."""

MODES = ("auto", "require", "skip")


class CannotBuild(Exception):
    """What the build needs is not here, or it failed."""


class CustomBuildHook(BuildHookInterface):
    """Sees to the assets before the files of a wheel or an sdist are gathered."""

    def dependencies(self) -> list[str]:
        """Only a build that will bundle needs the bundler's Python side."""
        root = Path(self.root)
        return [BUILDER] if mode() != "skip" and is_stale(root) and not why_not() else []

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build what is stale, and let a wheel ship what is built."""
        root, how = Path(self.root), mode()
        if how != "skip" and is_stale(root):
            try:
                build(root)
            except CannotBuild as error:
                if how == "require":
                    raise
                self.app.display_warning(
                    f"The JupyterLab panel is not built: {error} The package is installed without it;"
                    " all else works."
                )
        if how == "require" and not is_built(root):
            raise CannotBuild("TASKFLOW_LABEXT=require, but jupyter_ext/labextension is not there.")
        if self.target_name == "wheel" and is_built(root):
            for name in ("labextension", "install.json"):
                place = INSTALLED_AS if name == "labextension" else f"{INSTALLED_AS}/{name}"
                build_data["shared_data"][str(root / EXTENSION / name)] = place


def mode() -> str:
    """How much the assets matter."""
    word = os.environ.get("TASKFLOW_LABEXT", "") or "auto"
    if word not in MODES:
        raise CannotBuild(f"TASKFLOW_LABEXT={word!r}: it is one of {', '.join(MODES)}.")
    return word


def is_built(root: Path) -> bool:
    """Whether the assets are there."""
    made = root / EXTENSION / "labextension"
    return (made / "package.json").is_file() and any((made / "static").glob("remoteEntry.*.js"))


def is_stale(root: Path) -> bool:
    """Whether the assets are absent or older than what they are made of; those of an sdist never are."""
    if not is_built(root):
        return True
    if not (root / ".git").exists():
        return False
    made_at = (root / EXTENSION / "labextension" / "package.json").stat().st_mtime
    return any(path.stat().st_mtime > made_at for path in _sources(root))


def why_not() -> str:
    """Why this machine cannot build the assets; empty when it can."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        return f"{'node' if node is None else 'npm'} was not found."
    said = subprocess.run([node, "--version"], capture_output=True, text=True, check=False).stdout
    found = tuple(int(number) for number in re.findall(r"\d+", said)[:2])
    if found >= NODES[-1] or any(found[:1] == node[:1] and found >= node for node in NODES):
        return ""
    return f"node {said.strip() or 'of an unknown version'} is too old: 20.19, or 22.12 or later, is needed."


def build(root: Path) -> None:
    """Make the assets.

    Raises:
        CannotBuild: Node is not here or too old, or a step of the build failed.
    """
    if reason := why_not():
        raise CannotBuild(reason)
    place = root / EXTENSION
    # An isolated build, and `make lab`, have jupyter-builder beside their own Python.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    if not _is_installed(place):
        _npm(place, path, "ci", "--ignore-scripts", "--no-audit", "--no-fund")
    _npm(place, path, "run", "--silent", "build")
    if not is_built(root):
        raise CannotBuild("the bundler said nothing and made nothing.")


def _sources(root: Path) -> Iterator[Path]:
    place = root / EXTENSION
    yield from (place / "package.json", place / "package-lock.json", place / "tsconfig.json")
    for folder in (place / "src", place / "style", place / "schema", root / DRAWING):
        yield from (path for path in folder.rglob("*") if path.is_file())


def _is_installed(place: Path) -> bool:
    stamp, lock = place / "node_modules" / ".package-lock.json", place / "package-lock.json"
    return stamp.is_file() and stamp.stat().st_mtime >= lock.stat().st_mtime


def _npm(place: Path, path: str, *arguments: str) -> None:
    npm = shutil.which("npm")
    done = subprocess.run(
        [str(npm), *arguments],
        cwd=place,
        env=os.environ | {"PATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        raise CannotBuild(f"npm {arguments[0]} failed:\n{done.stdout[-4000:]}")


if __name__ == "__main__":
    here = Path(__file__).parent
    try:
        if is_stale(here):
            build(here)
    except CannotBuild as failed:
        sys.exit(f"The JupyterLab panel is not built: {failed}")
