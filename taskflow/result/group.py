"""`GroupResult`: the result of a group, however many members it has."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from typing import Any, Self, cast

from taskflow.errors import TaskCancelled, UsageError
from taskflow.future import Future
from taskflow.ids import NodeId
from taskflow.observe import showing
from taskflow.records import Failure, NodeView
from taskflow.result.fields import GONE
from taskflow.result.revoking import revoke_node
from taskflow.result.sets import ResultSet
from taskflow.result.single import AsyncResult
from taskflow.result.words import UNREADY, WORDS, word
from taskflow.run import Handle, seconds_left
from taskflow.states import TERMINAL, State

__all__ = ["GroupResult"]


class GroupResult(AsyncResult, ResultSet):  # type: ignore[misc]  # unlike other sets it has a hash
    """The result of a group: a list of values, and a list of results.

    How it stands is read from the store for all members at once, and the handles of members are made
    when they are asked for: a group of a million members costs no more than one.
    """

    _is_group = True
    _members: list[AsyncResult] | None = None

    @property
    def id(self) -> str:  # type: ignore[override]
        """What `restore` finds it by: the id of the run; of a group inside a canvas with its place there."""
        return str(self.shape.id) if self._path is None else f"{self.run_id}{self._path}"

    @property
    def results(self) -> list[AsyncResult]:
        """The results of the members, in order."""
        if self._members is None:
            parts = enumerate(self.shape.items())
            self._members = [self._relative(part, str(index)) for index, part in parts]
            for member in self._members:
                member._ignored = self._ignored
        return self._members

    @property
    def children(self) -> list[AsyncResult]:
        """The same as `results`."""
        return self.results

    def __len__(self) -> int:
        return len(self.shape.members) if self.shape.members is not None else self.shape.width or 0

    def __bool__(self) -> bool:
        return True

    def __repr__(self) -> str:
        return f"<GroupResult: {self.id} of {len(self):,}>"

    def _become(self, results: Iterable[AsyncResult]) -> None:
        raise UsageError(
            "A GroupResult is what was sent: take ResultSet(group.results), results can be added to that."
        )

    # ── kept in the store ────────────────────────────────────────────────────────────

    def save(self, backend: Any = None) -> None:
        """Return when `restore` can find it: what was sent is in the store anyway. Where results are kept
        beside it, its members are written down there too, for when the store has forgotten them.

        Args:
            backend: Taken for Celery's sake.
        """
        self._engine.flush()
        keeper = self._engine.keeper
        if keeper is not None:
            keeper.keep_group(self.id, [member.id for member in self.results])
            for member in self.results:
                if isinstance(member, GroupResult):
                    member.save()

    def delete(self, backend: Any = None) -> None:
        """The same as `forget`: it cannot be restored after that."""
        self.forget()

    @classmethod
    def restore(cls, id: str, backend: Any = None, app: Any = None, *, client: Any = None) -> Self:  # noqa: A002
        """The result of a group that was sent, perhaps by another process.

        Args:
            id: Its `id`.
            backend: Taken for Celery's sake.
            app: Where it was sent to.
            client: Where it was sent to; the current client by default.

        Raises:
            NoSuchRun: The store knows no such group.
        """
        return cls(id, backend, app=app, client=client)

    # ── how it stands ────────────────────────────────────────────────────────────────

    @property
    def state(self) -> str:  # type: ignore[override]
        """The worst of its members': failed, revoked, retried, started, pending; else ``SUCCESS``."""
        words = self._words()
        order = ("FAILURE", "REJECTED", "REVOKED", "RETRY", "STARTED", "PENDING", "IGNORED")
        return next((word for word in order if words[word]), "SUCCESS")

    def ready(self) -> bool:
        """Whether all members have ended."""
        words = self._words()
        return not any(words[word] for word in UNREADY)

    def successful(self) -> bool:
        """Whether all members gave a value."""
        return not set(self._words()) - {"SUCCESS"}

    def failed(self) -> bool:
        """Whether any member has failed."""
        return self._words()["FAILURE"] > 0

    def completed_count(self) -> int:
        """How many members gave a value so far."""
        return self._words()["SUCCESS"]

    @property
    def date_done(self) -> datetime | None:
        """When its last member ended, in UTC."""
        ends = [view.ended_at for view in self._views().values()]
        known = [end for end in ends if end is not None]
        return datetime.fromtimestamp(max(known), UTC) if known and len(known) == len(ends) else None

    @property
    def name(self) -> None:
        """A group is not one task."""

    args = kwargs = worker = queue = name

    @property
    def retries(self) -> int:
        """How often its members were tried again, together."""
        return sum(member.retries for member in self.results)

    def _words(self) -> Counter[str]:
        """How many members are in each of Celery's states."""
        words: Counter[str] = Counter()
        try:
            views = self._views()
        except GONE:
            if self._engine.keeper is None:
                raise
            return Counter(member.state for member in self.results)
        if not views:
            if self.shape.parent is not None:  # the empty list is there when the step before is
                words[cast("AsyncResult", self.parent).state] = 1
            return words
        if self.shape.width is not None:
            words.update(dict(self._words_of_items(views[cast("NodeId", self.shape.node)])))
            return words
        known: dict[NodeId, list[str]] = {}
        for index, part in enumerate(self.shape.items()):
            if part.node is None or part.is_list:
                words[self._relative(part, str(index)).state] += 1
            elif part.index is None:
                words[word(views[part.node])] += 1
            else:
                if part.node not in known:
                    known[part.node] = self._word_of_each(part.node)
                words[known[part.node][part.index]] += 1
        return words

    def _words_of_items(self, view: NodeView) -> Counter[str]:
        words: Counter[str] = Counter()
        # What several words may be said of is looked at one by one.
        if not view.counts.keys().isdisjoint((State.WAITING, State.SKIPPED, State.DEAD)):
            words.update(self._word_of_each(view.id))
        else:
            for state, count in view.counts.items():
                words[WORDS[State(state)]] += count
        return +words

    def _word_of_each(self, node: NodeId) -> list[str]:
        rows = self._engine.store.items(node)
        return [word(row) for row in rows for _ in range(row.lo, row.hi)]

    def _views(self) -> dict[NodeId, NodeView]:
        return self._views_of(set(self.shape.nodes()))

    def _failure(self) -> Failure | None:
        for node, view in self._views().items():
            if view.state in TERMINAL or view.counts.get(State.FAILED) or view.counts.get(State.DEAD):
                for row in self._engine.store.items(node):
                    if row.error and WORDS[row.state] == "FAILURE":
                        return Failure.from_json(row.error)
                if view.error and WORDS[view.state] == "FAILURE":
                    return Failure.from_json(view.error)
        return None

    # ── waiting ──────────────────────────────────────────────────────────────────────

    def get(
        self,
        timeout: float | None = None,
        propagate: bool = True,
        interval: float = 0.5,
        no_ack: bool = True,
        follow_parents: bool = True,
        callback: Callable[[str, Any], object] | None = None,
        on_message: Callable[[dict[str, Any]], object] | None = None,
        on_interval: Callable[[], object] | None = None,
        disable_sync_subtasks: bool = True,
    ) -> Any:
        """Wait for the list of values; see `ResultSet.get`.

        Without `propagate` exceptions stand in their places. The empty list of a group without members
        is there when the step before it is.
        """
        __tracebackhide__ = True
        if self.parent is not None and next(self.shape.nodes(), None) is None:
            self.parent.get(timeout, propagate)
        with showing.during(self):
            if propagate and callback is None and on_message is None:
                try:
                    return AsyncResult.get(self, timeout)
                except GONE:
                    if self._engine.keeper is None:
                        raise
            return ResultSet.get(self, timeout, propagate, callback=callback, on_message=on_message)

    wait = get  # type: ignore[assignment]  # Celery's word for it

    def when_over(self, tell: Callable[[], object]) -> None:
        """Call a function when all members have ended: in a thread of the client, or now if that is so."""
        handles = [self._handle(node) for node in self.shape.nodes()]
        if not handles:
            (tell if self.parent is None else partial(self.parent.when_over, tell))()
            return
        left, lock = len(handles), threading.Lock()

        def one(*_: Any) -> None:
            nonlocal left
            with lock:
                left -= 1
                over = left == 0
            if over:
                tell()

        for handle in handles:
            if isinstance(handle, Future):
                handle.add_done_callback(one)
            else:
                handle.when_over(one)

    def _wait_over(self, timeout: float | None) -> None:
        deadline = None if timeout is None else time.monotonic() + timeout
        for node in self.shape.nodes():
            _wait_for(self._handle(node), seconds_left(deadline))

    @property
    def future(self) -> Future[Any]:
        """A group has none.

        Raises:
            UsageError: Always: take those of its members.
        """
        raise UsageError("A group is not one task: [member.future for member in result.results].")

    # ── control ──────────────────────────────────────────────────────────────────────

    def _revoke(self, terminate: bool, reason: str) -> bool:
        store = self._engine.store
        changed = [revoke_node(store, view, terminate, reason) for view in self._views().values()]
        return any(changed)


def _wait_for(handle: Handle, timeout: float | None) -> None:
    if isinstance(handle, Future):
        with suppress(TaskCancelled):
            handle.exception(timeout)
    else:
        handle.wait(timeout, progress=False)
