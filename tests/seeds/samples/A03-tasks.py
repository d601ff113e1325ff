# tasks.py
from celery_app import app
import time
import requests

@app.task
def add(x, y):
    """A simple task"""
    return x + y

@app.task(bind=True)
def long_task(self, iterations):
    """A task that reports progress"""
    for i in range(iterations):
        time.sleep(1)
        self.update_state(
            state='PROGRESS',
            meta={'current': i, 'total': iterations}
        )
    return {'current': iterations, 'total': iterations, 'status': 'Complete!'}

@app.task(bind=True, max_retries=3)
def fetch_url(self, url):
    """A task with retries"""
    try:
        response = requests.get(url, timeout=10)
        response.raise_for_status()
        return response.text
    except requests.RequestException as exc:
        # retry with exponential backoff
        raise self.retry(exc=exc, countdown=60 * (2 ** self.request.retries))

@app.task
def send_email(to, subject, body):
    """A task that sends mail"""
    # send the mail
    print(f"Sending email to {to}: {subject}")
    return f"Email sent to {to}"
