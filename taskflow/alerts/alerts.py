"""`Alerts`: what is looked for in a store, and whom to tell; ``client.alerts``."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from taskflow.alerts.book import Alert, Book
from taskflow.alerts.functions import function_to
from taskflow.alerts.grammar import parse
from taskflow.alerts.measuring import Filter, Look, Tail
from taskflow.alerts.places import Callback, Email, Log, Place, Webhook, place_from
from taskflow.alerts.state import Due, Standing
from taskflow.alerts.watching import Home, Watch, notice_of, see
from taskflow.errors import ConfigError, UsageError, nearest
from taskflow.ids import new_id
from taskflow.pools import context
from taskflow.tables import rows_or_frame

__all__ = ["Alerts"]

COOLDOWN_S = 300.0
_LOG = (Log(),)
_COLUMNS = ("name", "when", "state", "since", "now", "notify", "enabled", "error")
_KINDS = (Log, Callback, Webhook, Email)


class Alerts:
    """What is looked for in a store, kept there, sealed with the user's key.

    Whoever watches looks every five seconds: the process that added an alert, as long as its client is open,
    and ``taskflow alerts run``; any number of them at once. A notice is delivered by one of them, once; when
    that one dies while it delivers, another delivers it once more, with the same id.

    Args:
        home: Whose alerts.
        clock: Seconds since the epoch; the clock of the store by default.

    Example:
        ``client.alerts.add("failing", "failure_rate > 5% for 5m", notify=[Webhook(url)])``
    """

    def __init__(self, home: Home, *, clock: Callable[[], float] | None = None) -> None:
        self._home, self._clock = home, clock or home.store.now
        self._book = Book(home.store, home.codec.keyring)

    # ── changing ─────────────────────────────────────────────────────────────────────

    def add(
        self,
        name: str,
        when: str | Callable[[Look], bool | None],
        notify: Place | Sequence[Place] = _LOG,
        *,
        cooldown: float = COOLDOWN_S,
        queue: str = "",
        task: str = "",
        window: float = 60.0,
        for_s: float = 0.0,
        enabled: bool = True,
        watch: bool = True,
    ) -> None:
        """Look for something, and tell somebody when it begins and when it is over.

        An alert of that name is replaced.

        Args:
            name: By which it is found, and which is told.
            when: A condition, such as ``"failure_rate > 5% for 5m"``, see `taskflow.alerts.grammar`; or a
                function that is given a `Look` and says whether it holds, or `None` when nobody can know.
            notify: `Log`, `Callback`, `Webhook`, `Email`: one or several.
            cooldown: After it was told that it fires, it is not told again for so many seconds; nor that it
                is over, unless it was told that it fires.
            queue: Speak of this queue only.
            task: Speak of tasks of this name only; ``*`` and ``?`` stand for anything.
            window: How long what has ended counts for shares, numbers and times, seconds.
            for_s: How long a function has to be true, seconds.
            enabled: Whether it is looked for.
            watch: Look from this process too, in a thread, until the client is closed.

        Raises:
            ConfigError: Something of it is impossible; the message says where, and nothing was stored.
            CannotPickle: A function cannot travel.
        """
        if not isinstance(name, str) or not name.strip() or not name.isprintable():
            raise ConfigError(f"name={name!r} is not possible: an alert has a text of one line as its name.")
        alert = self._made(when, notify, cooldown, Filter(queue, task, window), for_s, enabled)
        self._book.change(lambda alerts: {**alerts, name: alert})
        if watch and not context.inside():
            self.watch()

    def _made(
        self, when: Any, notify: Any, cooldown: float, of: Filter, for_s: float, enabled: bool
    ) -> Alert:
        for option, value in (("cooldown", cooldown), ("for_s", for_s)):
            if not value >= 0:
                raise ConfigError(f"{option}={value!r} is not possible: use a number of seconds, 0 or more.")
        if not of.window_s > 0:
            raise ConfigError(f"window={of.window_s!r} is not possible: use a number of seconds above 0.")
        fn = None
        if callable(when):
            fn, text = function_to(self._home.codec, when), self._home.codec.describe(when)
        elif not isinstance(when, str):
            raise ConfigError(f"when={when!r} is not possible: use a condition, or a function of a Look.")
        elif for_s:
            raise ConfigError("for_s= is for functions: write it into the condition, 'dead > 0 for 5m'.")
        else:
            text = parse(when).text
        places = [notify] if isinstance(notify, _KINDS) else list(notify)
        if not places or not all(isinstance(place, _KINDS) for place in places):
            known = ", ".join(kind.__name__ for kind in _KINDS)
            raise ConfigError(f"notify={notify!r} is not possible: use one or several of {known}.")
        told = tuple({"kind": place.kind, **place.to_json(self._home.codec)} for place in places)
        pair = None if fn is None else (fn[0], fn[1])
        return Alert(new_id(), text, pair, told, float(for_s), float(cooldown), of, enabled)

    def pause(self, name: str) -> None:
        """Look for it no more, until `resume`.

        Raises:
            UsageError: There is none of that name (the nearest is named).
        """
        self._alert(name)
        self._book.enable(name, False)

    def resume(self, name: str) -> None:
        """Look for it again."""
        self._alert(name)
        self._book.enable(name, True)

    def remove(self, name: str) -> None:
        """Forget it; nothing is told of that."""
        self._alert(name)
        self._book.change(lambda alerts: {other: one for other, one in alerts.items() if other != name})

    # ── looking ──────────────────────────────────────────────────────────────────────

    def rows(self) -> list[dict[str, Any]]:
        """The rows of `list`; `now` is what is measured at this moment."""
        alerts, standings, now = self._book.alerts(), self._book.standings(), self._clock()
        tail = Tail(self._home.store, max((alert.of.window_s for alert in alerts.values()), default=0.0))
        if alerts:
            tail.read_on(now)
        return [
            self._row(name, alert, standings.get(alert.uid, Standing()), tail, now)
            for name, alert in alerts.items()
        ]

    def list(self) -> Any:
        """The alerts and how they stand: one row each (a DataFrame with pandas)."""
        return rows_or_frame(self.rows(), _COLUMNS)

    def _row(self, name: str, alert: Alert, standing: Standing, tail: Tail, now: float) -> dict[str, Any]:
        # A function of somebody else is not called for a table.
        value = None if alert.fn is not None else see(alert, tail, self._home.codec, now).value
        return {
            "name": name,
            "when": alert.when,
            "state": standing.state,
            "since": standing.since,
            "now": value,
            "notify": ", ".join(_named(dict(told)) for told in alert.notify),
            "enabled": alert.enabled,
            "error": standing.error,
        }

    def test(self, name: str) -> None:
        """Tell all places of an alert at once that this is a test; how the alert stands stays as it is.

        Raises:
            UsageError: There is none of that name; or a place was not reached, which the message says.
        """
        alert = self._alert(name)
        notice = notice_of(name, alert, Due(0, "test", None, self._clock()), self._home.store.url)
        failed = []
        for told in alert.notify:
            try:
                place_from(dict(told), self._home.codec).tell(notice)
            except Exception as error:  # noqa: BLE001 - all places are tried
                failed.append(f"{told['kind']}: {type(error).__name__}: {error}")
        if failed:
            raise UsageError(f"The test of alert {name!r} did not arrive. {'; '.join(failed)}")

    def __iter__(self) -> Iterator[str]:
        return iter(self._book.alerts())

    def __len__(self) -> int:
        return len(self._book.alerts())

    def _alert(self, name: str) -> Alert:
        alerts = self._book.alerts()
        if name not in alerts:
            raise UsageError(f"There is no alert {name!r}.{nearest(name, alerts)}")
        return alerts[name]

    # ── watching ─────────────────────────────────────────────────────────────────────

    def watch(self) -> None:
        """Look from this process too, in a thread, until the client is closed."""
        with _lock:
            if self._home not in _watches:
                _watches[self._home] = Watch(self._home).start()
                self._home.when_closed(self._watch_no_more)

    def _watch_no_more(self) -> None:
        with _lock:
            watch = _watches.pop(self._home)
        watch.close()


_watches: dict[Home, Watch] = {}
_lock = threading.Lock()


def _named(told: dict[str, Any]) -> str:
    """A place, in a word; functions are not opened for that."""
    return "callback" if told["kind"] == Callback.kind else str(place_from(told, None))  # type: ignore[arg-type]
