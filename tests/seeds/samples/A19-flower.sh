# Flower
pip install flower

# start it
celery -A celery_app flower

# in the browser
# http://localhost:5555
