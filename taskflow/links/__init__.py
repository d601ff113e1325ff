"""Connections to servers, shared by the adapters that speak to one."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

__all__ = ["shown"]


def shown(url: str) -> str:
    """A URL as it may be printed: without passwords.

    Example:
        >>> shown("redis://team:secret@host:6379/0?namespace=a")
        'redis://team:***@host:6379/0?namespace=a'
    """
    parts = urlsplit(url)
    query = re.sub(r"((?:^|&)[a-z_]*password=)[^&]*", r"\1***", parts.query)
    account, at, places = parts.netloc.rpartition("@")
    if ":" not in account and query == parts.query:
        return url
    hidden = f"{account.partition(':')[0]}:***{at}{places}" if ":" in account else parts.netloc
    return f"{parts.scheme}://{hidden}{parts.path}{query and '?'}{query}"
