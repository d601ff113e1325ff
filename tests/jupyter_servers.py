"""Jupyter servers for tests: processes with homes of their own, and without the settings of this machine."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.servers import free_port, until

__all__ = ["Jupyter", "jupyter"]

ROOT = Path(__file__).parents[1]
EXTENSIONS = {"server": ["taskflow"], "lab": ["taskflow", "notebook", "jupyter_lsp"]}
QUIET = {"fetchNews": "false", "checkForUpdates": False}
"""Settings of a JupyterLab that asks nobody for news."""


@dataclass(frozen=True)
class Jupyter:
    """A server that runs. `url` ends with its base URL; in `home` is all that it and its kernels keep."""

    url: str
    token: str
    home: Path
    folder: Path
    log: Path

    @property
    def state(self) -> Path:
        """What XDG_STATE_HOME is there: where the embedded store is."""
        return self.home / "state"

    @property
    def store_url(self) -> str:
        """The embedded store of its kernels."""
        from taskflow.stores import embedded_urls

        before = os.environ["XDG_STATE_HOME"]
        os.environ["XDG_STATE_HOME"] = str(self.state)
        try:
            return embedded_urls()[0]
        finally:
            os.environ["XDG_STATE_HOME"] = before

    def ask(
        self, path: str, body: Any = None, *, method: str = "", headers: Mapping[str, str] | None = None
    ) -> tuple[int, Any]:
        """The status and the JSON of an answer, asked for with the token unless headers are given."""
        request = urllib.request.Request(
            self.url + path,
            data=None if body is None else json.dumps(body).encode(),
            headers=dict({"Authorization": f"token {self.token}"} if headers is None else headers),
            method=method or ("GET" if body is None else "POST"),
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, json.loads(answer.read() or b"null")
        except urllib.error.HTTPError as error:
            with error:
                text = error.read()
            with contextlib.suppress(ValueError):
                return error.code, json.loads(text)
            return error.code, text.decode(errors="replace")


@contextlib.contextmanager
def jupyter(
    home: Path,
    *options: str,
    app: str = "server",
    base_url: str = "/",
    environment: Mapping[str, str] | None = None,
    extension: Path | None = None,
) -> Iterator[Jupyter]:
    """A Jupyter server while the block lasts.

    Args:
        home: An empty folder for all that it keeps; ``work`` in it is what it serves.
        options: Of its command line.
        app: ``server``, or ``lab`` for JupyterLab and Notebook 7.
        base_url: As on hubs: ``/user/jovyan/``.
        environment: Added to what it is given.
        extension: The built lab extension.
    """
    folder, token, port = home / "work", secrets.token_hex(12), free_port()
    for made in (folder, home / "run", home / "state"):
        made.mkdir(mode=0o700, parents=True, exist_ok=True)
    _arrange(home, extension)
    command = [
        sys.executable, "-m", "jupyter", app, "--no-browser", "--allow-root", "--ServerApp.ip=127.0.0.1",
        f"--ServerApp.port={port}", "--ServerApp.port_retries=0", f"--ServerApp.base_url={base_url}",
        f"--IdentityProvider.token={token}", f"--ServerApp.root_dir={folder}",
        f"--ServerApp.jpserver_extensions={dict.fromkeys(EXTENSIONS[app], True)}", *options,
    ]  # fmt: skip
    log = home / "server.log"
    with log.open("wb") as said:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=_environment(home) | dict(environment or {}),
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    server = Jupyter(f"http://127.0.0.1:{port}{base_url}", token, home, folder, log)
    try:
        until(lambda: _answers(server, process), 60)
        yield server
    finally:
        _stop(process)


def _answers(server: Jupyter, process: subprocess.Popen[bytes]) -> bool:
    if process.poll() is not None:
        raise RuntimeError(f"the server has ended:\n{server.log.read_text(errors='replace')[-3000:]}")
    return server.ask("api/status")[0] == 200


def _stop(process: subprocess.Popen[bytes]) -> None:
    """The server, and the kernels it has started, which are in its process group or end with it."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _environment(home: Path) -> dict[str, str]:
    kept = {
        name: text
        for name, text in os.environ.items()
        if not name.startswith(("JUPYTER", "XDG_", "TASKFLOW_", "PYTEST_", "IPYTHON"))
    }
    return kept | {
        "HOME": str(home),
        "IPYTHONDIR": str(home / "ipython"),
        "JUPYTER_CONFIG_DIR": str(home / "config"),
        "JUPYTER_DATA_DIR": str(home / "data"),
        "JUPYTER_PLATFORM_DIRS": "1",
        "JUPYTER_RUNTIME_DIR": str(home / "run"),
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",
        "PYTHONPATH": str(ROOT),
        "XDG_CACHE_HOME": str(home / "cache"),
        "XDG_CONFIG_HOME": os.environ["XDG_CONFIG_HOME"],  # kernels and tests have one key
        "XDG_DATA_HOME": str(home / "data"),
        "XDG_STATE_HOME": str(home / "state"),
    }


def _arrange(home: Path, extension: Path | None) -> None:
    """Put the lab extension, and quiet settings, where a server with this home finds them."""
    settings = home / "config" / "lab" / "user-settings" / "@jupyterlab" / "apputils-extension"
    settings.mkdir(parents=True)
    (settings / "notification.jupyterlab-settings").write_text(json.dumps(QUIET))
    if extension is not None:
        labextensions = home / "data" / "labextensions"
        labextensions.mkdir(parents=True)
        (labextensions / "taskflow-lab").symlink_to(extension)
