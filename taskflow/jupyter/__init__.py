"""The Jupyter server's side of the panel: what the stores of this user hold, told to its pages.

Under ``<base_url>/taskflow/api`` the server answers what JupyterLab and Notebook 7 ask, and tells them what
moves, by the same token, cookie and XSRF rules as everything else of it. It reads the stores itself: no
kernel is needed, and none is disturbed. It opens no value of a task, makes no key, starts no worker; all it
ever changes is what a person asked for: that a run is cancelled, or tried again (neither with `read_only`).

=====================================  ==================================================================
``GET  runs?page=&size=&match=&state=``  the runs of all stores, the newest first, and how the stores are
``GET  runs/ID``                         a run as it stands: what is drawn
``POST runs/ID/ask``                     rows of its result table, its logs, an error
``POST runs/ID/cancel``                  stop it: ``{"changed": 1}``
``POST runs/ID/retry``                   run again what gave no value: ``{"run": id}``
``GET  workers``                         who works
``GET  events``                          a WebSocket that tells what changes (`taskflow.jupyter.sockets`)
=====================================  ==================================================================
"""

from __future__ import annotations

from typing import Any

__all__: list[str] = []


def _load_jupyter_server_extension(server: Any) -> None:
    """Called by the Jupyter server when it starts. Nothing is opened until somebody asks."""
    from taskflow.jupyter.handlers import routes
    from taskflow.jupyter.settings import Panel

    settings = server.web_app.settings
    server.web_app.add_handlers(".*$", routes(settings["base_url"], Panel(parent=server).desk()))
