"""Where settings come from: objects, modules, dictionaries, the environment, a file in the working directory.

What a source says is taken by these rules. Names in lower case and names with ``CELERY_`` or ``TASKFLOW_``
before them are meant for us: one that is not known is an error when it looks like one that is, and told in
the log otherwise, since other packages use the prefix too. Other names in upper case, such as Flask's
``DEBUG``, are somebody else's. In a dictionary every name in lower case has to be a setting; a module or
class may have names of its own, unless they look like a mistyped setting.
"""

from __future__ import annotations

import importlib
import inspect
import logging
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from taskflow.errors import ConfigError
from taskflow.settings.table import NAMESPACES, OPTIONS, is_ours, looks_known, name_of, unknown

__all__ = ["CONFIG_MODULES", "environment", "found", "given_by", "settled"]

CONFIG_MODULES = ("taskflowconfig", "celeryconfig")
"""Modules in the working directory that an app without other configuration reads; the first that is there."""

_MODULE_VARIABLES = ("TASKFLOW_CONFIG_MODULE", "CELERY_CONFIG_MODULE")
_FROM_ENVIRONMENT = ("broker_url", "broker_read_url", "broker_write_url", "result_backend")
"""What Celery reads from variables with its own prefix."""

_ZONE_OF_DJANGO = "TIME_ZONE"

log = logging.getLogger("taskflow.settings")


def given_by(source: object | str) -> tuple[Mapping[str, Any], str, bool]:
    """What a source has, by its own names.

    Args:
        source: A dictionary, an object, class or module, or text that names one: ``"celeryconfig"``,
            ``"django.conf:settings"``, ``"shop.config.Production"``.

    Returns:
        Names and values, what the source is called, and whether it may have names of its own.

    Raises:
        ConfigError: There is no such module or name.
    """
    where = f"{source}" if isinstance(source, str) else ""
    source = _imported(source) if isinstance(source, str) else source
    if isinstance(source, Mapping):
        return source, where or "a dictionary", False
    where = where or getattr(source, "__name__", None) or type(source).__name__
    return _attributes(source), where, True


def settled(
    given: Mapping[str, Any], where: str, *, namespace: str | None = None, roomy: bool = False
) -> dict[str, Any]:
    """The settings among names and values, by their own names and checked.

    Args:
        given: What a source has.
        where: What it is called, for errors.
        namespace: Only names with this and ``_`` before them are meant.
        roomy: It may have names of its own.

    Raises:
        ConfigError: A name is not known (the nearest is named), is given twice, or its value is impossible;
            or names in lower and upper case are mixed.
    """
    meant: dict[str, tuple[str, Any]] = {}
    for name, value in given.items():
        if not isinstance(name, str):
            raise ConfigError(f"{where} has the key {name!r}: names of settings are text.")
        option = _meant(name, value, where, namespace, roomy)
        if option is None:
            continue
        checked = OPTIONS[option].check(value)
        if option in meant and meant[option][1] != checked:
            raise ConfigError(
                f"{where} says {meant[option][0]} and {name}, and they are the same setting: keep one."
            )
        meant[option] = (name, checked)
    if namespace is None:
        _check_mixed({name: option for option, (name, _) in meant.items()}, where)
    values = {option: value for option, (_, value) in meant.items()}
    if "timezone" not in values and given.get(_ZONE_OF_DJANGO):
        values["timezone"] = OPTIONS["timezone"].check(given[_ZONE_OF_DJANGO])
    return values


def environment(variables: Mapping[str, str] = os.environ) -> dict[str, tuple[Any, str]]:
    """What the environment says, and in which variable.

    Any setting is read from ``TASKFLOW_`` and its name in upper case; those that Celery reads also from
    ``CELERY_``. An empty variable says nothing.

    Raises:
        ConfigError: A value is impossible.

    Example:
        >>> environment({"TASKFLOW_TASK_TIME_LIMIT": "60", "TASKFLOW_URL": "runs.db"})
        {'task_time_limit': (60.0, '$TASKFLOW_TASK_TIME_LIMIT')}
    """
    said = {}
    for name, option in OPTIONS.items():
        spaces = reversed(NAMESPACES) if name in _FROM_ENVIRONMENT else NAMESPACES[1:]
        for variable in (f"{space}_{name.upper()}" for space in spaces):
            if variables.get(variable):
                said[name] = (option.check(variables[variable]), f"${variable}")
                break
    return said


