# limits of time, and retries
@app.task(
    time_limit=300,  # killed after 5 minutes
    soft_time_limit=240,  # warned after 4
    max_retries=3,
    default_retry_delay=60
)
def long_running_task():
    pass
