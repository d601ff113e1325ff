"""The key that signs what workers and clients send each other.

Everything that will be unpickled is signed, and refused when the signature is not of a key on the ring.
Clients and workers on other machines need the same key, in a file only you can read or in TASKFLOW_KEY.
"""

from __future__ import annotations

import time
from argparse import Namespace
from typing import TYPE_CHECKING

from taskflow.cli.exits import Exit
from taskflow.cli.words import ago
from taskflow.errors import UsageError
from taskflow.observe.table import Column

if TYPE_CHECKING:
    from taskflow.cli.console import Console
    from taskflow.cli.parser import Parser
    from taskflow.codec import Key, Keyring

SUMMARY = "show, make, rotate or revoke the signing key"
EXAMPLES = """
taskflow key show                 its four words: the same on both sides, or they refuse each other
taskflow key path                 the file it is in
taskflow key export               print the key itself, for TASKFLOW_KEY in a container or in CI
taskflow key new                  print a new key, fit for TASKFLOW_KEY; changes nothing here
taskflow key rotate               sign with a new key; the old one opens what it signed for two weeks more
taskflow key rotate --keep-days 1 the same for a day
taskflow key revoke 0123abcd…     refuse what this key signed
"""

_COLUMNS = (
    Column("key"),
    Column("use"),
    Column("made", right=True),
    Column("until", right=True),
    Column("words"),
)


def arguments(parser: Parser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "action",
        nargs="?",
        default="show",
        choices=("show", "path", "export", "new", "rotate", "revoke"),
        metavar="ACTION",
        help="show (the default), path, export, new, rotate, revoke",
    )
    parser.add_argument(
        "--keep-days",
        type=float,
        metavar="D",
        help="with rotate: how long the old key still opens what it signed (14)",
    )
    parser.add_argument("kid", nargs="?", metavar="KEY", help="which key to revoke, as `show` lists it")


def run(options: Namespace, console: Console) -> int:
    """Do what is asked of the keyring."""
    from taskflow.codec import Keyring

    if (options.action == "revoke") != (options.kid is not None):
        raise UsageError(
            "Which key? `taskflow key show` lists them."
            if options.kid is None
            else f"`taskflow key {options.action}` takes no further word."
        )
    if options.keep_days is not None and (options.action != "rotate" or not 0 <= options.keep_days < 1e5):
        raise UsageError("--keep-days is for `rotate`, and takes a number of days, such as 14.")
    if options.action == "new":
        console.say(_new())
        return Exit.OK
    ring = Keyring.load()
    if options.action == "path":
        return _path(ring, console)
    if options.action == "export":
        return _export(ring, console)
    if options.action == "rotate":
        ring = ring.rotate() if options.keep_days is None else ring.rotate(options.keep_days * 86_400.0)
    elif options.action == "revoke":
        ring = ring.revoke(options.kid)
    return _show(ring, console)


def _new() -> str:
    import base64
    import secrets

    return base64.b64encode(secrets.token_bytes(32)).decode("ascii")


def _export(ring: Keyring, console: Console) -> int:
    import base64

    if console.out.isatty():
        console.hint(
            "taskflow: This is the key itself, and stays in the scrollback of this terminal. Who has it can"
            " run code on your workers: send it on by a pipe, as in `taskflow key export | docker secret"
            " create taskflow -`."
        )
    console.say(base64.b64encode(ring.signer.secret).decode("ascii"))
    return Exit.OK


def _path(ring: Keyring, console: Console) -> int:
    if ring.path is None:
        console.hint("taskflow: The key is in TASKFLOW_KEY, not in a file.")
        return Exit.FAILED
    console.say(str(ring.path))
    return Exit.OK


def _use(key: Key) -> str:
    return "over" if key.use == "verify" and key.is_over else key.use


def _day(at: float | None) -> str:
    return "" if at is None else time.strftime("%Y-%m-%d", time.localtime(at))


def _show(ring: Keyring, console: Console) -> int:
    from taskflow.codec.keys import words_of

    where = str(ring.path) if ring.path is not None else "TASKFLOW_KEY"
    if console.json:
        keys = [
            {
                "kid": key.kid.hex(),
                "words": words_of(key.kid),
                "use": _use(key),
                "created": key.created,
                "not_after": key.not_after,
            }
            for key in ring.keys
        ]
        console.dump({"fingerprint": ring.fingerprint(), "from": where, "keys": keys})
        return Exit.OK
    console.say(f"{ring.fingerprint()}  (from {where})")
    console.say()
    now = console.now()
    rows = [
        (key.kid.hex(), _use(key), ago(key.created or None, now), _day(key.not_after), words_of(key.kid))
        for key in ring.keys
    ]
    console.table(_COLUMNS, rows)
    return Exit.OK
