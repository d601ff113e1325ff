"""Write docs/settings.md from the table of settings: python docs/settings_page.py (make pages)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from taskflow.settings import OPTIONS, PROFILES, Option, Status
from taskflow.settings.option import SAME
from taskflow.settings.table import GROUPS, old_names

PAGE = Path(__file__).with_name("settings.md")

INTRODUCTION = """\
# Settings

Made of the table in `taskflow/settings` by `make pages`.

```python
app = taskflow.Taskflow("shop", broker="redis://localhost:6379/0")
app.conf.task_time_limit = 60  # by attribute, by item, or several:
app.conf.update(timezone="Asia/Tokyo", worker_concurrency=4)
app.config_from_object("django.conf:settings", namespace="CELERY")
app.conf.explain()  # what counts, where it was set, and what it does here
```

The names are Celery's. Each setting is also known by the names that it had before Celery 4, and by
`CELERY_` or `TASKFLOW_` and its name in upper case: `worker_concurrency`, `CELERYD_CONCURRENCY`,
`CELERY_WORKER_CONCURRENCY`.

## What counts

The strongest first:

1. the command line: `taskflow -A shop -b URL worker`, and the flags of a command;
2. the environment: `TASKFLOW_` and the name of any setting (`TASKFLOW_TASK_TIME_LIMIT=60`), and what Celery
   reads, `CELERY_BROKER_URL` and `CELERY_RESULT_BACKEND`;
3. what the program sets: arguments of `Taskflow(…)`, attributes, items, `update`; the last one;
4. what the program loads: `config_from_object`, `config_from_envvar`; the last one, and what an earlier one
   alone says stays;
5. when nothing is loaded: the module that `$TASKFLOW_CONFIG_MODULE` or `$CELERY_CONFIG_MODULE` names, else
   `taskflowconfig.py`, else `celeryconfig.py` in the working directory;
6. the profile; Celery's defaults with `compat="celery"`; our defaults.

The environment comes before the program, as for `CELERY_BROKER_URL` in Celery: the same image runs here and
there. Sources are read when a value is first asked for. Without `broker_url` the store is that of
`$TASKFLOW_URL`, else the embedded one.

## What is taken from a source

| a name | in a dictionary | in a module, class or object |
|---|---|---|
| of a setting, any of its names | is set; the value is checked | the same |
| lower case, unknown | an error that names the nearest | its own, unless it looks like a mistyped setting |
| `CELERY_…`, `TASKFLOW_…`, unknown | an error if it looks like a setting, else a line in the log | the same |
| other upper case (`DEBUG`, `SECRET_KEY`) | somebody else's | somebody else's |

So `app.conf.update(flask_app.config)` takes what is meant for us. Names in lower and upper case in one
source are an error that says what to rename. With `namespace="CELERY"` only names with that prefix count,
and Django's `TIME_ZONE` where no `timezone` is given.

A setting that has no meaning here may be set; a line in the log says so once, and `explain()` always.
`taskflow doctor --from-celery celeryconfig.py` says it of a whole file before anything runs ([coming from
Celery](coming-from-celery.md)).

"""


def page() -> str:
    """The text of the page."""
    return "".join([INTRODUCTION, *_differing(), *_profiles(), *_groups()])


def _differing() -> Iterator[str]:
    yield '## What differs from Celery on purpose\n\n`compat="celery"` brings Celery\'s defaults back.\n\n'
    yield "| setting | here | Celery | why |\n|---|---|---|---|\n"
    for option in OPTIONS.values():
        if option.status is Status.DIFFERS:
            theirs = "the same" if option.celery is SAME else _value(option.celery)
            yield f"| `{option.name}` | {_default(option)} | {theirs} | {option.why} |\n"
    yield "\n"


def _profiles() -> Iterator[str]:
    yield "## Profiles\n\n"
    for name, values in PROFILES.items():
        yield f'`Taskflow("shop", profile="{name}")` or `TASKFLOW_PROFILE={name}` changes these defaults:\n\n'
        yield "| setting | default | profile |\n|---|---|---|\n"
        for setting, value in values.items():
            option = OPTIONS[setting]
            yield f"| `{setting}` | {_default(option)} | {_value(value)} {option.unit} |\n"
        yield "\n"


def _groups() -> Iterator[str]:
    for title, options in GROUPS.items():
        yield f"## {title}\n\n"
        meant = [option for option in options if option.status is not Status.NOTHING]
        if meant:
            yield "| setting | is | default | here | what it does |\n|---|---|---|---|---|\n"
            yield from map(_row, sorted(meant, key=lambda option: option.name))
            yield "\n"
        idle = [option for option in options if option.status is Status.NOTHING]
        if idle:
            yield "Accepted, and without meaning here:\n\n| setting | why |\n|---|---|\n"
            yield from (f"| {_names(option)} | {option.effect()} |\n" for option in sorted(idle, key=_name))
            yield "\n"


def _row(option: Option) -> str:
    words = option.kind.words if option.kind.words.startswith("'") is False else f"one of {option.kind.words}"
    unit = f", in {option.unit}" if option.unit and option.unit not in ("s", "times") else ""
    here = "ours" if option.ours else str(option.status)
    cells = (_names(option), f"{words}{unit}", _default(option), here, option.effect())
    return f"| {' | '.join(_cell(cell) for cell in cells)} |\n"


def _names(option: Option) -> str:
    old = ", ".join(f"`{name}`" for name in old_names(option) if name != f"CELERY_{option.name.upper()}")
    return f"`{option.name}`{f'<br>{old}' if old else ''}"


def _default(option: Option) -> str:
    if option.default is None:
        return option.none or "none"
    unit = " s" if option.unit == "s" and not isinstance(option.default, str) else ""
    return f"{_value(option.default)}{unit}"


def _value(value: Any) -> str:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return f"`{value!r}`"


def _name(option: Option) -> str:
    return option.name


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
