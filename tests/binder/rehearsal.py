"""What Binder will do with ``binder/``, without Docker: ``make binder``.

repo2docker tells its Dockerfile, which is read; then its steps are gone in a clean clone and an environment
of its own, and a notebook is run there. What cannot be seen here: Python as conda builds it, the limit of
memory (1 to 2 GB), and a network without a way out.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.notebooks.stage import ROOT, environment

__all__ = ["dockerfile", "python_of_binder", "rehearse"]

USER = ("--user-id", "1000", "--user-name", "jovyan")
BASE = ("jupyterlab==4.*", "notebook==7.*", "ipywidgets==8.*")
"""What repo2docker's own environment has, of what we use."""


def dockerfile(repository: Path = ROOT) -> str:
    """The Dockerfile that repo2docker makes of a repository; nothing is built."""
    command = [
        Path(sys.executable).with_name("jupyter-repo2docker"),
        "--no-build",
        "--debug",
        *USER,
        repository,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout + done.stderr


def python_of_binder() -> str:
    """The version that ``runtime.txt`` names, such as ``3.12``."""
    named = re.fullmatch(r"python-(\d+\.\d+)\s*", (ROOT / "binder/runtime.txt").read_text(encoding="utf-8"))
    assert named is not None, "binder/runtime.txt names no Python"
    return named[1]


def rehearse(folder: Path, notebook: str = "notebooks/01-quickstart.ipynb") -> str:
    """Go the steps of the Dockerfile in an empty folder, and run a notebook there.

    Clone, environment, requirements, postBuild: what is not committed is not there, as on Binder.

    Returns:
        What `git status` finds afterwards: nothing, for whoever opens it should see a clean tree.

    Raises:
        CalledProcessError: A step failed.
    """
    clone, env = folder / "clone", folder / "env"
    _run(["git", "-c", "safe.directory=*", "clone", "-q", ROOT, clone], folder)
    _run([_interpreter(), "-m", "venv", env], folder)
    where = environment(folder / "home")
    where |= {"PATH": f"{env / 'bin'}{os.pathsep}{where['PATH']}", "NB_USER": "jovyan", "TMPDIR": str(folder)}
    where.pop("VIRTUAL_ENV", None)

    install = ["python", "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    _run([*install, *BASE], clone, where)
    _run([*install, "-r", "binder/requirements.txt"], clone, where)
    _run(["binder/postBuild"], clone, where)
    _run(["python", "-m", "pytest", "-q", "--nbval-lax", "--nbval-current-env", notebook], clone, where)
    return _run(["git", "status", "--short"], clone, where).strip()


def _interpreter() -> str:
    """Python of Binder's version; the one that runs this, where that is not installed."""
    version = python_of_binder()
    found = shutil.which(f"python{version}")
    if (
        found
        and subprocess.run([found, "-c", "import venv"], check=False, capture_output=True).returncode == 0
    ):
        return found
    print(f"Python {version} is not here; the rehearsal is with {sys.version.split()[0]}", file=sys.stderr)
    return sys.executable


def _run(command: list[str | Path], folder: Path, env: dict[str, str] | None = None) -> str:
    print("·", *command, file=sys.stderr, flush=True)
    path = (env or os.environ)["PATH"]
    program = command[0] if "/" in str(command[0]) else shutil.which(command[0], path=path) or command[0]
    try:
        return subprocess.run(
            [program, *command[1:]], cwd=folder, env=env, check=True, stdout=subprocess.PIPE, text=True,
            stderr=subprocess.STDOUT,
        ).stdout  # fmt: skip
    except subprocess.CalledProcessError as error:
        print(error.stdout, file=sys.stderr)
        raise


if __name__ == "__main__":
    print(f"Dockerfile: {dockerfile().count(chr(10))} lines")
    with tempfile.TemporaryDirectory(prefix="tf-binder-") as there:
        left = rehearse(Path(there))
    sys.exit(f"The tree is not clean:\n{left}" if left else 0)
