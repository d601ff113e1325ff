"""Connections to servers, shared by the adapters that speak to one."""

from __future__ import annotations

from urllib.parse import urlsplit

__all__ = ["shown"]


def shown(url: str) -> str:
    """A URL as it may be printed: without the password.

    Example:
        >>> shown("redis://team:secret@host:6379/0?namespace=a")
        'redis://team:***@host:6379/0?namespace=a'
    """
    parts = urlsplit(url)
    account, at, places = parts.netloc.rpartition("@")
    if ":" not in account:
        return url
    hidden = f"{account.partition(':')[0]}:***{at}{places}"
    return f"{parts.scheme}://{hidden}{parts.path}{parts.query and '?'}{parts.query}"
