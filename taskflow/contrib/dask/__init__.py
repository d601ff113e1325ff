"""Graphs of Dask, run by taskflow: DataFrames, arrays, bags and delayed calls, durably.

::

    import dask
    from taskflow.contrib.dask import get

    frame.groupby("k").x.mean().compute(scheduler=get)                  # once
    frame.groupby("k").x.mean().compute(scheduler=get, name="means")    # … and found again by its name
    dask.config.set(scheduler=get)                                      # everywhere

The whole graph is sent once, as one run; see docs/dask-graphs.md. It needs Dask 2025.4 or later.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from taskflow.errors import MissingExtra

if TYPE_CHECKING:
    from types import ModuleType

    from taskflow.client import Client
    from taskflow.workflowrun import WorkflowRun

__all__ = ["get", "scheduler", "submit"]


def get(
    dsk: Any,
    keys: Any,
    client: Client | None = None,
    *,
    name: str | None = None,
    resume: bool = True,
    fuse: bool = True,
    progress: bool = True,
    **options: Any,
) -> Any:
    """Run a graph, and wait: a scheduler of Dask's, for ``compute(scheduler=get)``.

    Args:
        dsk: A graph of Dask, of any of its kinds.
        keys: What of it is asked for: a key, or lists of keys.
        client: Where it runs; the current client by default.
        name: The name of the run. What has the same name and does the same is found in the store: a run that
            goes on is waited for, of one that failed or was cancelled what succeeded is kept.
        resume: With `False` a name is a name only, and everything runs.
        fuse: Whether tasks that only wait for each other, as a chain does, are one node. With `False` each
            is kept by itself, and costs a node.
        progress: Whether to show the run while it is waited for, in a cell or a terminal.
        options: As `Client.options` takes them, for all of it; ``retries`` is ``retry``. What
            ``dask.annotate`` says of single layers goes before them: ``retries``, ``priority`` (0 to 255),
            ``queue``, ``time_limit``, ``soft_time_limit``, ``memory_limit``, ``max_deliveries``.

    Returns:
        The value of the key; of a list of them a tuple.

    Raises:
        Exception: What the first task raised that failed, with a note of its key and of the run.
        GraphError: The graph cannot run: a key is missing, or it shuffles by files of this process.
        ConfigError: There is no such option (the nearest is named), or its value is impossible.
        MissingExtra: Dask is not installed.

    Example:
        >>> from taskflow import Client
        >>> with Client(mode="inline") as client:
        ...     get({"x": 1, "y": (sum, ["x", 2])}, "y", client)
        3
    """
    __tracebackhide__ = True
    how = {"name": name, "resume": resume, "fuse": fuse, **options}
    return _calling().computed(dsk, keys, client, progress=progress, **how)


def scheduler(client: Client | None = None, **how: Any) -> Callable[..., Any]:
    """`get` with a client, a name and options: ``compute(scheduler=scheduler(client, name="means"))``.

    Args:
        client: Where it runs; the current client by default.
        how: What `get` takes beside.

    Example:
        >>> from taskflow import Client
        >>> with Client(mode="inline") as client:
        ...     scheduler(client, retries=2)({"x": (max, 1, 2)}, ["x"])
        (2,)
    """
    return partial(get, client=client, **how)


def submit(
    collection: Any,
    *,
    client: Client | None = None,
    name: str | None = None,
    resume: bool = True,
    fuse: bool = True,
    **options: Any,
) -> WorkflowRun:
    """Send what `collection.compute` would run, and do not wait.

    Args:
        collection: A DataFrame, an array, a bag, a delayed call; ``dask.delayed([a, b])`` for several.
        client: Where it runs; the current client by default.
        name: See `get`.
        resume: See `get`.
        fuse: See `get`.
        options: See `get`.

    Returns:
        The handle of the run, whose ``result()`` is the value. ``client.attach`` gives it in another process,
        by its id or its name.

    Raises:
        UsageError: It is no collection of Dask.
        GraphError: See `get`; ConfigError, MissingExtra: likewise.

    Example:
        >>> import dask
        >>> from taskflow import Client
        >>> with Client(mode="inline") as client:
        ...     submit(dask.delayed(pow)(2, 10), client=client).result()
        1024
    """
    how = {"name": name, "resume": resume, "fuse": fuse, **options}
    run: WorkflowRun = _calling().submitted(collection, client, **how)
    return run


def _calling() -> ModuleType:
    try:
        from dask._expr import FinalizeCompute  # noqa: F401 - what is computed has one key since
    except ImportError as error:
        raise MissingExtra(
            "Graphs of Dask need Dask 2025.4 or later: pip install 'jupyter-taskflow[dask]'."
        ) from error
    from taskflow.contrib.dask import calling

    return calling
