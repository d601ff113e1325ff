# tasks.py
from celery import Task
from celery_app import app

class CallbackTask(Task):
    """A custom class of tasks"""
    def on_success(self, retval, task_id, args, kwargs):
        print(f"Task {task_id} succeeded: {retval}")

    def on_failure(self, exc, task_id, args, kwargs, einfo):
        print(f"Task {task_id} failed: {exc}")

    def on_retry(self, exc, task_id, args, kwargs, einfo):
        print(f"Task {task_id} retrying: {exc}")

@app.task(base=CallbackTask, bind=True, max_retries=3)
def risky_task(self, data):
    try:
        # what may go wrong
        if not data:
            raise ValueError("Empty data")
        return process(data)
    except Exception as exc:
        self.retry(exc=exc, countdown=60)