def found() -> str | None:
    """The module with settings that an app reads when nobody names one; `None` when there is none.

    That of ``$TASKFLOW_CONFIG_MODULE`` or ``$CELERY_CONFIG_MODULE``, else `CONFIG_MODULES` of the working
    directory.
    """
    for variable in _MODULE_VARIABLES:
        if os.environ.get(variable):
            return os.environ[variable]
    return next((name for name in CONFIG_MODULES if Path(f"{name}.py").is_file()), None)


def _meant(name: str, value: Any, where: str, namespace: str | None, roomy: bool) -> str | None:
    """The setting that a name of a source means, if it means one."""
    if namespace is not None:
        return _in_namespace(name, where, namespace)
    option = name_of(name)
    if option is not None or not is_ours(name) or name in NAMESPACES:
        return option
    if name == name.lower():
        if roomy and (_is_code(value) or not looks_known(name)):
            return None
        raise unknown(name, f", which {where} sets")
    _tell_stray(name, where)
    return None


def _in_namespace(name: str, where: str, namespace: str) -> str | None:
    prefix = namespace.upper() + "_"
    if not name.upper().startswith(prefix):
        if name_of(name) is not None and name != name.lower() and namespace.upper() in NAMESPACES:
            log.warning(
                "%s sets %s, which is not read with the namespace %s: write %s%s",
                where,
                name,
                namespace,
                prefix,
                (name_of(name) or "").upper(),
                extra={"action": "ignore"},
            )
        return None
    option = name[len(prefix) :].lower()
    known = option if option in OPTIONS else name_of(name)
    if known is None:
        _tell_stray(name, where)
    return known


def _tell_stray(name: str, where: str) -> None:
    """A name with our prefix that no setting has: a mistake, or another package's."""
    if looks_known(name):
        raise unknown(name, f", which {where} sets")
    log.warning("%s sets %s, which no setting is called; ignored", where, name, extra={"action": "ignore"})


def _is_code(value: Any) -> bool:
    return isinstance(value, (ModuleType, type)) or inspect.isroutine(value)


def _check_mixed(names: Mapping[str, str], where: str) -> None:
    lower = [name for name in names if name == name.lower()]
    upper = [name for name in names if name != name.lower()]
    if lower and upper:
        renamed = "\n".join(f"  {name} → {names[name]}" for name in sorted(upper))
        raise ConfigError(f"{where} mixes names in lower and upper case. Rename these:\n{renamed}")


def _attributes(source: object) -> dict[str, Any]:
    """What has a name that others may read; what raises when it is asked for is not there."""
    values = {}
    for name in dir(source):
        if not name.startswith("_"):
            try:
                values[name] = getattr(source, name)
            except AttributeError:
                continue
    return values


def _imported(name: str) -> object:
    module, colon, path = name.partition(":")
    with _working_directory_first():
        if colon:
            return _attribute(_module(module, name), path, name)
        try:
            return importlib.import_module(module)
        except ModuleNotFoundError as error:
            parent, dot, last = module.rpartition(".")
            if not dot or not (error.name and module.startswith(error.name)):
                raise _nowhere(name, error) from error
            return _attribute(_module(parent, name), last, name)


def _module(module: str, name: str) -> object:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise _nowhere(name, error) from error


def _nowhere(name: str, error: ModuleNotFoundError) -> ConfigError:
    return ConfigError(
        f"The settings {name!r} cannot be read: {error}. A module is looked for in the working directory,"
        " then where Python looks."
    )


def _attribute(found: object, path: str, name: str) -> object:
    for part in path.split("."):
        try:
            found = getattr(found, part)
        except AttributeError as error:
            raise ConfigError(f"The settings {name!r} cannot be read: {error}.") from error
    return found


@contextmanager
def _working_directory_first() -> Iterator[None]:
    """As Celery does: what lies beside the program is found, wherever Python was started from."""
    here = str(Path.cwd())
    if here in sys.path or "" in sys.path:
        yield
        return
    sys.path.insert(0, here)
    try:
        yield
    finally:
        sys.path.remove(here)
