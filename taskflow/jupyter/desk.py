"""Who answers questions about runs, whichever of the stores they are in. All of it may block."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from taskflow.errors import NoSuchRun, UsageError, nearest
from taskflow.ids import RunId
from taskflow.jupyter.rows import Row, run_row, worker_row
from taskflow.jupyter.shelf import TROUBLE, Shelf
from taskflow.observe.asking import act, answer
from taskflow.observe.overview import worker_rows
from taskflow.observe.snapshot import Snapshot, Watch
from taskflow.ports import Store
from taskflow.states import FAILURES, LIVE, State

__all__ = ["Desk"]

T = TypeVar("T")

PAGE_MOST, DEPTH_MOST = 200, 5000
THREADS = 4
_GROUPS: Mapping[str, tuple[State, ...]] = {"live": tuple(LIVE), "failed": tuple(FAILURES)}


class Desk:
    """The stores, and what is asked of them.

    Args:
        urls: The stores that are shown.
        read_only: Whether changes are refused.

    Attributes:
        threads: Those in which the questions of a server wait for their answers.
    """

    def __init__(self, urls: Callable[[], list[str]], *, read_only: bool = False) -> None:
        self.shelf = Shelf(urls)
        self.read_only = read_only
        self.threads = ThreadPoolExecutor(THREADS, thread_name_prefix="taskflow-panel")

    def stores(self) -> list[Row]:
        """How each store is: ``ok``, ``absent`` or ``away``."""
        return [
            {"store": place.shown, "state": place.state, "message": place.trouble}
            for place in self.shelf.places()
        ]

    def runs(self, *, page: int = 0, size: int = 50, match: str = "", state: str = "") -> dict[str, Any]:
        """A page of the runs of all stores, the newest first; what is away is left out, and said.

        Args:
            page: From 0.
            size: Runs on a page.
            match: Part of the name, or the beginning of the id.
            state: Of a state; ``"live"`` or ``"failed"`` for all states of that kind.

        Raises:
            UsageError: There is no such state, or no such page.
        """
        if not (page >= 0 and 1 <= size <= PAGE_MOST and (page + 1) * size <= DEPTH_MOST):
            raise UsageError(
                f"page={page}, size={size}: a page has at most {PAGE_MOST} runs, and only the newest"
                f" {DEPTH_MOST:,} can be paged through. Search with match= or state=."
            )
        states, depth = _states(state), (page + 1) * size
        found: list[Row] = []
        for place in self.shelf.places():
            try:
                views = place.ask(lambda s: s.runs(limit=depth + 1, states=states, match=match)) or []
            except TROUBLE:
                continue  # `stores` says so
            found += [run_row(view, place.shown) for view in views]
        found.sort(key=lambda row: row["created_at"], reverse=True)
        return {
            "stores": self.stores(),
            "runs": found[page * size : depth],
            "page": page,
            "size": size,
            "more": len(found) > depth,
            "read_only": self.read_only,
        }

    def snapshot(self, run: str) -> Snapshot:
        """A run as it stands.

        Raises:
            NoSuchRun: No store knows it; ResultExpired: one did.
        """
        return self._of(run, lambda store: Watch(store, RunId(run)).look())

    def ask(self, run: str, query: Mapping[str, Any]) -> dict[str, Any]:
        """Answer a question about a run; see `taskflow.observe.asking.answer`. No value is opened."""
        return self._of(run, lambda store: answer(store, RunId(run), query))

    def act(self, run: str, verb: str) -> dict[str, Any]:
        """``cancel`` a run, or ``retry`` it; see `taskflow.observe.asking.act`."""
        return self._of(run, lambda store: act(store, RunId(run), verb))

    def workers(self) -> list[Row]:
        """Those that serve the stores; of a store that is away nobody is known."""
        found: list[Row] = []
        for place in self.shelf.places():
            try:
                rows = place.ask(worker_rows) or []
            except TROUBLE:
                continue  # `stores` says so
            found += [worker_row(row, place.shown) for row in rows]
        return found

    def close(self) -> None:
        """Let go of the stores."""
        self.threads.shutdown(cancel_futures=True)
        self.shelf.close()

    def _of(self, run: str, question: Callable[[Store], T | None]) -> T:
        answer = self.shelf.place_of(run).ask(question)
        if answer is None:
            raise NoSuchRun(f"The store of run {run} was removed.")
        return answer


def _states(word: str) -> tuple[State, ...]:
    if not word:
        return ()
    if word in _GROUPS:
        return _GROUPS[word]
    try:
        return (State(word),)
    except ValueError:
        raise UsageError(
            f"There is no state {word!r}.{nearest(word, [*_GROUPS, *map(str, State)])}"
        ) from None
