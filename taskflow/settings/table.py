"""All settings, in one table, and by which names they are known."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

from taskflow.errors import UnknownSetting, nearest
from taskflow.settings.of_calls import APP, CALLS
from taskflow.settings.of_places import BROKER, RESULTS, SERVICES
from taskflow.settings.of_workers import BEAT, WORKERS
from taskflow.settings.option import Option

__all__ = [
    "GROUPS",
    "NAMESPACES",
    "OPTIONS",
    "PROFILES",
    "find",
    "is_ours",
    "name_of",
    "old_names",
    "unknown",
]

GROUPS: Mapping[str, tuple[Option, ...]] = MappingProxyType(
    {
        "The app": APP,
        "The store": BROKER,
        "Calls": CALLS,
        "Results": RESULTS,
        "Workers": WORKERS,
        "Beat": BEAT,
        "Other places for results": SERVICES,
    }
)
"""The settings as the documentation has them."""

OPTIONS: Mapping[str, Option] = MappingProxyType(
    {option.name: option for group in GROUPS.values() for option in group}
)
"""All settings, by name."""

NAMESPACES = ("CELERY", "TASKFLOW")
"""Before the name of any setting in upper case."""

PROFILES: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "production": MappingProxyType(
            {
                "task_time_limit": 3_600.0,
                "task_soft_time_limit": 3_540.0,
                "result_expires": 86_400.0,
                "worker_grace": 25.0,
                "worker_max_tasks_per_child": 10_000,
                "worker_wait_for_store": 60.0,
            }
        )
    }
)
"""Other defaults, by the name of the profile."""

_LIKE = 0.88
_OLD_SPACES = {
    "beat": "CELERYBEAT_",
    "cache": "CELERY_CACHE_",
    "task": "CELERY_",
    "worker": "CELERYD_",
}
_PLAIN = re.compile(r"(broker|azureblockblob|cassandra|control|cosmosdbsql|database|gcs|s3)_|enable_utc$")


def old_names(option: Option) -> tuple[str, ...]:
    """The upper-case names that Celery gave it before version 4.

    Example:
        >>> old_names(OPTIONS["worker_concurrency"]), old_names(OPTIONS["broker_url"])
        (('CELERYD_CONCURRENCY',), ('BROKER_URL',))
    """
    if option.ours or option.old:
        return option.old
    space, _, rest = option.name.partition("_")
    usual = option.name.upper()
    if not _PLAIN.match(option.name):
        usual = _OLD_SPACES[space] + rest.upper() if space in _OLD_SPACES else f"CELERY_{usual}"
    return (usual,)


_NAME_OF: dict[str, str] = {f"CELERY_{name.upper()}": name for name in OPTIONS}
_NAME_OF |= {f"TASKFLOW_{name.upper()}": name for name in OPTIONS}
_NAME_OF |= {old: name for name, option in OPTIONS.items() for old in old_names(option)}


def name_of(given: str) -> str | None:
    """The name of a setting by any of its names; `None` when there is none.

    Example:
        >>> name_of("CELERYD_CONCURRENCY"), name_of("CELERY_TASK_TIME_LIMIT"), name_of("DEBUG")
        ('worker_concurrency', 'task_time_limit', None)
    """
    return given if given in OPTIONS else _NAME_OF.get(given)


def is_ours(given: str) -> bool:
    """Whether a name that is not known is meant for us: lower case, or with a prefix of ours or Celery's."""
    return given == given.lower() or given.startswith(("CELERY_", "TASKFLOW_", "CELERYD_", "CELERYBEAT_"))


def looks_known(given: str) -> bool:
    """Whether a name that is not known is probably a setting's, mistyped.

    Example:
        >>> looks_known("CELERYD_CONCURENCY"), looks_known("CELERY_EMAIL_CHUNK_SIZE")
        (True, False)
    """
    known = OPTIONS if given == given.lower() else _NAME_OF
    return bool(difflib.get_close_matches(given, known, n=1, cutoff=_LIKE))


def find(given: str) -> Option:
    """A setting by any of its names.

    Raises:
        UnknownSetting: There is none; the message names the nearest.
    """
    name = name_of(given)
    if name is None:
        raise unknown(given)
    return OPTIONS[name]


def unknown(given: str, where: str = "") -> UnknownSetting:
    """The error for a name that no setting has."""
    known = tuple(_spellings(given))
    near = nearest(given, known) or nearest(given.lower(), OPTIONS)
    return UnknownSetting(f"There is no setting {given!r}{where}.{near} All are in docs/settings.md.")


def _spellings(given: str) -> Iterator[str]:
    yield from OPTIONS if given == given.lower() else _NAME_OF
