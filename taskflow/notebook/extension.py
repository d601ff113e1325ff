"""What ``%load_ext taskflow`` does: registers the magics, and says in a line which runs have not ended."""

from __future__ import annotations

import logging
import sys
from typing import Any

import taskflow.client as clients
from taskflow.errors import TaskflowError
from taskflow.frames.accessor import register
from taskflow.importing import when_imported
from taskflow.notebook.magics import TaskflowMagics
from taskflow.notebook.words import completions
from taskflow.observe import showing
from taskflow.shells import wants_frames
from taskflow.states import LIVE

__all__ = ["load", "unload"]

log = logging.getLogger(__name__)

_CELLS = ("task", "parallel", "on_workers", "workflow")


def load(shell: Any) -> None:
    """Register the magics in a shell; once more changes nothing."""
    if _is_loaded(shell):
        return
    shell.register_magics(TaskflowMagics)
    _want_frames()
    shell.set_hook("complete_command", lambda _, event: completions(event.line), str_key="%taskflow")
    if getattr(shell, "kernel", None) is not None:
        from taskflow.notebook.showing import Notebook

        showing.show_by(Notebook(shell))
    register()
    when_imported("joblib.parallel", _name_the_backend)
    told = found()
    if told:
        print(told)


def unload(shell: Any) -> None:
    """Take the magics and the displays away; the client and what it has sent stay."""
    shower = showing.shower()
    showing.show_by(None)
    if shower is not None:
        shower.close()
    shell.strdispatchers["complete_command"].strs.pop("%taskflow", None)
    for kind, names in (("line", ("taskflow", "task")), ("cell", _CELLS)):
        for name in names:
            shell.magics_manager.magics[kind].pop(name, None)


def _want_frames() -> None:
    """Let what fails bring its frames along from now on, also where there is a client already."""
    client = clients._default
    if client is not None and wants_frames() and client._sender.options.frames is None:
        client._sender = client._sender.having(frames=True)


def found() -> str:
    """A line about runs of your own store that have not ended; nothing when there is no such store yet."""
    from pathlib import Path

    from taskflow.stores import default_url, open_store

    url = default_url()
    if clients.open_client() is not None or not url.startswith("sqlite:///"):
        return ""
    if not Path(url.removeprefix("sqlite:///").partition("?")[0]).exists():
        return ""
    try:
        store = open_store(url, wait_s=0.5)
        live = store.runs(limit=1000, states=sorted(LIVE))
        store.close()
    except TaskflowError as error:  # whoever uses the store is told
        log.debug("the store was not looked at: %s", error)
        return ""
    if not live:
        return ""
    runs = "1 run has" if len(live) == 1 else f"{len(live)} runs have"
    name = live[0].name or live[0].id
    return f"taskflow: {runs} not ended, the newest is {name}. %taskflow attach goes on with it."


def _name_the_backend() -> None:
    """Let joblib know ``"taskflow"``; what is behind that is imported when it is used."""
    backends: dict[str, Any] = sys.modules["joblib.parallel"].BACKENDS
    backends.setdefault("taskflow", _backend)


def _backend(**options: Any) -> Any:
    import taskflow.contrib.joblib  # noqa: F401 - it registers itself in place of this

    return sys.modules["joblib.parallel"].BACKENDS["taskflow"](**options)


def _is_loaded(shell: Any) -> bool:
    return "taskflow" in shell.magics_manager.magics["line"]
