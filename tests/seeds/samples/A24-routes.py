# settings
app.conf.task_routes = {
    'tasks.high_priority_task': {'queue': 'high'},
    'tasks.low_priority_task': {'queue': 'low'},
}

# workers
# celery -A celery_app worker -Q high,default
# celery -A celery_app worker -Q low
