"""A Ray cluster for tests: a process that keeps head and nodes, on loopback, and takes them along at its end.

Run as a module it is that process: it obeys lines of JSON on its input, each answered by another line. When
its input ends, so do the head, the nodes and all of their workers.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from tests.servers import free_port, until

__all__ = ["RayCluster", "needs_ray"]

STORE_BYTES = 100 << 20
ROOT = Path(__file__).parents[2]


def needs_ray() -> None:
    """Skip where Ray is not installed (which fails in CI)."""
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'jupyter-taskflow[ray]'")


class RayCluster:
    """A head with slots, and nodes that come and go.

    Args:
        cpus: Slots of the head.
        env: More environment of the cluster's processes.

    Attributes:
        url: What an agent is given.
    """

    def __init__(self, cpus: int = 2, **env: str) -> None:
        self.port, self.client_port = free_port(), free_port()
        self.url = f"ray://127.0.0.1:{self.port}"
        self.client_url = f"ray://127.0.0.1:{self.client_port}?client=1"
        self._cpus, self._env = cpus, env
        self._folder = Path(tempfile.mkdtemp(prefix="tfr-", dir="/tmp"))  # a socket's path is short
        (self._folder / "ray").mkdir()  # where Ray writes down which cluster is the current one
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> RayCluster:
        """Start the head; it takes 6 to 10 s. Ray gives up after 30 s of a busy machine; we do not."""
        for last in (False, False, True):
            self._launch()
            try:
                self._ask("head", self._cpus)
            except (AssertionError, BrokenPipeError):
                self.stop()
                if last:
                    raise
            else:
                break
        until(lambda: socket.create_connection(("127.0.0.1", self.client_port), 1.0).close() or True, 60.0)
        return self

    def _launch(self) -> None:
        with (self._folder / "err").open("w") as err:
            self._process = subprocess.Popen(
                [sys.executable, "-m", __name__, str(self._folder), str(self.port), str(self.client_port)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=err,
                env={
                    **os.environ,
                    "PYTHONPATH": str(ROOT),
                    "RAY_TMPDIR": str(self._folder),
                    **self._env,
                },
                text=True,
                start_new_session=True,
            )

    def add(self, cpus: int = 1) -> str:
        """Start a node; its id."""
        return str(self._ask("add", cpus))

    def kill(self, node: str) -> None:
        """Kill a node with all that runs there, as a power cut does."""
        self._ask("kill", node)

    def stop(self) -> None:
        """End it all at once; `start` begins again at the same address."""
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(BrokenPipeError):
            process.communicate(timeout=30)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def close(self) -> None:
        """End it, and leave nothing."""
        self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _ask(self, *words: Any) -> Any:
        process = self._process
        assert process is not None and process.stdin is not None and process.stdout is not None
        process.stdin.write(json.dumps(words) + "\n")
        process.stdin.flush()
        line = process.stdout.readline()
        assert line, f"The cluster is gone: {(self._folder / 'err').read_text()[-3000:]}"
        return json.loads(line)


def token() -> None:
    """Let clusters and agents of this process and its children trust each other alone."""
    os.environ["RAY_AUTH_MODE"] = "token"
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"  # misnamed: all is on loopback, and only there


class _Host:
    """What the process of a cluster does."""

    def __init__(self, folder: str, port: str, client_port: str) -> None:
        from ray.cluster_utils import Cluster

        self.cluster = Cluster(shutdown_at_exit=True)
        self.nodes: dict[str, Any] = {}
        self.folder, self.port, self.client_port = folder, int(port), int(client_port)

    def head(self, cpus: int) -> str:
        node = self.cluster.add_node(
            num_cpus=cpus,
            object_store_memory=STORE_BYTES,
            temp_dir=f"{self.folder}/r",
            include_dashboard=False,
            include_log_monitor=False,
            no_monitor=True,
            dashboard_port=0,
            gcs_server_port=self.port,
            ray_client_server_port=self.client_port,
        )
        return str(node.node_id)

    def add(self, cpus: int) -> str:
        node = self.node(num_cpus=cpus, object_store_memory=STORE_BYTES)
        self.nodes[node.node_id] = node
        return str(node.node_id)

    def node(self, **options: Any) -> Any:
        """Ray waits for 30 s, and a busy machine may need more: what came too late is not counted."""
        try:
            return self.cluster.add_node(**options)
        except Exception as error:  # noqa: BLE001 - Ray raises no other
            print(error, file=sys.stderr)
            return self.cluster.add_node(**options)

    def kill(self, node: str) -> str:
        self.cluster.remove_node(self.nodes.pop(node), allow_graceful=False)
        return node


def _serve() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what Ray prints is no answer
    host = _Host(*sys.argv[1:])
    for line in sys.stdin:
        word, *rest = json.loads(line)
        print(json.dumps(getattr(host, word)(*rest)), file=answers, flush=True)


if __name__ == "__main__":
    _serve()
