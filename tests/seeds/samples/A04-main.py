# main.py
from tasks import add, long_task, fetch_url, send_email

# asynchronous
result = add.delay(4, 6)
print(f"Task ID: {result.id}")

# the result (blocks)
print(f"Result: {result.get(timeout=10)}")

# the state
if result.ready():
    print("Task completed")
    print(f"Result: {result.result}")
elif result.failed():
    print("Task failed")
    print(f"Error: {result.traceback}")
else:
    print("Task pending or running")

# progress
task = long_task.delay(100)
while not task.ready():
    if task.state == 'PROGRESS':
        meta = task.info
        print(f"Progress: {meta['current']}/{meta['total']}")
    time.sleep(1)

# several tasks
results = [add.delay(i, i) for i in range(10)]
for result in results:
    print(result.get())
