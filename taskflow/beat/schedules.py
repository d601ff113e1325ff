"""`Schedules`: what runs by itself in a store; ``client.schedules``."""

from __future__ import annotations

import logging
from collections.abc import Callable, ItemsView, Iterator, Mapping, ValuesView
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, NamedTuple

from taskflow.beat.book import Book, Entries
from taskflow.beat.entry import Entry, Missed, Overlap, instant
from taskflow.beat.listing import COLUMNS, TICKS, entries_html, entry_rows, tick_rows
from taskflow.beat.template import Template
from taskflow.beat.wanted import Wanted
from taskflow.canvas import Signature, maybe_signature
from taskflow.codec import Codec
from taskflow.errors import ConfigError, NoSuchSchedule, TaskflowError, UsageError, nearest
from taskflow.ids import RunId, new_id
from taskflow.ports import Store
from taskflow.records import Plan
from taskflow.schedules import as_schedule, zone, zone_name
from taskflow.tables import rows_or_frame

__all__ = ["Home", "Schedules"]

log = logging.getLogger(__name__)

_CHANGES = ("schedule", "tz", "start", "end", "missed", "jitter", "overlap", "enabled", "relative")
_CALL = ("task", "args", "kwargs", "options")
_MOST_CHARS = 200


class Home(NamedTuple):
    """What a client has that schedules need.

    Args:
        store: Where they are kept.
        codec: Packs what they run.
        drawn: Gives what would be sent for a signature.
        send: Hands over a plan; gives the run that holds its lock, if it was not taken.
        attach: Gives the handle of a run.
        is_open: Tells whether it still takes anything.
    """

    store: Store
    codec: Codec
    drawn: Callable[[Signature], Plan]
    send: Callable[[Plan], RunId | None]
    attach: Callable[[str], Any]
    is_open: Callable[[], bool]


