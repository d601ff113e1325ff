"""The settings of where calls and results are kept."""

from __future__ import annotations

from taskflow.settings.kinds import FLAG, PLACE, SECONDS, STORE
from taskflow.settings.option import Option, Status, always, without_meaning

__all__ = ["BROKER", "RESULTS", "SERVICES"]

_OTHERWISE = Status.OTHERWISE
_WEEK_S = 7 * 86_400.0
_IN_URL = "it is a part of the URL in `broker_url`."
_ONE_STORE = "one store is written and read."
_AWAY = "who asks a server asks again while it is away, for 20 s; a worker for `worker_wait_for_store`."
_NO_AMQP = "it is a matter of AMQP."

BROKER = (
    Option(
        "broker_url",
        STORE,
        None,
        "The store, which keeps calls and results.",
        none="the embedded store, or $TASKFLOW_URL",
    ),
    Option(
        "broker_connection_retry",
        FLAG,
        True,
        "A worker waits while the server is away.",
        _OTHERWISE,
        always=True,
    ),
    Option(
        "broker_connection_retry_on_startup",
        FLAG,
        None,
        "With True a worker that starts waits for its server.",
        _OTHERWISE,
        "It waits for 60 s, or as long as `worker_wait_for_store` says.",
        none="False",
    ),
    *without_meaning(
        {
            "broker_read_url": _ONE_STORE,
            "broker_write_url": _ONE_STORE,
            "broker_transport": _IN_URL,
            "broker_host": _IN_URL,
            "broker_port": _IN_URL,
            "broker_user": _IN_URL,
            "broker_password": _IN_URL,
            "broker_vhost": _IN_URL,
            "broker_transport_options": "what a store takes is in its URL; a lease is renewed while its call"
            " runs, so that there is no visibility timeout.",
            "broker_use_ssl": "TLS is a URL that begins with `rediss://`, with its options in it.",
            "broker_connection_timeout": _AWAY,
            "broker_connection_max_retries": _AWAY,
            "broker_channel_error_retry": _AWAY,
            "broker_failover_strategy": "`redis+sentinel://` and `redis+cluster://` know their servers.",
            "broker_heartbeat": "a silent server is noticed by its answers.",
            "broker_heartbeat_checkrate": "a silent server is noticed by its answers.",
            "broker_login_method": _NO_AMQP,
            "broker_native_delayed_delivery_queue_type": _NO_AMQP,
            "broker_pool_limit": "a process has as many connections as it needs.",
            "broker_pool_acquire_timeout": "a process has as many connections as it needs.",
        }
    ),
)

RESULTS = (
    Option(
        "result_backend",
        PLACE,
        None,
        "Where results are put as well: `db+sqlite://…`, `db+postgresql://…`; the store keeps them anyway.",
        _OTHERWISE,
        "`rpc://` and the URL of a store add nothing.",
        none="the store",
    ),
    Option(
        "result_expires",
        SECONDS,
        _WEEK_S,
        "Runs that have ended, and their results, are forgotten by workers after so long.",
        Status.DIFFERS,
        "A week, because a result that is gone on Monday is missed; the store is bounded by"
        " `worker_keep_gb` as well.",
        unit="s",
        celery=86_400.0,
        none="never",
        old=("CELERY_TASK_RESULT_EXPIRES", "CELERY_RESULT_EXPIRES"),
    ),
    *always(
        {
            "result_extended": "Name, arguments, worker, retries and queue of a call are kept.",
            "result_persistent": "Results survive a restart of everything but the store.",
        }
    ),
    *without_meaning(
        {
            "result_failure_expires": "it is kept as long as a success.",
            "result_chord_expires": "the parts of a chord are kept as long as their run.",
            "result_chord_join_timeout": "nobody waits for a header: its last part queues the body.",
            "result_chord_retry_interval": "nobody polls for a header: its last part queues the body.",
            "result_cache_max": "a handle keeps the value that it was asked for.",
            "result_compression": "nothing is compressed.",
            "result_exchange": "there are no exchanges.",
            "result_exchange_type": "there are no exchanges.",
            "result_backend_transport_options": "what a store takes is in its URL.",
            "result_backend_always_retry": _AWAY,
            "result_backend_max_retries": _AWAY,
            "result_backend_base_sleep_between_retries_ms": _AWAY,
            "result_backend_max_sleep_between_retries_ms": _AWAY,
            "result_backend_thread_safe": "every handle may be used by any thread.",
            "override_backends": "a place for results is known by its URL.",
        },
        result_cache_max=("CELERY_MAX_CACHED_RESULTS", "CELERY_RESULT_CACHE_MAX"),
    ),
)

_ELSEWHERE = {
    "arangodb": ("ArangoDB", "backend_settings"),
    "azureblockblob": (
        "Azure Block Blob",
        "base_path connection_timeout container_name read_timeout retry_increment_base"
        " retry_initial_backoff_sec retry_max_attempts",
    ),
    "cache": ("a cache", "backend backend_options"),
    "cassandra": (
        "Cassandra",
        "auth_kwargs auth_provider bundle_path secure_bundle_path entry_ttl keyspace options port"
        " read_consistency servers table write_consistency",
    ),
    "cosmosdbsql": (
        "Cosmos DB",
        "collection_name consistency_level database_name max_retry_attempts max_retry_wait_time",
    ),
    "couchbase": ("Couchbase", "backend_settings"),
    "database": (
        "a database",
        "create_tables_at_setup engine_callback engine_options short_lived_sessions table_names"
        " table_schemas url",
    ),
    "elasticsearch": ("Elasticsearch", "max_retries retry_on_timeout save_meta_as_text timeout"),
    "firestore": ("Firestore", "project"),
    "gcs": ("Google Cloud Storage", "base_path bucket project threadpool_maxsize ttl"),
    "mongodb": ("MongoDB", "backend_settings"),
    "s3": ("S3", "access_key_id base_path bucket endpoint_url region secret_access_key"),
}
_OLD_NAMES = {
    "cassandra_table": ("CASSANDRA_TABLE", "CASSANDRA_COLUMN_FAMILY"),
    "database_url": ("CELERY_RESULT_DBURI",),
    "database_engine_options": ("CELERY_RESULT_ENGINE_OPTIONS",),
    "database_short_lived_sessions": ("CELERY_RESULT_DB_SHORT_LIVED_SESSIONS",),
    "database_table_names": ("CELERY_RESULT_DB_TABLENAMES", "CELERY_RESULT_DB_TABLE_NAMES"),
}
_REDIS = (
    "backend_credential_provider backend_health_check_interval backend_use_ssl client_name db host"
    " max_connections password port retry_on_timeout socket_connect_timeout socket_keepalive socket_timeout"
    " username"
)
_IN_DATABASES = "what is said of a database is in the URL in `result_backend`; its tables are ours."
SERVICES = (
    *without_meaning(
        {
            f"{space}_{word}": _IN_DATABASES
            if space == "database"
            else f"results are not put into {service}."
            for space, (service, words) in _ELSEWHERE.items()
            for word in words.split()
        },
        **_OLD_NAMES,
    ),
    *without_meaning(
        {f"redis_{word}": "what is said of a server is in the URL of the store." for word in _REDIS.split()}
    ),
)
