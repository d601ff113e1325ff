"""What a worker is given by its application: settings, names of tasks, modules, and a beat beside it."""

from __future__ import annotations

import os
import time
import traceback
from argparse import Namespace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from taskflow.cli.report import settings_of
from taskflow.cli.words import plural

if TYPE_CHECKING:
    from taskflow.cli.console import Console
    from taskflow.worker.process import Hosted

__all__ = ["application", "flags_of", "hosted"]

LOOK_S = 0.5
_SIZES = ("slots", "concurrency", "autoscale")
"""Of these one counts: what the command line says, not what a setting says."""


def application(options: Namespace, console: Console) -> Any:
    """The application. While somebody develops it, one that cannot be imported is waited for."""
    if not options.autoreload:
        return console.app
    from taskflow.worker.process import start_anew
    from taskflow.worker.sources import Sources

    sources = Sources(str(Path.cwd()))
    try:
        return console.app
    except Exception:  # noqa: BLE001 - whatever the user's module raises, until it is mended
        traceback.print_exc(file=console.err)
        console.err.write("taskflow: The application cannot be imported: tried again when a file changes.\n")
        console.err.flush()
        while sources.changed() is None:
            time.sleep(LOOK_S)
        start_anew(options.started_in)


def flags_of(app: Any, options: Namespace) -> list[str]:
    """The options that an application has for its workers; those of the command line come behind them.

    Modules add up: those of the settings, of the command line, and that of the application itself.
    """
    from taskflow.settings import worker_flags

    flags = worker_flags(app.conf)
    if any(hasattr(options, name) for name in _SIZES):
        flags = [flag for flag in flags if flag.partition("=")[0].removeprefix("--") not in _SIZES]
    named = [flag.partition("=")[2] for flag in flags if flag.startswith("--preload=")]
    named += [",".join((app.module, *(app.conf.include or ()))), getattr(options, "preload", "")]
    modules = dict.fromkeys(name for name in ",".join(named).split(",") if name not in ("", "__main__"))
    for module in modules:
        import_module(module)  # here once, for all children; and again by who starts apart from this process
    if modules:
        options.preload = ",".join(modules)
    return [flag for flag in flags if not flag.startswith("--preload=")]


def hosted(app: Any, options: Namespace, url: str) -> Hosted:
    """What goes with the worker process."""
    from taskflow.logs import options_of
    from taskflow.worker.process import Hosted

    plain = {"color": False} if os.environ.get("NO_COLOR") else {}
    beside = [Beside(app, url)] if options.beat else []
    if app is None:
        return Hosted(beside=beside, folder=options.started_in, logs=plain)
    return Hosted(
        words=f"{app.main}, {plural(len(app.tasks), 'task')}",
        tasks=list(app.tasks),
        beside=beside,
        folder=options.started_in,
        conf=settings_of(app),
        settings=app.conf,
        logs={**options_of(app.conf), **plain},
    )


class Beside:
    """Sends what is scheduled, in the process of a worker; see `taskflow.worker.process.Beside`.

    Args:
        app: Whose schedules, if there is an application.
        url: The store.
    """

    def __init__(self, app: Any, url: str) -> None:
        self._app, self._url = app, url
        self._beat: Any = None
        self._client: Any = None

    def start(self) -> None:
        """Begin, in a thread."""
        from taskflow.beat import Beat
        from taskflow.client import Client

        self._client = Client(self._url, workers=0)
        self._beat = Beat(self._client) if self._app is None else Beat.of(self._app, client=self._client)
        self._beat.start()

    def stop(self) -> None:
        """Come to an end."""
        if self._beat is not None:
            self._beat.close()
        if self._client is not None:
            self._client.shutdown(wait=False)
