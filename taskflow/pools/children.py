"""The processes of a pool: they are made, heard, and buried here; what they run is the business of others."""

from __future__ import annotations

import logging
import selectors
import signal
import time
from collections.abc import Callable
from contextlib import suppress

from taskflow import signals
from taskflow.errors import InternalError
from taskflow.policy import backoff_s
from taskflow.pools.cells import Cells
from taskflow.pools.ledger import Ledger
from taskflow.pools.link import Link
from taskflow.pools.template import Setup, Template

__all__ = ["Children"]

_log = logging.getLogger(__name__)

_FIRST_WAIT_S = 0.05
_LONGEST_WAIT_S = 5.0
_TEMPLATES_LOST = 3


class Children:
    """The template, the children it made, and the cells.

    Args:
        setup: What templates and children must know.
        ledger: Gets the outcomes of what ran in a child that died.
        hear: Called with a child that has said something.
        changed: Called when children came or went.
        again: Called with a time at which `tend` has to be called.

    Attributes:
        links: The children, by number.
        template: The process that makes all of them but those in cells.
        cells: Where suspects run.
        broken: Why there can be no children; `None` while there can.
        closing: Nothing that dies is replaced.
        spawn_at: No child is made before, because the last ones died at their start.
    """

    def __init__(
        self,
        setup: Setup,
        ledger: Ledger,
        hear: Callable[[Link], None],
        changed: Callable[[], None],
        again: Callable[[float], None],
    ) -> None:
        self.links: dict[int, Link] = {}
        self.broken: str | None = None
        self.closing = False
        self.spawn_at = 0.0
        self.lanes = 1 if setup.mode == "process" else setup.slots
        self._setup = setup
        self._ledger = ledger
        self._hear = hear
        self._changed = changed
        self._again = again
        self._selector = selectors.DefaultSelector()
        self._templates: dict[int, Template] = {}
        self._numbers = 0
        self._templates_lost = 0
        self._stillborn = 0
        self.cells = Cells(
            lambda: self._open_template(fork=False),
            self._close_template,
            self.spawn,
            self.may_spawn,
            again,
            setup.slots,
        )
        self.template = self._open_template()

    # ── waiting ─────────────────────────────────────────────────────────────────────

    @property
    def fd(self) -> int:
        """Readable when any child or a template has something to say."""
        return self._selector.fileno()

    def listen(self, wait_s: float = 0) -> None:
        """Hear whoever has something to say; wait so long for the first."""
        said = self._selector.select(wait_s)
        for key, _ in said:
            # One of those before may have closed this file, and opened another with its number.
            if len(said) == 1 or self._selector.get_map().get(key.fd) is key:
                key.data()

    def wait(self, wait_s: float) -> None:
        """Wait until anyone has something to say, and leave it unheard."""
        self._selector.select(wait_s)

    def ignore(self, fd: int) -> None:
        """Hear a file no more."""
        with suppress(KeyError, ValueError):
            self._selector.unregister(fd)

    def tend(self) -> None:
        """Do what was put off."""
        if not self.closing and not self.broken:
            self.cells.tend()

    # ── children ────────────────────────────────────────────────────────────────────

    def may_spawn(self) -> bool:
        """Whether it is time to make children again."""
        if time.monotonic() >= self.spawn_at:
            return True
        self._again(self.spawn_at)
        return False

    def spawn(self, template: Template | None = None) -> Link:
        """Make a child."""
        template = template or self.template
        signals.worker_before_create_process.send(self._setup.worker)
        self._numbers += 1
        link = Link(self._numbers, self.lanes, self._setup.lanes)
        self.links[link.number] = link
        self._templates[link.number] = template
        template.spawn(link.number, link.fds)
        link.sent()
        self._selector.register(link.reports.fd, selectors.EVENT_READ, lambda: self._hear(link))
        self._selector.register(link.leak.fd, selectors.EVENT_READ, lambda: self._hear_leak(link))
        return link

    def kill(self, number: int, sig: int, group: bool) -> None:
        """Send a signal to a child, or to all of its process group."""
        template = self._templates.get(number)
        if template is not None:
            template.kill(number, sig, group)

    def bury(self, link: Link, status: int, why: str, *, sure: bool = True) -> None:
        """Make outcomes of a child's end; what may have caused it, but not for sure, goes to the cells.

        Args:
            link: The child.
            status: As `os.waitpid` gives it; negative when nobody knows.
            why: What is known beyond that.
            sure: It was ended by something that ran in it.
        """
        self._hear(link)
        link.read_leak()
        ran = any(True for _ in link.running())
        suspects = self._ledger.bury(link, status, why, sure=sure)
        if ran or suspects:
            self._templates_lost = 0
        elif status and link.target is None:
            text = "".join(lane.printed() for lane in link.board)
            _log.warning("a child ended between its tasks", extra={"status": status, "text": text or why})
            if sure and not link.calls:
                self._put_off()
        self.forget(link)
        given_up = [w for w in suspects if self.closing or w.lease.key in self._ledger.cancelled]
        self._ledger.release(given_up)
        self.cells.take(work for work in suspects if work not in given_up)

    def abandon(self, link: Link, why: str) -> None:
        """Bury a child that does not end; its place goes to another."""
        self.bury(link, -1, why)
        if not self.closing:
            self.cells.dead(link)

    def _put_off(self) -> None:
        """A child died at its start: wait before the next, longer each time it happens in a row."""
        now = time.monotonic()
        self._stillborn = self._stillborn + 1 if now - self.spawn_at < 2 * _LONGEST_WAIT_S else 1
        self.spawn_at = now + backoff_s(
            self._stillborn, base_s=_FIRST_WAIT_S, factor=2.0, cap_s=_LONGEST_WAIT_S
        )

    def forget(self, link: Link) -> None:
        """Let go of all that belongs to a child."""
        self.links.pop(link.number, None)
        self._templates.pop(link.number, None)
        for fd in (link.reports.fd, link.leak.fd):
            self.ignore(fd)
        link.close()

    def close(self) -> None:
        """End all processes."""
        self.cells.close()
        self.template.close()
        self._selector.close()

    def _hear_leak(self, link: Link) -> None:
        link.read_leak()
        if link.leak.ended:
            self.ignore(link.leak.fd)

    # ── templates ───────────────────────────────────────────────────────────────────

    def _open_template(self, *, fork: bool | None = None) -> Template:
        template = Template(self._setup, fork=fork)
        self._selector.register(template.fd, selectors.EVENT_READ, lambda: self._hear_template(template))
        return template

    def _close_template(self, template: Template) -> None:
        self.ignore(template.fd)
        template.close(wait_s=0.1)

    def _hear_template(self, template: Template) -> None:
        reports = template.reports()
        if reports is None:
            self._lose(template)
            return
        for report in reports:
            link = self.links.get(report[1]) if len(report) > 1 else None
            if report[0] == "born" and link is not None:
                link.pid = report[2]
                self.cells.born(link)
            elif report[0] == "dead" and link is not None:
                self.bury(link, report[2], report[3])
                if not self.closing:
                    self.cells.dead(link)
            elif report[0] == "ready":
                self._templates_lost = 0
            elif report[0] == "broken":
                self.broken = f"Worker processes cannot start: {report[1]}: {report[2]}"
        self._changed()

    def _lose(self, template: Template) -> None:
        """A template is gone and its children with it: a task killed it, or memory ran out."""
        in_cell = template is not self.template
        self._close_template(template)
        self._templates_lost += 1
        for number in [n for n, home in self._templates.items() if home is template]:
            self.bury(self.links[number], signal.SIGKILL, "", sure=in_cell)
        if self.broken or self.closing:
            return
        if self._templates_lost > _TEMPLATES_LOST:
            raise InternalError(
                "The process that makes worker processes died again and again before it was ready."
            )
        if in_cell:
            self.cells.lost(template)
        else:
            self.template = self._open_template(fork=False)
        self._changed()