class Schedules(Mapping[str, Entry]):
    """What runs by itself: entries by name, kept in the store, sealed with the user's key.

    A beat sends what is due: ``taskflow beat``, ``taskflow worker -B``, or `Beat` in a program; any number of
    them at once. They see a change within a moment.

    Args:
        home: Where what is scheduled is drawn and sent.
        clock: Seconds since the epoch; the clock of the store by default.

    Example:
        ``client.schedules.add("report", report, taskflow.crontab(0, 9, "mon"), tz="Asia/Tokyo")``
    """

    def __init__(self, home: Home, *, clock: Callable[[], float] | None = None) -> None:
        self.home, self._clock = home, clock or home.store.now
        self.book = Book(home.store, home.codec.keyring)

    # ── changing ─────────────────────────────────────────────────────────────────────

    def add(
        self,
        name: str,
        task: Any,
        schedule: Any,
        args: Any = (),
        kwargs: Mapping[str, Any] | None = None,
        *,
        tz: Any = None,
        enabled: bool = True,
        start: datetime | None = None,
        end: datetime | None = None,
        missed: Missed = "once",
        jitter: float = 0.0,
        overlap: Overlap = "skip",
        relative: bool = False,
        **options: Any,
    ) -> Entry:
        """Run a task again and again; an entry of that name is replaced, and goes on where it was.

        The function and its arguments are stored as they are now; a function that workers can import is
        looked up by them when it runs.

        Args:
            name: By which it is found; the runs have it as the tag ``schedule``.
            task: A function, a task, the name of one, or a signature, also of a canvas.
            schedule: Seconds, a `timedelta`, `crontab`, `solar`, `once`.
            args: Positional arguments.
            kwargs: Keyword arguments.
            tz: In which zone the schedule is meant; UTC by default.
            enabled: Whether it runs.
            start: It does not run before this; an interval is counted from it.
            end: It does not run after this.
            missed: What happens to ticks for which no beat was there: ``"skip"`` leaves out those that are
                more than 30 s late, ``"once"`` sends the last of them, ``"all"`` all.
            jitter: Hold each run back by up to so many seconds.
            overlap: What happens while the run before has not ended: ``"skip"``, ``"queue"`` or ``"allow"``.
            relative: An interval goes by the clock, see `schedule`.
            options: Options of the calls, as of `Client.options`; ``expires=`` counts from the tick.

        Raises:
            ConfigError: A value is impossible, or it would never run.
            CannotPickle: The function or an argument cannot travel. Nothing was stored.
        """
        when = as_schedule(schedule, relative=relative)
        wanted = Wanted(
            task, when, tuple(args), dict(kwargs or {}), options, zone_name(tz), enabled, start, end, missed,
            jitter, overlap,
        )  # fmt: skip
        entry = self._drawn(name, wanted, "")
        if entry.next_after(self._now()) is None and enabled:
            raise ConfigError(f"{name!r} would never run: {entry.schedule} is over.")
        self.book.change(lambda known: known | {name: entry.in_place_of(known.get(name))})
        return self[name]

    def update(self, name: str, **changes: Any) -> Entry:
        """Change an entry in place.

        Args:
            name: Which.
            changes: ``schedule``, ``tz``, ``start``, ``end``, ``missed``, ``jitter``, ``overlap``,
                ``enabled`` as in `add`; or with ``task``, what it runs: then ``args``, ``kwargs`` and
                ``options`` too.

        Raises:
            NoSuchSchedule: There is none of that name (the nearest is named).
            ConfigError: There is no such thing to change, or the value is impossible. Nothing was changed.
        """
        for word in changes:
            if word not in (*_CHANGES, *_CALL):
                raise ConfigError(f"There is no {word!r} to change.{nearest(word, (*_CHANGES, *_CALL))}")
        call = {word: changes.pop(word) for word in _CALL if word in changes}
        if call and "task" not in call:
            raise ConfigError("What it runs is changed as a whole: give task= too.")
        old = self._found(name)
        new = old.changed(changes)
        if call:
            wanted = Wanted(
                call["task"], new.schedule, tuple(call.get("args") or ()), dict(call.get("kwargs") or {}),
                dict(call.get("options") or {}),
            )  # fmt: skip
            drawn = self._drawn(name, wanted, "")
            new = replace(new, call=drawn.call, template=drawn.template)
        now = self._now()

        def edit(known: Entries) -> Entries:
            entry = known.get(name)
            if entry is None:
                return known
            fresh = replace(entry.changed(changes), call=new.call, template=new.template)
            return known | {name: replace(fresh, since=now, after=now).in_place_of(entry)}

        self.book.change(edit)
        return self[name]

    def pause(self, *names: str) -> None:
        """Let entries not run until `resume`; ticks that fall in between are not made up for."""
        self._enable(names, False)

    def resume(self, *names: str) -> None:
        """Let entries run again, from now on."""
        self._enable(names, True)

    def remove(self, *names: str) -> None:
        """Remove entries; runs that were sent go on."""
        for name in names:
            self._found(name)
        self.book.change(lambda known: {name: one for name, one in known.items() if name not in names})

    def run_now(self, name: str) -> Any:
        """Run what an entry runs, now; its ticks come as before.

        Returns:
            The handle of the run.
        """
        entry = self._found(name).template.renewed(self.home.codec)
        entry.keep(self.home.codec.blobs)
        run = RunId(new_id())
        self.home.send(entry.plan(run, tags={"schedule": name}))
        return self.home.attach(run)

    def merge(self, wanted: Mapping[str, Wanted], origin: str) -> list[str]:
        """Have the entries of a configuration, and none that have left it.

        What has not changed stays as it is, also when somebody has paused it. One that cannot be drawn is
        logged, and left as it was.

        Args:
            wanted: See `entries_from`.
            origin: Names the configuration; entries of others are not touched.

        Returns:
            The names of those that could not be drawn, or are those of others.
        """
        drawn: Entries = {}
        refused: list[str] = []
        for name, one in wanted.items():
            try:
                drawn[name] = self._drawn(name, one, origin)
            except TaskflowError as error:
                log.error("schedule %r cannot be sent: %s", name, error, extra={"action": "refuse"})
                refused.append(name)
        foreign = [name for name in drawn if self.get(name, drawn[name]).origin != origin]
        for name in foreign:
            log.error("schedule %r was added by somebody else: rename one", name, extra={"action": "refuse"})

        def edit(known: Entries) -> Entries:
            stays = {*drawn, *refused}
            kept = {name: one for name, one in known.items() if one.origin != origin or name in stays}
            for name, entry in drawn.items():
                old = known.get(name)
                if old is not None and old.origin != origin:
                    continue
                asked = wanted[name].enabled
                enabled = old.enabled if old is not None and asked is None else entry.enabled
                kept[name] = replace(entry, enabled=enabled).in_place_of(old)
            return kept

        self.book.change(edit)
        return refused + foreign

    def renew(self) -> Entries:
        """Seal what entries run with the key that signs now: one that was replaced opens for a time only."""

        def edit(known: Entries) -> Entries:
            codec = self.home.codec
            return {name: replace(one, template=one.template.renewed(codec)) for name, one in known.items()}

        return self.book.change(edit)

    # ── looking ──────────────────────────────────────────────────────────────────────

    def __getitem__(self, name: str) -> Entry:
        return self._found(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self.book.entries())

    def __len__(self) -> int:
        return len(self.book.entries())

    def __contains__(self, name: object) -> bool:
        return name in self.book.entries()

    def values(self) -> ValuesView[Entry]:
        """All entries, as they are at one moment."""
        return dict(self.book.entries()).values()

    def items(self) -> ItemsView[str, Entry]:
        """All names and entries, as they are at one moment."""
        return dict(self.book.entries()).items()

    def rows(self) -> list[dict[str, Any]]:
        """The rows of `table`."""
        return entry_rows(self.book.entries().values(), self.book.ran(), self._now())

    def table(self) -> Any:
        """One row for each entry (a DataFrame with pandas)."""
        return rows_or_frame(self.rows(), COLUMNS)

    def next_rows(self, n: int = 10, name: str | None = None) -> list[dict[str, Any]]:
        """The rows of `next_runs`."""
        entries = self.book.entries().values() if name is None else [self._found(name)]
        return tick_rows(entries, self._now(), n)

    def next_runs(self, n: int = 10, name: str | None = None) -> Any:
        """The next ticks of all entries, or of one: one row each, in order (a DataFrame with pandas)."""
        return rows_or_frame(self.next_rows(n, name), TICKS)

    def __repr__(self) -> str:
        return f"<Schedules: {', '.join(self) or 'none'}>"

    def _repr_html_(self) -> str:
        return entries_html(self.rows())

    # ── how ──────────────────────────────────────────────────────────────────────────

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock(), UTC)

    def _found(self, name: str) -> Entry:
        entries = self.book.entries()
        if name not in entries:
            raise NoSuchSchedule(f"There is no schedule {name!r}.{nearest(str(name), entries)}")
        return entries[name]

    def _drawn(self, name: str, wanted: Wanted, origin: str) -> Entry:
        sig = maybe_signature(wanted.task).clone(wanted.args, wanted.kwargs, **wanted.options)
        for word in ("eta", "task_id"):
            if sig.options.get(word) is not None:
                raise ConfigError(f"{word}= is for one call, and a schedule makes many: leave it away.")
        if isinstance(sig.options.get("expires"), datetime):
            raise ConfigError("expires= of a schedule counts from each tick: give seconds.")
        plan = self.home.drawn(sig)
        tags = {**plan.meta.get("tags", {}), **(sig.options.get("tags") or {})}
        template = Template.of(plan._replace(meta={**plan.meta, "tags": tags}), self.home.codec)
        now, tz = self._now(), zone(wanted.tz)
        return Entry(
            name, new_id(), repr(sig)[:_MOST_CHARS], template, wanted.schedule, zone_name(tz), now, now,
            wanted.enabled is not False, instant(wanted.start, tz), instant(wanted.end, tz), wanted.missed,
            float(wanted.jitter), wanted.overlap, origin,
        )  # fmt: skip

    def _enable(self, names: tuple[str, ...], enabled: bool) -> None:
        if not names:
            raise UsageError("Which schedule? Name one or several.")
        for name in names:
            self._found(name)
        now = self._now()

        def edit(known: Entries) -> Entries:
            new = dict(known)
            for name in names:
                if name in new and new[name].enabled is not enabled:
                    new[name] = replace(new[name], enabled=enabled, after=now)
            return new

        self.book.change(edit)
