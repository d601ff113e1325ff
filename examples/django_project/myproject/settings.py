"""Settings of Django, and of tasks under the namespace ``CELERY``."""

import os
from pathlib import Path

BASE_DIR = Path(__file__).resolve().parent.parent

DEBUG = True
SECRET_KEY = "of an example: make your own"  # noqa: S105
ALLOWED_HOSTS = ["localhost", "127.0.0.1"]
INSTALLED_APPS = ["myapp"]
MIDDLEWARE = ["django.middleware.common.CommonMiddleware"]
ROOT_URLCONF = "myproject.urls"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.environ.get("DATABASE", BASE_DIR / "db.sqlite3"),
        "OPTIONS": {"timeout": 20},
    }
}
TIME_ZONE = "Asia/Tokyo"
USE_TZ = True

# Mails stay in memory; with EMAIL_FILE_PATH they are written into that folder.
EMAIL_FILE_PATH = os.environ.get("EMAIL_FILE_PATH")
EMAIL_BACKEND = f"django.core.mail.backends.{'filebased' if EMAIL_FILE_PATH else 'locmem'}.EmailBackend"

# CELERY_BROKER_URL is read from the environment; without it the store is the user's own, and needs no server.
CELERY_TIMEZONE = "Asia/Tokyo"
CELERY_TASK_TIME_LIMIT = 300
