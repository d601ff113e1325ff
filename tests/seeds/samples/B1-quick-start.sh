# what is needed
pip install celery[redis] flower kombu psycopg2-binary requests

# the Redis server, with Docker
docker run -d -p 6379:6379 redis:alpine

# the configuration
# celeryconfig.py
broker_url = 'redis://localhost:6379/0'
result_backend = 'redis://localhost:6379/0'
