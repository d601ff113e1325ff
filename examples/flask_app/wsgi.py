"""What servers import, and workers: ``taskflow -A flask_app.wsgi worker``."""

from __future__ import annotations

from flask_app import create_app

app = create_app()
celery = app.extensions["taskflow"]
