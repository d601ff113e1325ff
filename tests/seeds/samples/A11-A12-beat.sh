# the scheduler
celery -A celery_app beat --loglevel=info

# worker and beat at once (for development only)
celery -A celery_app worker -B --loglevel=info
