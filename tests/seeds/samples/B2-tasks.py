# tasks.py - the first task
from celery import Celery

app = Celery('tasks', broker='redis://localhost:6379/0')

@app.task
def add(x, y):
    return x + y

# a worker: celery -A tasks worker --loglevel=info
# a call: python -c "from tasks import add; result = add.delay(4, 4); print(result.get())"
