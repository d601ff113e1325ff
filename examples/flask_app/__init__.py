"""A web application that gives its heavy work to tasks: a factory, as Flask's documentation has it.

::

    flask --app flask_app.wsgi run
    taskflow -A flask_app.wsgi worker --loglevel=info
    curl -H 'Content-Type: application/json' -d '{"data": [1, 2, 3]}' localhost:5000/process
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flask import Flask

from taskflow.contrib.flask import init_app


def create_app(config: Mapping[str, Any] | None = None) -> Flask:
    """The web application, and its tasks in ``extensions["taskflow"]``.

    Args:
        config: What differs from the environment (``FLASK_…``) and from the defaults.
    """
    from flask_app.views import pages

    app = Flask(__name__)
    # CELERY_BROKER_URL is read from the environment; without it the store is the user's own.
    app.config.from_mapping(SECONDS=10.0, CELERY_TASK_TIME_LIMIT=300, CELERY_INCLUDE=["flask_app.tasks"])
    app.config.from_prefixed_env()
    app.config.from_mapping(config or {})
    app.register_blueprint(pages)
    init_app(app)
    return app
