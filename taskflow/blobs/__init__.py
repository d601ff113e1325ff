"""Where large bytes lie, by name; one file for each kind of place."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from taskflow.ports import Blobs

__all__ = ["open_blobs"]


def open_blobs(place: str) -> Blobs:
    """The blobs at a place: a directory, or the URL of a store on a server.

    A server is asked when the first blob is: until then a process may still fork.
    """
    if "://" not in place:
        from taskflow.blobs.files import FileBlobs

        return FileBlobs(place)
    from taskflow.blobs.cached import cached

    return cached(place)
