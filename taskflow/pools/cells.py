"""Where items run that may have ended more than themselves: each alone, until it is known which did.

When the template is killed, all children die with it and nobody can say whose deed it was. None of what
ran is charged; each of it is run again in a *cell*: a child that takes one item, from a template that no
other child has. What ends a cell is charged to its item, for there was nobody else.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable

from taskflow.pools.link import Link
from taskflow.pools.packing import Work
from taskflow.pools.template import Template

__all__ = ["Cells"]

_ANOTHER_S = 0.5


class Cells:
    """Suspects that wait, and cells for them: one at first, one more each half second while some wait.

    Args:
        open_template: Starts a template that is heard.
        close_template: Ends one, and hears it no more.
        spawn: Makes a child of a template.
        may_spawn: Whether it is time to make one.
        again: Called with the time at which `tend` has to be called.
        most: How many cells there may be.
    """

    def __init__(
        self,
        open_template: Callable[[], Template],
        close_template: Callable[[Template], None],
        spawn: Callable[[Template], Link],
        may_spawn: Callable[[], bool],
        again: Callable[[float], None],
        most: int,
    ) -> None:
        self.waiting: deque[Work] = deque()
        self.most = most
        self._open_template = open_template
        self._close_template = close_template
        self._spawn = spawn
        self._may_spawn = may_spawn
        self._again = again
        self._cells: dict[Template, Link] = {}
        self._opened_at = 0.0

    def take(self, works: Iterable[Work]) -> None:
        """Run these items, one by one."""
        for work in works:
            self.waiting += [work.part(index, index + 1) for index in range(work.lo, work.hi)]
        self.tend()

    def tend(self) -> None:
        """Open another cell when suspects have waited for a while."""
        now = time.monotonic()
        if not self.waiting or len(self._cells) >= self.most or not self._may_spawn():
            return
        if not self._cells or now - self._opened_at >= _ANOTHER_S:
            self._opened_at = now
            self._enter(self._open_template())
        self._again(self._opened_at + _ANOTHER_S)

    def _enter(self, template: Template) -> None:
        link = self._cells[template] = self._spawn(template)
        link.retiring = True

    def born(self, link: Link) -> None:
        """Give a new child its item: that it was made shows that the template outlived the item before."""
        if link not in self._cells.values():
            return
        if self.waiting:
            link.add(self.waiting.popleft())
            link.feed({})
        else:
            link.end()

    def dead(self, link: Link) -> None:
        """A child has ended: the next one takes its place while suspects wait."""
        template = next((t for t, x in self._cells.items() if x is link), None)
        if template is None:
            return
        if self.waiting and self._may_spawn():
            self._enter(template)
        else:
            del self._cells[template]
            self._close_template(template)

    def lost(self, template: Template) -> None:
        """The template of a cell is gone."""
        self._cells.pop(template, None)
        self.tend()

    def give_up(self) -> list[Work]:
        """Take out everything that waits."""
        works = list(self.waiting)
        self.waiting.clear()
        return works

    def close(self) -> None:
        """End all cells."""
        while self._cells:
            self._close_template(self._cells.popitem()[0])
