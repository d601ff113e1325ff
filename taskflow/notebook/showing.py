"""Runs shown under the cells that made them.

What is shown is one bundle: a snapshot for JupyterLab's extension, a widget that moves, HTML and text. A
thread keeps it moving, also while the cell blocks. Its last word takes the place of all that, without a
widget, so that a saved notebook shows how it ended to whoever opens it, with or without a kernel.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from contextvars import ContextVar
from itertools import chain
from typing import TYPE_CHECKING, Any, Literal

from taskflow.errors import ConfigError, NoSuchRun, ResultExpired, StoreError, nearest
from taskflow.ids import RunId
from taskflow.notebook.previews import previews
from taskflow.observe.asking import act, answer
from taskflow.observe.page import to_html, to_text
from taskflow.observe.snapshot import INTERVAL_S, MIME, SHARE, Snapshot, Watch, shortened, size_bytes
from taskflow.states import TERMINAL

if TYPE_CHECKING:
    from taskflow.engine import Engine

__all__ = ["Display", "Notebook", "display_mode"]

log = logging.getLogger(__name__)

Mode = Literal["auto", "html", "text", "off"]
_MODES = ("auto", "html", "text", "off")

LAST_WORD_S = 5.0
SECOND_THOUGHTS_S = 1.0
OUTPUTS_MOST = 20
"""Of so many tasks in a cell it is printed what they have printed."""
ENDED_KEPT = 100
"""So many runs that ended by themselves may still be waited for, and say their last word there once more."""
AWAY_S = 1.0
ROWS_S, ROWS_SHARE = 1.0, 0.005
"""How often the first rows are read while it moves, and of one processor what that takes at most."""
BYTES_A_SECOND = 75_000
"""Of what a widget is told, before it is wrapped into messages."""
_ROWS, _SAVED_OUTPUT = 50, 10
_is_within: ContextVar[bool] = ContextVar("is_within", default=False)
"""Whether a wait is shown already: a map within a map shows nothing, others that are awaited beside it do."""


def display_mode() -> Mode:
    """How runs are shown, as ``TASKFLOW_DISPLAY`` says: with everything, as HTML, as text, or not at all.

    Raises:
        ConfigError: It says something else.
    """
    mode = os.environ.get("TASKFLOW_DISPLAY") or "auto"
    if mode not in _MODES:
        raise ConfigError(f"TASKFLOW_DISPLAY={mode!r} is not known.{nearest(mode, _MODES)}")
    return mode  # type: ignore[return-value]


class Notebook:
    """Shows handles in the cells of a notebook; see `observe.showing.Shower`.

    Args:
        shell: The IPython shell of the kernel.
    """

    def __init__(self, shell: Any) -> None:
        self._shell = shell
        self._shown: dict[RunId, int] = {}
        self._left: set[RunId] = set()
        self._told = (0, 0)
        self._moving: dict[RunId, list[Display]] = {}

    def show(self, handle: Any, /) -> None:
        """Show a handle under the cell that runs now, once; it goes on moving until its run has ended."""
        mode = display_mode()
        engine, run = handle._engine, handle.run_id
        engine.flush()
        if mode == "off":
            print(repr(handle))
            return
        if self._shown.get(run) == self._cell():  # `run.wait()` in the last line shows it, and then gives it
            return
        self._forget_ended()
        self._shown[run] = self._cell()
        new = Display(engine, run, mode, repr(handle))
        self._moving.setdefault(run, []).append(new)
        new.begin()

    @contextmanager
    def during(self, handle: Any, /) -> Iterator[None]:
        """Have a handle shown while it is waited for; a run is shown once, unless it is asked for again."""
        if not self._is_waited_for_here():
            yield
            return
        self._begin_wait(handle)
        try:
            yield
        except KeyboardInterrupt:
            if handle._engine.cancel_on_interrupt and handle.run_id not in self._left:
                self._settle(handle.run_id)
            raise
        finally:
            _is_within.set(False)
        if self._has_ended(handle):
            self._settle(handle.run_id)

    @asynccontextmanager
    async def awaited(self, handle: Any, /) -> AsyncIterator[None]:
        """The same in an event loop: what asks the store, or waits for the last word, does so beside it."""
        if not self._is_waited_for_here():
            yield
            return
        self._begin_wait(handle)
        ends = False
        try:
            yield
        except asyncio.CancelledError:
            ends = handle._engine.cancel_on_interrupt
            raise
        finally:
            _is_within.set(False)
            if ends or await asyncio.to_thread(self._has_ended, handle):
                await asyncio.to_thread(self._hear_last_word, handle.run_id)
                self._settle(handle.run_id)

    def _begin_wait(self, handle: Any) -> None:
        if handle.run_id not in self._shown and display_mode() != "off":
            self.show(handle)
        self._left.discard(handle.run_id)
        _is_within.set(True)

    def _has_ended(self, handle: Any) -> bool:
        """Whether it is shown, and its last word is due."""
        return handle.run_id in self._moving and handle.state in TERMINAL

    def ended(self, future: Any, /) -> None:
        """Print what a task has printed under the cell that waits for it; of many, what the first have."""
        if not self._is_waited_for_here():
            return
        if future.run_id in self._shown:
            self._settle_call(future)
            return
        if display_mode() == "off":
            return
        cell, told = self._told
        if cell != self._cell():
            told = 0
        self._told = self._cell(), told + 1
        if told < OUTPUTS_MOST:
            print(future.logs, end="")
        elif told == OUTPUTS_MOST:
            print("… what further tasks have printed is in `future.logs`.", file=sys.stderr)

    def _settle_call(self, future: Any) -> None:
        """Have the last word of a call that was shown said in this cell; a run of more may go on."""
        if future.run_id == future.node_id:  # so it is of a run of one call
            with suppress(StoreError):  # the result is here, whatever is shown
                if self._has_ended(future):
                    self._settle(future.run_id)

    def leaves_running(self, handles: Iterable[Any], /) -> bool:
        """Whether somebody who has interrupted a wait does so once more: then what was waited for goes on."""
        try:
            print("Interrupted: cancelling. Once more, within a second, leaves it running.", file=sys.stderr)
            time.sleep(SECOND_THOUGHTS_S)
        except KeyboardInterrupt:
            runs = list(dict.fromkeys(handle.run_id for handle in handles))
            self._left.update(runs)
            for run in runs:
                print(f"Left running: %taskflow attach {run} shows it again.", file=sys.stderr)
            return True
        return False

    def origin(self) -> Mapping[str, str]:
        """The notebook and the cell that runs now, as JupyterLab and others name them."""
        known: Any = getattr(self._shell, "get_parent", dict)() or {}
        cell = (known.get("metadata") or {}).get("cellId") or ""
        notebook = os.environ.get("JPY_SESSION_NAME", "").rpartition("/")[2]
        return {name: str(value) for name, value in (("notebook", notebook), ("cell", cell)) if value}

    def close(self) -> None:
        """Let what is shown stay as it is."""
        for display in chain.from_iterable(self._moving.values()):
            display.leave()

    def _settle(self, run: RunId) -> None:
        """Have the last word said before the cell ends: who executes notebooks keeps no later one."""
        self._hear_last_word(run)
        displays = self._moving.pop(run, None)
        if displays is None:
            return
        for display in displays[:-1] if self._shown[run] == self._cell() else displays:
            display.repeat()

    def _hear_last_word(self, run: RunId) -> None:
        for display in self._moving.get(run, ()):
            display.join(LAST_WORD_S)

    def _forget_ended(self) -> None:
        """What ended a while ago, in earlier cells, and nobody has waited for: it has had its last word."""
        ended = [run for run, displays in self._moving.items() if not any(d.is_moving for d in displays)]
        for run in ended[:-ENDED_KEPT]:
            del self._moving[run]

    def _is_waited_for_here(self) -> bool:
        """Whether a cell waits: a map within a map, or another thread, shows nothing."""
        return not _is_within.get() and threading.current_thread() is threading.main_thread()

    def _cell(self) -> int:
        return int(self._shell.execution_count)


class Display:
    """One run under one cell.

    Args:
        engine: Whose store it is in.
        run: Its id.
        mode: How it is shown.
        text: What it is called in text, while it runs.
    """

    def __init__(self, engine: Engine, run: RunId, mode: Mode, text: str) -> None:
        self._engine = engine
        self._run = run
        self._mode = mode
        self._text = text
        self._watch = Watch(engine.store, run)
        self._preview = previews(engine)
        self._rows: tuple[float, dict[str, Any] | None] = (0.0, None)
        self._seen: Snapshot = {}
        self._sent_bytes = 0
        self._widget: Any = None
        self._handle: Any = None
        self._last: dict[str, Any] | None = None
        self._hurry = threading.Event()
        self._is_hurried = False
        self._left = False
        self._thread = threading.Thread(target=self._follow, name="taskflow display", daemon=True)

    def begin(self) -> None:
        """Show it now, and keep it moving."""
        from IPython.display import display

        first = self._watch.look()
        assert first is not None
        self._seen = first
        over = self._watch.ended
        if not over and self._mode == "auto":
            self._widget = _widget(first, self._heard)
        show: Callable[..., Any] = display
        self._handle = show(self._bundle(first, over), raw=True, display_id=True)
        if not over:
            self._thread.start()

    def join(self, timeout_s: float) -> None:
        """Wait until its last word was said."""
        self._is_hurried = True
        self._hurry.set()
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    def repeat(self) -> None:
        """Say the last word once more, from the cell that runs now: not everybody takes it from a thread."""
        if self._last is not None:
            self._handle.update(self._last, raw=True)

    def leave(self) -> None:
        """Say nothing more: what is shown now stays, without a widget that nobody would move."""
        self._left = True
        self.join(LAST_WORD_S)

    @property
    def is_moving(self) -> bool:
        """Whether its last word is still to come."""
        return self._thread.is_alive()

    # ── what is shown ────────────────────────────────────────────────────────────────

    def _bundle(self, snapshot: Snapshot, over: bool) -> dict[str, Any]:
        if over:
            snapshot = self._closing(snapshot)
        text = to_text(snapshot) if over else self._text
        if self._mode == "text":
            return {"text/plain": text}
        bundle: dict[str, Any] = {"text/plain": text, "text/html": to_html(snapshot, self._watch.picture())}
        if self._mode == "auto":
            bundle[MIME] = snapshot
        if self._widget is not None and not over:
            bundle |= {**self._widget._repr_mimebundle_()[0], "text/plain": text}
        return bundle

    def _closing(self, snapshot: Snapshot) -> Snapshot:
        """With the first rows and some output, as much of it as a notebook should keep."""
        rows = self._ask({"what": "rows", "size": _ROWS})
        output = self._ask({"what": "logs", "size": _SAVED_OUTPUT})
        full: Snapshot = {**snapshot, "rows": rows, "output": output}
        return shortened(full)

    def _ask(self, query: Mapping[str, Any]) -> dict[str, Any]:
        return answer(self._engine.store, self._run, query, self._preview)

    # ── the thread ───────────────────────────────────────────────────────────────────

    def _follow(self) -> None:
        try:
            self._go_on()
        except (NoSuchRun, ResultExpired) as error:
            log.debug("the run is shown no more: %s", error)
        except Exception:
            log.exception("the display of run %s stopped; the run goes on", self._run)

    def _go_on(self) -> None:
        rest_s = self._watch.rest_s
        while True:
            self._hurry.wait(rest_s)
            # Who waits for the last word hurries it; the run may take a moment more to end in the store.
            self._hurry.clear()
            if self._left or self._engine.closed:
                self._stand()
                return
            began = time.thread_time()
            if self._turn():
                return
            spent_s = time.thread_time() - began
            rest_s = max(INTERVAL_S, spent_s / SHARE, self._sent_bytes / BYTES_A_SECOND)
            rest_s = min(rest_s, INTERVAL_S) if self._is_hurried else rest_s

    def _turn(self) -> bool:
        """Look, and tell what is new; whether that was the last word."""
        self._sent_bytes = 0
        try:
            snapshot = self._watch.look()
        except StoreError as error:
            if isinstance(error, NoSuchRun | ResultExpired):
                raise
            self._hurry.wait(AWAY_S)
            return False
        if snapshot is None:
            return False
        self._seen = snapshot
        if self._watch.ended:
            self._end(snapshot)
            return True
        self._move(snapshot)
        return False

    def _move(self, snapshot: Snapshot) -> None:
        told: dict[str, Any]
        if self._widget is not None:
            told = shortened({**snapshot, "rows": self._first_rows(snapshot["at"])})
            self._widget.snapshot = told
        elif self._mode == "html":
            told = self._bundle(snapshot, over=False)
            self._handle.update(told, raw=True)
        else:
            return
        self._sent_bytes = size_bytes(told)

    def _first_rows(self, now: float) -> dict[str, Any] | None:
        """The first page of the table, now and then: while its cell runs a kernel answers no questions."""
        due, rows = self._rows
        if now >= due:
            began = time.thread_time()
            rows = self._ask({"what": "rows", "size": _ROWS})
            self._rows = now + max(ROWS_S, (time.thread_time() - began) / ROWS_SHARE), rows
        return rows

    def _stand(self) -> None:
        """Let it stay as it was seen last; its store may be closed."""
        self._widget = None  # not closed: a kernel that ends says nothing to a page that has let go of it
        self._last = self._bundle(self._seen, over=False)
        self._handle.update(self._last, raw=True)

    def _end(self, snapshot: Snapshot) -> None:
        bundle = self._bundle(snapshot, over=True)
        if self._widget is not None:
            self._widget.snapshot = bundle[MIME]
        self._last = bundle
        self._handle.update(bundle, raw=True)
        if self._widget is not None:  # nobody sees it any more, and widgets are kept until they are closed
            self._widget.close()

    # ── who looks at it ──────────────────────────────────────────────────────────────

    def _heard(self, message: Mapping[str, Any]) -> dict[str, Any]:
        if "ask" in message:
            return self._ask(message["ask"])
        done = act(self._engine.store, self._run, str(message.get("act")))
        self._engine.begin()
        self._hurry.set()
        return done


def _widget(snapshot: Snapshot, hear: Any) -> Any:
    """The widget; `None` where its packages are missing: the rest of the bundle needs none."""
    try:
        from taskflow.notebook.widget import RunWidget
    except ImportError:
        return None
    return RunWidget(snapshot, hear)
