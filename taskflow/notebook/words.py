"""The words of ``%taskflow``: each reads its options, calls the client, and gives what is shown."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Callable
from typing import Any, NamedTuple

from IPython.core.error import UsageError

import taskflow.client as clients
from taskflow.errors import nearest
from taskflow.notebook.parsing import Parser
from taskflow.notebook.session import Session
from taskflow.states import FAILURES, LIVE

__all__ = ["WORDS", "Word", "completions", "say"]

_COMPLETED_MOST = 50


class Word(NamedTuple):
    """One word.

    Args:
        name, summary: What help says.
        declare: Adds its options to a parser.
        do: What it does; what it gives is shown.
    """

    name: str
    summary: str
    declare: Callable[[Parser], object]
    do: Callable[[Session, Namespace], Any]


def say(session: Session, line: str) -> Any:
    """Do what a line of ``%taskflow`` says.

    Raises:
        UsageError: It says nothing that is known; the nearest word is named.
    """
    name, _, rest = line.strip().partition(" ")
    if name in ("", "-h", "--help", "help"):
        return print(_overview())
    word = WORDS.get(name)
    if word is None:
        raise UsageError(
            f"%taskflow has no word {name!r}.{nearest(name, WORDS)} %taskflow tells all of them."
        )
    return word.do(session, _parser(word).read(rest))


def _parser(word: Word) -> Parser:
    parser = Parser(f"%taskflow {word.name}", word.summary)
    word.declare(parser)
    return parser


def _overview() -> str:
    width = max(map(len, WORDS))
    lines = [f"  %taskflow {name:{width}}  {word.summary}" for name, word in WORDS.items()]
    lines += ["", "  %taskflow WORD --help tells its options."]
    lines += ["  Cells: %%task, %%parallel x in items, %%workflow NAME, %%on_workers."]
    return "\n".join(lines)


# ── the client ───────────────────────────────────────────────────────────────────────


def _declare_start(parser: Parser) -> None:
    parser.add_argument("-n", "--workers", type=int, metavar="N", help="calls at once (one a processor)")
    parser.add_argument("--url", help="the store: a file, or redis://host:6379/0")
    parser.add_argument("--pool", choices=("process", "thread", "async"), help="what runs the calls")
    parser.add_argument("-Q", "--queues", help="which queues the workers serve: gpu,default")
    parser.add_argument("--detach", action="store_true", help="the workers outlive this kernel")


def _start(session: Session, options: Namespace) -> Any:
    terms = {
        name: getattr(options, name)
        for name in ("workers", "pool", "queues")
        if getattr(options, name) is not None
    }
    if options.detach:
        terms["detach"] = True
    client, is_new = session.start(options.url, **terms)
    print(f"{'Started' if is_new else 'Already there'}: {client!r}")
    return None


def _declare_connect(parser: Parser) -> None:
    parser.add_argument("url", metavar="URL", help="the store: redis://host:6379/0, or a file")


def _connect(session: Session, options: Namespace) -> Any:
    client, is_new = session.start(options.url)
    print(f"{'Connected' if is_new else 'Already there'}: {client!r}")
    return None


def _stop(session: Session, options: Namespace) -> Any:
    was = session.stop()
    print("Stopped; what had not ended stays in the store." if was else "There is nothing to stop.")
    return None


def _status(session: Session, options: Namespace) -> Any:
    client = session.started
    if client is None:
        return print("There is no client yet: %taskflow start, or just use one.")
    live = len(client.runs(limit=1000, states=sorted(LIVE)))
    workers = client._engine.store.workers()
    slots = sum(worker.slots for worker in workers)
    print(f"{client!r}: {live} runs have not ended; {len(workers)} workers with {slots} slots.")
    return None


def _declare_config(parser: Parser) -> None:
    parser.add_argument("pairs", nargs="*", metavar="NAME=VALUE", help="retry=3 queue=gpu; NAME= forgets one")


def _config(session: Session, options: Namespace) -> Any:
    for pair in options.pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise UsageError(f"{pair!r} sets nothing: write {pair}=value.")
        session.configure(**{name: _value(value)})
    if options.pairs or session.options:
        return session.options
    return print("Everything is sent with the options that the client has by itself.")


def _value(text: str) -> Any:
    try:
        return json.loads(text) if text else None
    except ValueError:
        return text


# ── looking ──────────────────────────────────────────────────────────────────────────


def _declare_runs(parser: Parser) -> None:
    parser.add_argument("match", nargs="?", default="", help="part of the name, or how the id begins")
    parser.add_argument("--failed", action="store_true", help="those that failed")
    parser.add_argument("--live", action="store_true", help="those that have not ended")
    parser.add_argument("--tag", action="append", default=[], metavar="K=V", help="those that have this tag")
    parser.add_argument("-n", "--limit", type=int, default=20, help="how many at most (20)")


def _runs(session: Session, options: Namespace) -> Any:
    states = sorted((FAILURES if options.failed else frozenset()) | (LIVE if options.live else frozenset()))
    tags = {name: _value(value) for name, _, value in (tag.partition("=") for tag in options.tag)}
    return session.client.runs(limit=options.limit, states=states, match=options.match, tags=tags or None)


def _table(name: str) -> Callable[[Session, Namespace], Any]:
    return lambda session, options: getattr(session.client, name)()


_CHANGES = ("pause", "resume", "remove")


def _declare_schedules(parser: Parser) -> None:
    parser.add_argument("action", nargs="?", choices=(*_CHANGES, "run", "next"), help="what to do")
    parser.add_argument("names", nargs="*", metavar="NAME", help="of schedules")
    parser.add_argument("-n", type=int, default=10, metavar="N", help="with next: how many ticks (10)")


def _schedules(session: Session, options: Namespace) -> Any:
    schedules, names = session.client.schedules, options.names
    if options.action is None:
        return schedules.table()
    if options.action == "next":
        return schedules.next_runs(options.n, names[0] if names else None)
    if not names:
        raise UsageError(f"Which one? %taskflow schedules {options.action} NAME")
    if options.action == "run":
        handles = [schedules.run_now(name) for name in names]
        return handles[0] if len(handles) == 1 else handles
    getattr(schedules, options.action)(*names)
    return schedules.table()


def _declare_dead(parser: Parser) -> None:
    parser.add_argument("-n", "--limit", type=int, default=100, help="how many at most (100)")


def _declare_id(parser: Parser) -> None:
    parser.add_argument("id", metavar="ID", help="of a run or a task, or how it begins; ID[3] is one item")


def _logs(session: Session, options: Namespace) -> Any:
    handle = _handle(session, options.id)
    found = handle.logs
    parts = [found] if isinstance(found, str) else [found[index] for index in sorted(found)]
    print("".join(part if part.endswith("\n") else f"{part}\n" for part in parts if part), end="")
    return None


def _why(session: Session, options: Namespace) -> Any:
    handle = _handle(session, options.id)
    state = handle.state
    if state in LIVE:
        return print(f"{options.id} is {state}. {session.client._engine.why_waiting()}")
    error = handle.exception() if hasattr(handle, "exception") else None
    return print(f"{options.id} is {state}." + (f" {type(error).__name__}: {error}" if error else ""))


def _declare_debug(parser: Parser) -> None:
    _declare_id(parser)
    parser.add_argument("--raise", action="store_true", dest="raises", help="no debugger: %%%%debug is one")


def _debug(session: Session, options: Namespace) -> Any:
    """Run a task here once more; of a map, or of a workflow, the first that failed."""
    from taskflow import errors

    client = session.client
    try:
        handle = client.future(options.id)
    except errors.UsageError:  # there are several tasks of that name
        handle = client.attach(options.id)
    if not hasattr(handle, "debug"):
        raise UsageError(f"{options.id} is a canvas: name one of its tasks, %taskflow graph shows them.")
    return handle.debug(post_mortem=not options.raises)


def _handle(session: Session, name: str) -> Any:
    """A run, or a task of one."""
    from taskflow.errors import NoSuchRun

    client = session.client
    try:
        return client.attach(name)
    except NoSuchRun:
        return client.future(name)


# ── doing ────────────────────────────────────────────────────────────────────────────


def _declare_attach(parser: Parser) -> None:
    parser.add_argument("id", nargs="?", metavar="ID", help="of a run, or its name (the newest live one)")


def _attach(session: Session, options: Namespace) -> Any:
    return session.client.attach(options.id)


def _declare_ids(parser: Parser) -> None:
    parser.add_argument("ids", nargs="+", metavar="ID", help="of runs or tasks")


def _cancel(session: Session, options: Namespace) -> Any:
    changed = session.client.cancel(options.ids)
    print(f"{changed} of {len(options.ids)} had not ended, and are cancelled.")
    return None


def _retry(session: Session, options: Namespace) -> Any:
    again = [session.client.retry(name) for name in options.ids]
    return again[0] if len(again) == 1 else again


def _declare_scale(parser: Parser) -> None:
    parser.add_argument("workers", type=int, metavar="N", help="calls at once")


def _scale(session: Session, options: Namespace) -> Any:
    session.client.scale(options.workers)
    print(f"{session.client!r}")
    return None


def _nothing(parser: Parser) -> None:
    pass


_ALL = (
    Word("start", "have a client, and workers on this machine", _declare_start, _start),
    Word("connect", "use a store: workers elsewhere", _declare_connect, _connect),
    Word("stop", "stop the client and its workers", _nothing, _stop),
    Word("status", "what there is, in a line", _nothing, _status),
    Word("scale", "have more or fewer workers", _declare_scale, _scale),
    Word("runs", "the newest runs, as a table", _declare_runs, _runs),
    Word("attach", "the handle of a run, also after a restart", _declare_attach, _attach),
    Word("graph", "a run as a graph", _declare_id, _attach),
    Word("logs", "what tasks have printed", _declare_id, _logs),
    Word("why", "why a task waits, or failed", _declare_id, _why),
    Word("debug", "run a call here once more, with a debugger where it fails", _declare_debug, _debug),
    Word("cancel", "cancel runs or tasks", _declare_ids, _cancel),
    Word("retry", "run again what failed", _declare_ids, _retry),
    Word("dead", "what failed for good, as a table", _declare_dead,
         lambda session, options: session.client.dead_letters(limit=options.limit)),
    Word("workers", "who works, as a table", _nothing, _table("workers")),
    Word("queues", "what waits and runs, as a table", _nothing, _table("queues")),
    Word("schedules", "what runs by itself, as a table; pause, resume, remove, run, next NAME",
         _declare_schedules, _schedules),
    Word("limits", "rates, limits and breakers, as a table", _nothing, _table("limits")),
    Word("doctor", "examine the store and the workers", _nothing, _table("doctor")),
    Word("config", "how things are sent: retry=3 queue=gpu", _declare_config, _config),
)  # fmt: skip
WORDS: dict[str, Word] = {word.name: word for word in _ALL}


# ── completion ───────────────────────────────────────────────────────────────────────


def completions(line: str) -> list[str]:
    """What may come next in a line of ``%taskflow``: words, options and what they take, runs."""
    said = line.partition("%taskflow")[2]
    before = said.split()
    last = before.pop() if before and not said[-1].isspace() else ""
    if not before:
        return list(WORDS)
    word = WORDS.get(before[0])
    if word is None:
        return []
    parser = _parser(word)
    taking = parser._option_string_actions.get(before[-1])
    if taking is not None and taking.nargs != 0:
        return list(map(str, taking.choices or ()))
    if last.startswith("-"):
        return list(parser._option_string_actions)
    return _known_runs({action.dest for action in parser._get_positional_actions()})


def _known_runs(wanted: set[str]) -> list[str]:
    """Ids, or names, of the newest runs, if there is a client; completing a line starts none."""
    client = clients.open_client()
    if client is None:
        return []
    if wanted & {"id", "ids"}:
        return [str(run.id) for run in client._engine.store.runs(limit=_COMPLETED_MOST)]
    if "match" in wanted:
        return sorted({run.name for run in client._engine.store.runs(limit=_COMPLETED_MOST) if run.name})
    return []
