# a worker process
celery -A celery_app worker --loglevel=info

# several at once
celery -A celery_app worker --concurrency=4

# a daemon, in the background
celery -A celery_app worker --detach --loglevel=info --logfile=celery.log

# certain queues only
celery -A celery_app worker -Q high_priority,default

# autoscale: the number of workers follows the load
celery -A celery_app worker --autoscale=10,3  # max 10, min 3
