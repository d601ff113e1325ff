"""Which queue a task waits in: `task_routes`, `task_queues` and what they may hold in Celery."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields
from typing import Any

from taskflow.errors import ConfigError, nearest
from taskflow.policy import Options
from taskflow.settings.named import named
from taskflow.settings.values import Settings

__all__ = ["queues", "route"]

Pairs = Mapping[Any, Any] | Iterable[tuple[Any, Any]]
Router = Callable[..., Any]

_ADDRESS = ("exchange", "routing_key")
_WITHOUT_MEANING = frozenset(
    (
        "compression",
        "correlation_id",
        "delivery_mode",
        "exchange_type",
        "headers",
        "immediate",
        "mandatory",
        "producer",
        "reply_to",
        "retry",
        "retry_policy",
        "serializer",
    )
)
_KNOWN = frozenset(f.name for f in fields(Options)) - {"retry"}


def queues(conf: Settings) -> tuple[str, ...]:
    """The names of the queues that a worker of the app serves unless told otherwise.

    Raises:
        ConfigError: `task_queues` holds something that has no name.

    Example:
        >>> queues(Settings({"task_queues": ["high", {"name": "low"}]}, discover=False))
        ('high', 'low')
    """
    given = conf.task_queues
    if not given:
        return (conf.task_default_queue,)
    if isinstance(given, str):
        given = [name.strip() for name in given.split(",")]
    return tuple(dict.fromkeys(map(_name, given)))


def route(
    conf: Settings,
    name: str,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    options: Mapping[str, Any] | None = None,
    *,
    task: Any = None,
) -> dict[str, Any]:
    """What the settings say of the way of a call: its queue, its priority, or other options.

    What `options` say already is left as it is. Of several routers the first that answers counts; of the
    names in a dictionary first the one that is the task's own, then patterns in their order.

    Args:
        conf: The settings of the app.
        name: The task's name.
        args: Its arguments, for routers that are functions.
        kwargs: The same.
        options: What the call says of itself.
        task: The task, where it is known.

    Returns:
        Values for `Options`; nothing where nothing is said.

    Raises:
        ConfigError: The queue is not one of `task_queues`, and `task_create_missing_queues` is off; a router
            names an option that does not exist; or nothing has that address.

    Example:
        >>> conf = Settings({"task_routes": {"shop.*": {"queue": "web", "priority": 5}}}, discover=False)
        >>> route(conf, "shop.add"), route(conf, "shop.add", options={"queue": "slow"}), route(conf, "other")
        ({'queue': 'web', 'priority': 5}, {'priority': 5}, {})
    """
    said = {key: value for key, value in (options or {}).items() if value is not None}
    found = _asked(conf, name, args, kwargs or {}, said, task) if conf.task_routes else {}
    wanted = said | found if "queue" not in said else said
    if "queue" not in wanted and any(key in wanted for key in _ADDRESS):
        found["queue"] = _at(conf, wanted)
    known = {key: _checked(key, value, name) for key, value in found.items() if key not in said}
    known = {key: value for key, value in known.items() if key in _KNOWN}
    queue = said.get("queue") or known.get("queue")
    if queue is not None and not conf.task_create_missing_queues and _name(queue) not in queues(conf):
        raise ConfigError(
            f"{name} goes to the queue {_name(queue)!r}, which task_queues does not name."
            f"{nearest(_name(queue), queues(conf))}"
        )
    return known


def _asked(
    conf: Settings,
    name: str,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    options: Mapping[str, Any],
    task: Any,
) -> dict[str, Any]:
    given = conf.task_routes
    for router in map(named, given if isinstance(given, (list, tuple)) else [given]):
        answer = _answer(router, name, args, kwargs, options, task)
        if answer is not None:
            return {"queue": answer} if isinstance(answer, str) or hasattr(answer, "name") else dict(answer)
    return {}


def _answer(
    router: Any,
    name: str,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    options: Mapping[str, Any],
    task: Any,
) -> Any:
    if isinstance(router, (Mapping, list, tuple)):
        return _looked_up(router, name)
    if hasattr(router, "route_for_task"):
        return router.route_for_task(name, args, kwargs)
    if callable(router):
        return router(name, args, kwargs, options, task=task)
    raise ConfigError(
        f"task_routes={router!r} is not possible: use a dictionary by names of tasks, a function, or a list"
        " of these."
    )


def _looked_up(pairs: Pairs, name: str) -> Any:
    listed = list(pairs.items() if isinstance(pairs, Mapping) else pairs)
    for key, answer in listed:
        if key == name:
            return answer
    for key, answer in listed:
        if isinstance(key, re.Pattern) and key.match(name):
            return answer
        if isinstance(key, str) and "*" in key and fnmatch.fnmatchcase(name, key):
            return answer
    return None


def _checked(option: str, value: Any, name: str) -> Any:
    if option in _KNOWN:
        return _name(value) if option == "queue" else value
    if option in (*_WITHOUT_MEANING, *_ADDRESS):
        return None
    raise ConfigError(f"task_routes gives {name} the option {option!r}.{nearest(option, _KNOWN)}")


def _at(conf: Settings, address: Mapping[str, Any]) -> str:
    """The queue that has an address of AMQP: its routing key, and its exchange when that is said."""
    for queue in conf.task_queues or ():
        spec = _spec(conf, queue)
        if all(address.get(part) in (None, spec[part]) for part in _ADDRESS):
            return spec["name"]
    if address.get("routing_key"):
        return str(address["routing_key"])
    raise ConfigError(f"No queue of task_queues has {dict(address)}: name a queue.")


def _spec(conf: Settings, queue: Any) -> dict[str, str]:
    """Name, exchange and routing key of a queue, which is text, a dictionary, or has them as attributes."""
    if isinstance(queue, str) and isinstance(conf.task_queues, Mapping):
        queue = {"name": queue} | dict(conf.task_queues[queue] or {})
    name = _name(queue)
    exchange = _part(queue, "exchange")
    return {
        "name": name,
        "exchange": str(getattr(exchange, "name", exchange) or name),
        "routing_key": str(_part(queue, "routing_key") or _part(queue, "binding_key") or name),
    }


def _part(queue: Any, part: str) -> Any:
    return queue.get(part) if isinstance(queue, Mapping) else getattr(queue, part, None)


def _name(queue: Any) -> str:
    """The name of a queue: text, a dictionary with a name, or an object that has one, such as kombu's."""
    found = queue.get("name") if isinstance(queue, Mapping) else getattr(queue, "name", queue)
    if not isinstance(found, str) or not found:
        raise ConfigError(f"The queue {queue!r} has no name: use text, or an object with a `name`.")
    return found
