# celery_app.py
from celery import Celery

# the application
app = Celery(
    'myapp',
    broker='redis://localhost:6379/0',  # message broker
    backend='redis://localhost:6379/0'  # result backend
)

# settings
app.conf.update(
    task_serializer='json',
    accept_content=['json'],
    result_serializer='json',
    timezone='Asia/Tokyo',
    enable_utc=True,
    task_track_started=True,
    task_time_limit=30 * 60,  # 30 minutes
    task_soft_time_limit=25 * 60,  # 25 minutes (a warning)
)
