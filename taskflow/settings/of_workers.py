"""The settings of workers and of beat."""

from __future__ import annotations

from taskflow.settings.kinds import (
    BOUNDS,
    COUNT,
    FLAG,
    MAPPING,
    NAMES,
    NUMBER,
    SECONDS,
    SLOTS,
    TEXT,
    one_of,
)
from taskflow.settings.option import Option, Status, always, without_meaning

__all__ = ["BEAT", "POOLS", "WORKERS"]

_OTHERWISE = Status.OTHERWISE
POOLS = {
    "prefork": "process",
    "processes": "process",
    "threads": "thread",
    "solo": "process",
    "eventlet": "thread",
    "gevent": "thread",
}
"""Celery's pools, and what runs calls here in their place; ``solo`` has one slot."""

_NO_PREFETCH = "a worker takes a few milliseconds of work ahead, and no more."
_FLAGS = "give it to the command that starts the process."

WORKERS = (
    Option(
        "worker_concurrency",
        SLOTS,
        "auto",
        "Calls at once in a worker; `'auto'` is one for each processor.",
        unit="calls",
        none="auto",
    ),
    Option(
        "worker_autoscale",
        BOUNDS,
        None,
        "The most and the least calls at once, instead of `worker_concurrency`.",
        unit="calls",
        ours=True,
    ),
    Option(
        "worker_pool",
        one_of("process", "thread", "async", **POOLS),
        "process",
        "What runs the calls of a worker.",
        _OTHERWISE,
        "`prefork` is `process`; `solo` is one process; `threads`, `eventlet` and `gevent` are `thread`.",
        celery="prefork",
    ),
    Option(
        "worker_max_tasks_per_child",
        COUNT,
        None,
        "A new child after so many calls.",
        unit="calls",
    ),
    Option(
        "worker_max_memory_per_child",
        COUNT,
        None,
        "A new child when one holds so much resident memory.",
        unit="KiB",
        none="half of its share of the memory",
    ),
    Option(
        "worker_disable_rate_limits",
        FLAG,
        False,
        "Sends no rate limit along with calls.",
        _OTHERWISE,
        "It is looked at where calls are sent, since limits are kept by the store.",
        old=("CELERY_DISABLE_RATE_LIMITS",),
    ),
    Option(
        "worker_soft_shutdown_timeout",
        SECONDS,
        0.0,
        "How long running calls may go on after SIGQUIT, before they go back to the store.",
        _OTHERWISE,
        "Every shutdown is soft here, as what did not end goes back to the store; after Ctrl-C and SIGTERM"
        " it is `worker_grace`.",
        unit="s",
    ),
    Option(
        "worker_grace",
        SECONDS,
        30.0,
        "How long running calls may go on at a shutdown, before they go back to the store.",
        unit="s",
        ours=True,
    ),
    Option(
        "worker_strict_queues",
        FLAG,
        False,
        "The first queue before the next, whatever the priorities.",
        ours=True,
    ),
    Option(
        "worker_idle_exit", SECONDS, None, "A worker leaves after so long without work.", unit="s", ours=True
    ),
    Option(
        "worker_lease",
        SECONDS,
        15.0,
        "What a lost worker ran is free for others after so long.",
        unit="s",
        ours=True,
    ),
    Option(
        "worker_keep_gb",
        NUMBER,
        4.0,
        "The oldest ended runs are forgotten while the store is larger.",
        unit="GiB",
        ours=True,
    ),
    Option(
        "worker_threads",
        COUNT,
        None,
        "BLAS and OpenMP threads of a call.",
        unit="threads",
        none="cores / slots",
        ours=True,
    ),
    Option("worker_preload", NAMES, (), "Modules that children find imported.", ours=True),
    Option(
        "worker_wait_for_store",
        SECONDS,
        0.0,
        "How long a worker looks for a server that is not there yet.",
        unit="s",
        ours=True,
    ),
    Option(
        "worker_accept",
        NAMES,
        ("pickle",),
        "What a worker runs: `pickle`, what is signed; `json`, calls by name.",
        ours=True,
    ),
    Option(
        "worker_allow",
        NAMES,
        (),
        "Which names may be called by those without a key: `shop.tasks.*`.",
        ours=True,
    ),
    Option(
        "worker_hijack_root_logger",
        FLAG,
        True,
        "The worker sets up the root logger; with False it leaves that to you.",
        old=("CELERYD_HIJACK_ROOT_LOGGER",),
    ),
    Option("worker_log_color", FLAG, None, "Whether lines of the log have colours.", none="on a terminal"),
    Option(
        "worker_log_format",
        TEXT,
        None,
        "The format of the worker's own lines.",
        none="that of the worker",
        old=("CELERYD_LOG_FORMAT", "CELERY_WORKER_LOG_FORMAT"),
    ),
    Option("worker_log_datefmt", TEXT, None, "The format of the time in them.", none="that of the worker"),
    Option(
        "worker_task_log_format",
        TEXT,
        None,
        "The format of the lines that tasks log.",
        none="that of the worker",
        old=("CELERYD_TASK_LOG_FORMAT", "CELERY_WORKER_TASK_LOG_FORMAT"),
    ),
    Option(
        "worker_task_log_datefmt", TEXT, None, "The format of the time in them.", none="that of the worker"
    ),
    *always(
        {
            "worker_disable_prefetch": "A worker takes a few milliseconds of work ahead, and no more.",
            "worker_send_task_events": "The store tells what happens to every call.",
            "worker_deduplicate_successful_tasks": "A call that has ended never runs again.",
            "worker_cancel_long_running_tasks_on_connection_loss": "A worker that cannot renew its"
            " leases ends what it runs, because others will run it.",
            "worker_direct": "Every worker also serves `worker/NAME`.",
            "worker_pool_restarts": "Children can be replaced while the worker runs.",
        },
        worker_send_task_events=("CELERY_SEND_EVENTS",),
        worker_direct=("CELERY_WORKER_DIRECT",),
    ),
    *always(
        {
            "worker_enable_remote_control": "Workers can be steered: `taskflow control`.",
            "worker_redirect_stdouts": "What tasks print is kept with their call: `taskflow logs ID`.",
        },
        celery=True,
        worker_redirect_stdouts=("CELERY_REDIRECT_STDOUTS", "CELERYD_REDIRECT_STDOUTS"),
        worker_enable_remote_control=("CELERY_ENABLE_REMOTE_CONTROL",),
    ),
    *without_meaning(
        {
            "worker_redirect_stdouts_level": "what tasks print has no level.",
            "worker_prefetch_multiplier": _NO_PREFETCH,
            "worker_enable_prefetch_count_reduction": _NO_PREFETCH,
            "worker_eta_task_limit": "what waits for its time waits in the store, not in a worker.",
            "worker_detect_quorum_queues": "there is one type of queue.",
            "worker_enable_soft_shutdown_on_idle": "a worker without work leaves at once.",
            "worker_state_db": "the store keeps what was revoked and how workers were steered.",
            "worker_lost_wait": "the death of a child is noticed at once.",
            "worker_proc_alive_timeout": "children fork from a process that has started.",
            "worker_pool_putlocks": "a slot is given one call at a time.",
            "worker_pool_start_method": "children fork from a clean process that holds nothing open.",
            "worker_agent": "nothing of ours listens on the network.",
            "worker_autoscaler": "`worker_autoscale` says how many; the scaler is part of the worker.",
            "worker_consumer": "the worker has no parts to exchange.",
            "worker_timer": "the worker has no parts to exchange.",
            "worker_timer_precision": "the worker wakes when something is due.",
            "worker_executable": _FLAGS,
            "worker_gid": _FLAGS,
            "worker_logfile": _FLAGS,
            "worker_pidfile": _FLAGS,
            "worker_uid": _FLAGS,
            "worker_umask": _FLAGS,
            "event_exchange": "events are rows of the store.",
            "event_queue_durable": "events are rows of the store.",
            "event_queue_exclusive": "events are rows of the store.",
            "event_queue_expires": "events are rows of the store.",
            "event_queue_prefix": "events are rows of the store.",
            "event_queue_ttl": "events go with their run.",
            "event_serializer": "events are rows of the store.",
            "events_executable": _FLAGS,
            "events_gid": _FLAGS,
            "events_logfile": _FLAGS,
            "events_pidfile": _FLAGS,
            "events_uid": _FLAGS,
            "events_umask": _FLAGS,
            "control_exchange": "what workers are to be is kept in the store.",
            "control_queue_durable": "what workers are to be is kept in the store.",
            "control_queue_exclusive": "what workers are to be is kept in the store.",
            "control_queue_expires": "what workers are to be is kept in the store.",
            "control_queue_ttl": "workers that start later are steered as well.",
        },
        worker_redirect_stdouts_level=("CELERY_REDIRECT_STDOUTS_LEVEL", "CELERYD_REDIRECT_STDOUTS_LEVEL"),
        worker_lost_wait=("CELERYD_WORKER_LOST_WAIT",),
    ),
)

BEAT = (
    Option(
        "beat_schedule",
        MAPPING,
        {},
        "What is sent, and when: by name the task, its schedule and its arguments.",
    ),
    *without_meaning(
        {
            "beat_scheduler": "schedules are kept in the store, and changed there.",
            "beat_schedule_filename": "the store keeps what was sent last.",
            "beat_sync_every": "what was sent is stored in the step that sends it.",
            "beat_max_loop_interval": "beat looks for changes every 5 s, or as `--max-interval` says.",
            "beat_cron_starting_deadline": "each entry says what becomes of missed ticks: `missed=`.",
            "beat_enable_remote_control": "schedules are changed in the store.",
            "beat_remote_control_max_tick_age": "schedules are changed in the store.",
            "beat_executable": _FLAGS,
            "beat_gid": _FLAGS,
            "beat_logfile": _FLAGS,
            "beat_pidfile": _FLAGS,
            "beat_uid": _FLAGS,
            "beat_umask": _FLAGS,
        }
    ),
)
