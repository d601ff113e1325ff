"""The application; ``taskflow -A myproject worker`` finds it here."""

import os

from taskflow import Taskflow

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "myproject.settings")

app = Taskflow("myproject")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


@app.task(bind=True)
def debug_task(self):
    """Print what a task knows of itself."""
    print(f"Request: {self.request!r}")
