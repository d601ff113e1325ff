"""The key that signs what workers and clients send each other.

Everything that will be unpickled is signed, and refused when the signature is not of a key on the ring.
Clients and workers on other machines need the same key, in a file only you can read or in TASKFLOW_KEY.
"""

from __future__ import annotations

from argparse import Namespace
from typing import TYPE_CHECKING

from taskflow.cli.exits import Exit
from taskflow.cli.words import ago
from taskflow.errors import UsageError
from taskflow.observe.table import Column

if TYPE_CHECKING:
    from taskflow.cli.console import Console
    from taskflow.cli.parser import Parser
    from taskflow.codec import Keyring

SUMMARY = "show, make, rotate or revoke the signing key"
EXAMPLES = """
taskflow key show                 its four words: the same on both sides, or they refuse each other
taskflow key path                 the file it is in
taskflow key new                  print a new key, fit for TASKFLOW_KEY; changes nothing here
taskflow key rotate               sign with a new key; the old one still opens what it signed
taskflow key revoke 0123abcd…     refuse what this key signed
"""

_COLUMNS = (Column("key"), Column("use"), Column("made", right=True))


def arguments(parser: Parser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "action",
        nargs="?",
        default="show",
        choices=("show", "path", "new", "rotate", "revoke"),
        metavar="ACTION",
        help="show (the default), path, new, rotate, revoke",
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
    if options.action == "new":
        console.say(_new())
        return Exit.OK
    ring = Keyring.load()
    if options.action == "path":
        return _path(ring, console)
    if options.action == "rotate":
        ring = ring.rotate()
    elif options.action == "revoke":
        ring = ring.revoke(options.kid)
    return _show(ring, console)


def _new() -> str:
    import base64
    import secrets

    return base64.b64encode(secrets.token_bytes(32)).decode("ascii")


def _path(ring: Keyring, console: Console) -> int:
    if ring.path is None:
        console.hint("taskflow: The key is in TASKFLOW_KEY, not in a file.")
        return Exit.FAILED
    console.say(str(ring.path))
    return Exit.OK


def _show(ring: Keyring, console: Console) -> int:
    where = str(ring.path) if ring.path is not None else "TASKFLOW_KEY"
    if console.json:
        keys = [{"kid": key.kid.hex(), "use": key.use, "created": key.created} for key in ring.keys]
        console.dump({"fingerprint": ring.fingerprint(), "from": where, "keys": keys})
        return Exit.OK
    console.say(f"{ring.fingerprint()}  (from {where})")
    console.say()
    rows = [(key.kid.hex(), key.use, ago(key.created or None, console.now())) for key in ring.keys]
    console.table(_COLUMNS, rows)
    return Exit.OK
