"""Celery for notebooks: any function becomes a durable task that runs in other processes.

::

    import taskflow

    with taskflow.Client() as client:
        client.submit(pow, 2, 10).result()          # 1024, computed by another process
        list(client.map(str.upper, "abc"))          # ['A', 'B', 'C']

The names below are all there is to import; errors are in `taskflow.errors`. Each is loaded on
first use, so that ``import taskflow`` costs a few milliseconds.
"""

from __future__ import annotations

from importlib import import_module
from os.path import isfile

if isfile(f"{__path__[0]}/engines/__init__.py"):  # noqa: PTH113 - pathlib is slow to import
    raise ImportError(
        "OpenStack TaskFlow (PyPI: taskflow) and jupyter-taskflow are installed in the same place: both are"
        " imported as 'taskflow', and their files are mixed now. Give one of them its own environment, or"
        " keep this one:  pip uninstall -y taskflow jupyter-taskflow && pip install jupyter-taskflow"
    )

TYPE_CHECKING = False  # type checkers know the name; importing typing costs more than all of this file
if TYPE_CHECKING:
    from typing import Any

    from taskflow import errors as errors
    from taskflow.app import App, Task, Taskflow, current_app, current_task, shared_task
    from taskflow.canvas import (
        Signature,
        chain,
        chord,
        chunks,
        group,
        maybe_signature,
        signature,
        subtask,
        task,
        xmap,
        xstarmap,
    )
    from taskflow.client import Client, get_client, set_client
    from taskflow.cores import cpu_count
    from taskflow.errors import Ignore, Reject, Retry, Skip
    from taskflow.frames import Frame, from_pandas, map_partitions, read_csv, read_parquet
    from taskflow.future import Future
    from taskflow.gathering import as_completed, gather
    from taskflow.holds import Barrier, Lock, Semaphore
    from taskflow.limits import CircuitBreaker, ConcurrencyLimit, RateLimit
    from taskflow.maprun import MapRun
    from taskflow.policy import Options, RetryPolicy
    from taskflow.pools.context import add_to_chord, current, replace, rng
    from taskflow.pools.saying import progress, report
    from taskflow.ref import Ref
    from taskflow.result import AsyncResult, EagerResult, GroupResult, ResultSet
    from taskflow.schedules import crontab, once, schedule, solar
    from taskflow.unique import Unique
    from taskflow.workflow import Workflow, map_reduce
    from taskflow.workflow.sources import blocks, files, lines
    from taskflow.workflowrun import WorkflowRun

__all__ = [
    "App",
    "AsyncResult",
    "Barrier",
    "CircuitBreaker",
    "Client",
    "ConcurrencyLimit",
    "EagerResult",
    "Frame",
    "Future",
    "GroupResult",
    "Ignore",
    "Lock",
    "MapRun",
    "Options",
    "RateLimit",
    "Ref",
    "Reject",
    "ResultSet",
    "Retry",
    "RetryPolicy",
    "Semaphore",
    "Signature",
    "Skip",
    "Task",
    "Taskflow",
    "Unique",
    "Workflow",
    "WorkflowRun",
    "add_to_chord",
    "as_completed",
    "blocks",
    "chain",
    "chord",
    "chunks",
    "cpu_count",
    "crontab",
    "current",
    "current_app",
    "current_task",
    "errors",
    "files",
    "from_pandas",
    "gather",
    "get_client",
    "group",
    "lines",
    "map_partitions",
    "map_reduce",
    "maybe_signature",
    "once",
    "progress",
    "read_csv",
    "read_parquet",
    "replace",
    "report",
    "rng",
    "schedule",
    "set_client",
    "shared_task",
    "signature",
    "solar",
    "subtask",
    "task",
    "xmap",
    "xstarmap",
]

__version__ = "0.1.0.dev0"

_ROOMS = {
    "taskflow.app": ("App", "Task", "Taskflow", "current_app", "current_task", "shared_task"),
    "taskflow.canvas": (
        "Signature",
        "chain",
        "chord",
        "chunks",
        "group",
        "maybe_signature",
        "signature",
        "subtask",
        "task",
        "xmap",
        "xstarmap",
    ),
    "taskflow.client": ("Client", "get_client", "set_client"),
    "taskflow.cores": ("cpu_count",),
    "taskflow.frames": ("Frame", "from_pandas", "map_partitions", "read_csv", "read_parquet"),
    "taskflow.future": ("Future",),
    "taskflow.holds": ("Barrier", "Lock", "Semaphore"),
    "taskflow.gathering": ("as_completed", "gather"),
    "taskflow.result": ("AsyncResult", "EagerResult", "GroupResult", "ResultSet"),
    "taskflow.workflowrun": ("WorkflowRun",),
    "taskflow.limits": ("CircuitBreaker", "ConcurrencyLimit", "RateLimit"),
    "taskflow.maprun": ("MapRun",),
    "taskflow.policy": ("Options", "RetryPolicy"),
    "taskflow.unique": ("Unique",),
    "taskflow.errors": ("Ignore", "Reject", "Retry", "Skip"),
    "taskflow.pools.context": ("add_to_chord", "current", "replace", "rng"),
    "taskflow.pools.saying": ("progress", "report"),
    "taskflow.ref": ("Ref",),
    "taskflow.schedules": ("crontab", "once", "schedule", "solar"),
    "taskflow.workflow": ("Workflow", "map_reduce"),
    "taskflow.workflow.sources": ("blocks", "files", "lines"),
}
_ROOM_OF = {name: room for room, names in _ROOMS.items() for name in names}


def __getattr__(name: str) -> Any:
    """Load a public name on its first use (PEP 562)."""
    if name == "errors":
        return import_module("taskflow.errors")
    if name not in _ROOM_OF:
        raise AttributeError(f"module 'taskflow' has no attribute {name!r}")
    value = getattr(import_module(_ROOM_OF[name]), name)
    globals()[name] = value
    return value


def load_ipython_extension(shell: Any) -> None:
    """What ``%load_ext taskflow`` calls."""
    import_module("taskflow.notebook.extension").load(shell)


def unload_ipython_extension(shell: Any) -> None:
    """What ``%unload_ext taskflow`` calls."""
    import_module("taskflow.notebook.extension").unload(shell)


def _jupyter_server_extension_points() -> list[dict[str, str]]:
    """What a Jupyter server asks for the names of its extensions."""
    return [{"module": "taskflow.jupyter"}]


def __dir__() -> list[str]:
    """The public names, loaded or not."""
    return [*__all__, "__version__"]
