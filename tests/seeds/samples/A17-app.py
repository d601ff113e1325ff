# app.py
from flask import Flask
from celery import Celery

def make_celery(app):
    celery = Celery(
        app.import_name,
        broker=app.config['CELERY_BROKER_URL'],
        backend=app.config['CELERY_RESULT_BACKEND']
    )
    celery.conf.update(app.config)
    return celery

app = Flask(__name__)
app.config['CELERY_BROKER_URL'] = 'redis://localhost:6379/0'
app.config['CELERY_RESULT_BACKEND'] = 'redis://localhost:6379/0'

celery = make_celery(app)

@celery.task
def process_data(data):
    # heavy work
    import time
    time.sleep(10)
    return f"Processed {len(data)} items"

@app.route('/process', methods=['POST'])
def process():
    data = request.json.get('data', [])
    task = process_data.delay(data)
    return {'task_id': task.id}, 202
