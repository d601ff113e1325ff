# tasks.py
from celery import chain, group, chord
from celery_app import app

@app.task
def multiply(x, y):
    return x * y

@app.task
def add(x, y):
    return x + y

@app.task
def summarize(results):
    return sum(results)

# a chain (one after another)
result = chain(add.s(2, 2), multiply.s(4)).apply_async()
# (2 + 2) * 4 = 16
print(result.get())

# a group (at once)
job = group([
    add.s(2, 2),
    add.s(4, 4),
    add.s(8, 8),
])
result = job.apply_async()
print(result.get())  # [4, 8, 16]

# a chord (at once, then the results together)
callback = summarize.s()
header = group([add.s(i, i) for i in range(10)])
result = chord(header)(callback)
print(result.get())  # 90
