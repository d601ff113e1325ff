"""`Watch`: looks at what alerts ask for, every few seconds, and delivers notices.

Any number of watches may look at the same store. Each sees how alerts stand and says how they stand now, by
changing one posted text; who has changed it so that a notice is due, or has claimed one that is, is one.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, Protocol

from taskflow.alerts.book import Alert, Book
from taskflow.alerts.functions import function_from
from taskflow.alerts.measuring import Look, Tail
from taskflow.alerts.places import Notice, Place, place_from
from taskflow.alerts.state import Due, Standing, after_look, claimed, delivered
from taskflow.codec import Codec
from taskflow.errors import StoreError
from taskflow.ids import new_id
from taskflow.links import shown
from taskflow.ports import Store

__all__ = ["Home", "Seen", "Watch", "notice_of", "see"]

log = logging.getLogger(__name__)

LOOK_S = 5.0
MOST_AT_ONCE = 8


class Home(Protocol):
    """What a client has that alerts need."""

    @property
    def store(self) -> Store:
        """The store."""
        ...

    @property
    def codec(self) -> Codec:
        """Opens functions; its keyring seals what is posted."""
        ...

    def when_closed(self, stop: Callable[[], None], /) -> None:
        """Have this called before the store is closed."""
        ...


class Seen(NamedTuple):
    """What a condition is at a moment: whether it holds, and what was measured; `None` where nobody knows."""

    holds: bool | None
    value: float | None


def see(alert: Alert, tail: Tail, codec: Codec, now: float) -> Seen:
    """Look whether the condition of an alert holds."""
    look = Look(tail, alert.of, now)
    condition = alert.condition
    if condition is None:
        assert alert.fn is not None
        answer = function_from(codec, list(alert.fn))(look)
        return Seen(None if answer is None else bool(answer), None)
    value = look.measure(condition.measure)
    return Seen(None if value is None else condition.holds(value), value)


def notice_of(name: str, alert: Alert, due: Due, url: str) -> Notice:
    """What is told of an alert."""
    of = alert.of
    number = f"{alert.uid}/{due.number}"
    return Notice(name, due.state, alert.when, due.value, due.at, shown(url), of.queue, of.task, number)


class Watch:
    """Looks every few seconds, until it is stopped.

    Args:
        home: Whose alerts.
        look_s: How often, seconds.
        clock: Seconds since the epoch; the clock of the store by default, by which all who watch agree.
    """

    def __init__(
        self, home: Home, *, look_s: float = LOOK_S, clock: Callable[[], float] | None = None
    ) -> None:
        self._home, self._look_s = home, look_s
        self._clock = clock or home.store.now
        self._book = Book(home.store, home.codec.keyring)
        self._tail = Tail(home.store, 0.0)
        self._name = new_id()
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        self._wrong: dict[str, str] = {}

    # ── living ───────────────────────────────────────────────────────────────────────

    def run(self) -> None:
        """Look until `stop` is called; while the store is away, wait for it."""
        while not self._stopped.is_set():
            try:
                self.look()
            except StoreError as error:
                self._say("", f"alerts are not looked at: {error}")
            except Exception as error:  # noqa: BLE001 - the next look may fare better
                if not self._stopped.is_set():
                    self._say("", f"alerts are not looked at: {type(error).__name__}: {error}")
            self._stopped.wait(self._look_s)

    def start(self) -> Watch:
        """Do so in a thread of this process, which does not keep it alive."""
        if self._thread is None:
            self._thread = threading.Thread(target=self.run, name="taskflow-alerts", daemon=True)
            self._thread.start()
        return self

    def stop(self) -> None:
        """End after the look that goes on; may be called from a signal handler."""
        self._stopped.set()

    def close(self) -> None:
        """Stop, and wait for the thread."""
        self.stop()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()

    # ── one look ─────────────────────────────────────────────────────────────────────

    def look(self) -> int:
        """Look once, and deliver what is due; how many notices that were."""
        now = self._clock()
        alerts = {name: alert for name, alert in self._book.alerts().items() if alert.enabled}
        if not alerts:
            return 0
        seen = self._seen(alerts, now)
        by_uid = {alert.uid: (name, alert) for name, alert in alerts.items()}

        def edit(uid: str, standing: Standing) -> Standing:
            if uid not in by_uid:
                return standing
            name, alert = by_uid[uid]
            if name in seen:
                standing = after_look(standing, *seen[name], now, for_s(alert), alert.cooldown_s)
            return claimed(standing, self._name, now)

        standings = self._book.settle(edit)
        mine = {
            uid: standing.due[0]
            for uid, standing in standings.items()
            if standing.due and standing.due[0].by == self._name and standing.due[0].until > now
        }
        if mine:
            self._deliver({uid: (*by_uid[uid], due) for uid, due in mine.items() if uid in by_uid})
        return len(mine)

    def _seen(self, alerts: Mapping[str, Alert], now: float) -> dict[str, Seen]:
        self._tail.keep_s = max(alert.of.window_s for alert in alerts.values())
        self._tail.read_on(now)
        seen = {}
        for name, alert in alerts.items():
            try:
                seen[name] = see(alert, self._tail, self._home.codec, now)
                self._wrong.pop(name, None)
            except StoreError:
                raise
            except Exception as error:  # noqa: BLE001 - one condition that fails is no reason to leave the others
                self._say(name, f"alert {name!r} cannot be looked at: {type(error).__name__}: {error}")
        return seen

    def _say(self, name: str, words: str) -> None:
        """Warn, but not of the same thing at each look."""
        if self._wrong.get(name) != words:
            self._wrong[name] = words
            log.warning("%s", words)

    def _deliver(self, due: Mapping[str, tuple[str, Alert, Due]]) -> None:
        with ThreadPoolExecutor(MOST_AT_ONCE, thread_name_prefix="taskflow-notices") as threads:
            told = {
                uid: {
                    number: threads.submit(self._tell, place, self._notice(name, alert, one))
                    for number, place in enumerate(alert.notify)
                    if one.left is None or number in one.left
                }
                for uid, (name, alert, one) in due.items()
            }
        failed = {
            uid: {number: words for number, future in futures.items() if (words := future.result())}
            for uid, futures in told.items()
        }
        now = self._clock()
        self._book.settle(
            lambda uid, standing: (
                delivered(standing, due[uid][2], failed[uid], now) if uid in due else standing
            )
        )

    def _notice(self, name: str, alert: Alert, due: Due) -> Notice:
        return notice_of(name, alert, due, self._home.store.url)

    def _tell(self, told: Mapping[str, object], notice: Notice) -> str:
        """What went wrong; empty when it was delivered."""
        try:
            place: Place = place_from(dict(told), self._home.codec)
            place.tell(notice)
        except Exception as error:  # noqa: BLE001 - it is written down, and tried again
            words = f"{told.get('kind')}: {type(error).__name__}: {error}"
            log.warning("a notice of alert %r did not arrive: %s", notice.alert, words)
            return words
        return ""


def for_s(alert: Alert) -> float:
    """How long its condition has to hold."""
    condition = alert.condition
    return alert.for_s if condition is None else condition.for_s
