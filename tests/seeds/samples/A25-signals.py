# the time that tasks take
from celery.signals import task_prerun, task_postrun
import time

@task_prerun.connect
def task_prerun_handler(sender=None, task_id=None, **kwargs):
    print(f"Task {task_id} started")

@task_postrun.connect
def task_postrun_handler(sender=None, task_id=None, **kwargs):
    print(f"Task {task_id} completed")
