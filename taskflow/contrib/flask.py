"""Flask: an application of tasks beside one of Flask, with its settings and its context.

::

    def create_app():
        app = Flask(__name__)
        app.config["CELERY_BROKER_URL"] = "redis://localhost:6379/0"
        init_app(app)
        return app

A module that holds both is what workers are started with: ``taskflow -A shop.wsgi worker``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from taskflow.app import Taskflow

if TYPE_CHECKING:
    from flask import Flask

__all__ = ["init_app"]


def init_app(flask: Flask, app: Taskflow | None = None) -> Taskflow:
    """Give an application of Flask one that has its tasks.

    It takes its settings from ``flask.config``: names that begin with ``CELERY_`` or ``TASKFLOW_``, and what
    stands in the dictionary ``CELERY`` or ``TASKFLOW``. Its tasks run inside of ``flask.app_context()``, so
    that they have `flask.current_app`, and whatever lives in it, such as a session of a database. It becomes
    the current one, to which each `taskflow.shared_task` belongs.

    Args:
        flask: The application of Flask; it has the other in ``extensions["taskflow"]`` afterwards.
        app: One that is there already; else one of the same name is made.

    Returns:
        The application of tasks.

    Raises:
        ConfigError: A setting is not known (the nearest is named), or its value is impossible.
    """
    if app is None:
        app = Taskflow(flask.import_name)
        app._module = ""  # that of who keeps what the factory returns
    app.conf.update(flask.config)
    for name in ("CELERY", "TASKFLOW"):
        app.conf.update(flask.config.get(name) or {})
    app.around_calls = flask.app_context
    app.set_current()
    flask.extensions["taskflow"] = app
    return app
