# celery_app.py
from celery import Celery
from celery.schedules import crontab

app = Celery('myapp', broker='redis://localhost:6379/0')

app.conf.beat_schedule = {
    'add-every-30-seconds': {
        'task': 'tasks.add',
        'schedule': 30.0,  # every 30 seconds
        'args': (16, 16)
    },
    'send-report-every-monday': {
        'task': 'tasks.send_weekly_report',
        'schedule': crontab(hour=9, minute=0, day_of_week=1),  # Mondays at 9:00
    },
    'cleanup-every-night': {
        'task': 'tasks.cleanup_old_data',
        'schedule': crontab(hour=2, minute=0),  # each day at 2:00
    },
}

app.conf.timezone = 'Asia/Tokyo'
