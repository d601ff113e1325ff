"""Things that settings name in words: ``"shop.routing:route"``."""

from __future__ import annotations

import functools
import importlib
from typing import Any

from taskflow.errors import ConfigError

__all__ = ["named"]


def named(thing: Any) -> Any:
    """What text names, as ``"module:name"`` or ``"module.name"``; anything else as it is. A class is made.

    Raises:
        ConfigError: There is nothing of that name.

    Example:
        >>> named("collections:OrderedDict")
        OrderedDict()
    """
    return _found(thing) if isinstance(thing, str) else thing


@functools.lru_cache(maxsize=256)
def _found(name: str) -> Any:
    module, colon, path = name.partition(":")
    if not colon:
        module, _, path = name.rpartition(".")
    try:
        thing: Any = importlib.import_module(module)
        for part in path.split("."):
            thing = getattr(thing, part)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(f"{name!r} in the settings names nothing: {error}. Write module:name.") from error
    return thing() if isinstance(thing, type) else thing
