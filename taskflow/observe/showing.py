"""Who shows a run to a person while somebody waits for it: a notebook says so when it loads taskflow."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import AbstractAsyncContextManager, AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from taskflow.ids import RunId
    from taskflow.ports import Store

__all__ = ["Shower", "awaited", "bundle", "during", "origin", "show_by", "shower", "shown_by"]


class Shower(Protocol):
    """Shows handles of runs."""

    def show(self, handle: Any, /) -> None:
        """Show a handle here and now; it goes on moving until its run has ended."""
        ...

    def during(self, handle: Any, /) -> AbstractContextManager[object]:
        """Have a handle shown while it is waited for, unless it is shown already."""
        ...

    def awaited(self, handle: Any, /) -> AbstractAsyncContextManager[object]:
        """The same where that is waited for in an event loop, which goes on meanwhile."""
        ...

    def origin(self) -> Mapping[str, str]:
        """Where what is submitted now comes from: ``notebook`` and ``cell``, where that is known."""
        ...

    def ended(self, future: Any, /) -> None:
        """Show what a task has printed whose result somebody has waited for."""
        ...

    def leaves_running(self, handles: Iterable[Any], /) -> bool:
        """Whether a person who has interrupted a wait for these wants them to go on; else they end."""
        ...

    def close(self) -> None:
        """Show nothing more: what is shown stays as it is."""
        ...


_shower: Shower | None = None


def show_by(new: Shower | None) -> None:
    """Have runs shown by this one from now on; by nobody with `None`."""
    global _shower  # noqa: PLW0603 - one per process, on purpose: a process has one screen
    _shower = new


def origin() -> Mapping[str, str]:
    """Where what is submitted now comes from, if it is a cell of a notebook."""
    return {} if _shower is None else _shower.origin()


def during(handle: Any) -> AbstractContextManager[object]:
    """Have a handle shown while it is waited for, where anybody shows handles."""
    return nullcontext() if _shower is None else _shower.during(handle)


def awaited(handle: Any) -> AbstractAsyncContextManager[object]:
    """Have a handle shown while an event loop waits for it, where anybody shows handles."""
    return nullcontext() if _shower is None else _shower.awaited(handle)


def shown_by(handle: Any) -> None:
    """Show a handle, if anybody shows handles here.

    Raises:
        NotImplementedError: Nobody does: IPython asks the handle for its other faces.
    """
    if _shower is None:
        raise NotImplementedError
    _shower.show(handle)


def bundle(store: Store, run: RunId, text: str) -> dict[str, Any]:
    """How a run stands, as text, as HTML, and as a snapshot that JupyterLab draws."""
    from taskflow.observe.page import to_html
    from taskflow.observe.snapshot import MIME, Watch

    watch = Watch(store, run)
    snapshot = watch.look()
    assert snapshot is not None
    return {"text/plain": text, "text/html": to_html(snapshot, watch.picture()), MIME: snapshot}


def shower() -> Shower | None:
    """Who shows runs here, if anybody does."""
    return _shower
