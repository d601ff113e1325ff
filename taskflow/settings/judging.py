"""A configuration for Celery, line by line: what happens to each of its settings here."""

from __future__ import annotations

import runpy
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from taskflow.errors import ConfigError, TaskflowError
from taskflow.settings.applied import task_defaults, worker_defaults
from taskflow.settings.explaining import shown_value
from taskflow.settings.literals import COMPUTED, Assigned, assignments, is_spelt_out
from taskflow.settings.option import Status
from taskflow.settings.sources import settled
from taskflow.settings.table import OPTIONS, is_ours, looks_known, name_of, unknown
from taskflow.settings.values import Settings

__all__ = ["REFUSED", "Verdict", "judged"]

REFUSED = "refused"
_IGNORED = "ignored"


class Verdict(NamedTuple):
    """What happens to a setting.

    Args:
        line: Where it is set, from 1; `None` when the file does not say it in so many words.
        setting: As it is written.
        name: What it is called here; empty when nothing is.
        value: As it may be shown.
        here: A `Status`, or `REFUSED`, or ``"ignored"``.
        words: What happens, or what to do.
    """

    line: int | None
    setting: str
    name: str
    value: str
    here: str
    words: str


def judged(path: Path, *, execute: bool = False) -> list[Verdict]:
    """What happens to each setting of a file.

    Args:
        path: A module of settings, those of Django, or one that makes an app.
        execute: Run the file to know the values that it computes. Otherwise nothing of it is run.

    Raises:
        ConfigError: The file cannot be read, or fails when it is run.
    """
    try:
        source = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}.") from error
    found = assignments(source, path.name)
    if execute:
        found = _with_values(found, _executed(path))
    found = [one for one in found if _counts(one)]
    verdicts = [_verdict(one) for one in found]
    return [*_renamed(found, verdicts), *_together(found, verdicts, path.name)]


def _counts(one: Assigned) -> bool:
    """Whether it is a setting, or meant to be one."""
    if name_of(one.name) is not None or not one.own:
        return True
    return looks_known(one.name) or (one.name != one.name.lower() and is_ours(one.name))


def _verdict(one: Assigned) -> Verdict:
    name = name_of(one.name)
    if name is None:
        if one.own and not looks_known(one.name):
            return Verdict(one.line, one.name, "", "", _IGNORED, "No setting is called so.")
        return Verdict(one.line, one.name, "", "", REFUSED, str(unknown(one.name)))
    option = OPTIONS[name]
    if one.value is COMPUTED:
        return Verdict(one.line, one.name, name, repr(COMPUTED), option.status, option.effect())
    value = shown_value(option, one.value)
    try:
        kept = option.check(one.value)
        if name == "broker_url":
            _check_address(kept)
    except ConfigError as error:
        return Verdict(one.line, one.name, name, value, REFUSED, str(error))
    return Verdict(one.line, one.name, name, value, option.status_of(kept), option.effect(kept))


def _check_address(url: str | None) -> None:
    """What would be said of the URL of a server when it is opened."""
    from taskflow.stores import is_shared

    if url and is_shared(url):
        from taskflow.links.redis import parse

        parse(url)


def _renamed(found: Sequence[Assigned], verdicts: Sequence[Verdict]) -> Iterator[Verdict]:
    """Names in lower and upper case must not be mixed in one module."""
    known = [one.name for one in found if one.own and name_of(one.name) is not None]
    mixed = any(name == name.lower() for name in known)
    for one, verdict in zip(found, verdicts, strict=True):
        if mixed and one.own and verdict.name and one.name != one.name.lower():
            words = f"Names in lower and upper case are mixed: rename it {verdict.name}."
            yield verdict._replace(here=REFUSED, words=words)
        else:
            yield verdict


def _together(found: Sequence[Assigned], verdicts: Sequence[Verdict], called: str) -> Iterator[Verdict]:
    """What is well by itself may not go together."""
    values: dict[str, Any] = {}
    for one, verdict in zip(found, verdicts, strict=True):
        if is_spelt_out(one.value) and verdict.here not in (REFUSED, _IGNORED, Status.NOTHING):
            values[verdict.name] = one.value
    conf = Settings(discover=False)
    conf.override(settled(values, called))
    for made in (task_defaults, worker_defaults):
        try:
            made(conf)
        except TaskflowError as error:
            yield Verdict(None, "(together)", "", "", REFUSED, str(error))


def _executed(path: Path) -> dict[str, Any]:
    sys.path.insert(0, str(path.parent.absolute()))
    try:
        return runpy.run_path(str(path), run_name=path.stem)
    except Exception as error:
        raise ConfigError(f"{path} failed when it was run: {type(error).__name__}: {error}.") from error
    finally:
        sys.path.remove(str(path.parent.absolute()))


def _with_values(found: Sequence[Assigned], values: dict[str, Any]) -> list[Assigned]:
    """The file's own names with what they were in the end, where they were set last."""
    last = {one.name: one.line for one in found if one.own}
    told = [one for one in found if not one.own]
    own = [
        Assigned(last.get(name), name, value, True)
        for name, value in values.items()
        if not name.startswith("_")
    ]
    return sorted([*told, *own], key=lambda one: one.line or 0)
