# Celery with Redis
pip install celery[redis]

# or with RabbitMQ
pip install celery[amqp]

# other dependencies
pip install redis  # the client of Redis
