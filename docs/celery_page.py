"""Write docs/coming-from-celery.md: python docs/celery_page.py (make pages).

The names are those of Celery 5.6; whether a name is here is looked up when the page is made, so that it never says
more than there is.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from importlib.util import find_spec
from operator import contains
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any, NamedTuple

PAGE = Path(__file__).with_name("coming-from-celery.md")

INTRODUCTION = """\
# Coming from Celery

Code that was written for Celery runs here when `celery` becomes `taskflow` and `Celery` becomes `Taskflow` in
imports and shell commands. Settings stay as they are, also those that begin with `CELERY_`. This page says what is
the same, what is not, and why. Its tables are made by `make pages`, which looks up what is here.

```python
from taskflow import Taskflow

app = Taskflow("shop", broker="redis://localhost:6379/0")


@app.task(bind=True, max_retries=3)
def fetch(self, url):
    try:
        return download(url)
    except OSError as error:
        raise self.retry(exc=error, countdown=60 * 2**self.request.retries)


fetch.delay("https://example.org").get(timeout=10)
```

## The move, in ten steps

1. **Read the configuration.** `taskflow doctor --from-celery celeryconfig.py` (or Django's `settings.py`, or the
   module that makes the app) says line by line what happens to each setting, and runs nothing of the file; its exit
   code is 1 when something would be refused. `--run` runs the file, to know the values that it computes.
2. **Install it beside Celery**: `pip install jupyter-taskflow`. Neither package touches the other.
3. **Rename** in imports and commands: `from celery import Celery` → `from taskflow import Taskflow`,
   `from celery.signals import …` → `from taskflow.signals import …`. Names of your own modules (`proj/celery.py`) and
   settings may stay. Or leave the code as it is for now: `taskflow.contrib.celery.install()`, where the program
   begins, makes `import celery` mean ours ([Tasks in Celery's words](celery.md)). Beside Flask
   `taskflow.contrib.flask.init_app(app)` takes the settings, and gives tasks the context.
4. **Name the store** in `broker_url`. A Redis server stays, with a namespace of its own
   (`redis://host:6379/0?namespace=shop`); instead of RabbitMQ or SQS take one, or a file for a single host. Leave
   `result_backend` out: the store keeps the results.
5. **Carry the key** to all machines: payloads are signed, and what is not is never opened. `taskflow key export`
   on one, `TASKFLOW_KEY` or `TASKFLOW_KEY_FILE` on the others ([many machines](many-machines.md)).
6. **Look for what relies on the differences** below: tasks that must not run twice (`acks_late=False`), rates that
   were meant per worker, priorities on Redis, code that takes PENDING for "there is no such task".
7. **Run the tests**, with `task_always_eager` where they had it; or with `Client(mode="inline")`, which is the same
   engine.
8. **Start workers beside the old ones**, with the same flags: `taskflow -A proj worker -l info -c 4`. They take
   nothing from Celery's queues, nor Celery's workers from theirs.
9. **Move the senders**: first beat (stop Celery's, start ours), then the web application. Let Celery's workers run
   until their queues are empty; what waits for a distant ETA there is sent again here.
10. **Take away** what is not needed any more: Celery's workers and result backend, visibility timeouts, prefetch
    settings, locks around beat, the database of results. `taskflow runs`, `taskflow show` and a notebook show what
    is going on.

## What differs on purpose

| in Celery | here | why |
|---|---|---|
| a message is acknowledged before the task runs; a worker that dies loses it | a call of a lost worker is given to another one, at most three times beyond its retries, then it is a dead letter | lost work is the costlier surprise; `acks_late=False` for the others |
| a worker takes four messages for each slot | a few milliseconds of work ahead, and no more | a long task does not hold up those behind it |
| on Redis a task that runs longer than `visibility_timeout` runs twice | a lease is renewed while the task runs | no task is too long |
| `rate_limit` counts in each worker | in the store, over all of them; `RateLimit(…, per_worker=True)` | the service that is spared does not count workers |
| a higher priority runs first on RabbitMQ, a lower one on Redis | a higher one runs first, 0 to 255, in every store | one rule |
| results are gone after a day, and have no name or arguments | kept for a week, with name, arguments, worker and output; bounded by `worker_keep_gb` | a failure of Friday is looked at on Monday |
| an id that does not exist is PENDING | `NoSuchRun` | waiting for it would never end |
| without a backend there are no results | the store keeps them | one place to ask |
| unknown settings and options are taken silently | an error that names the nearest | a typo is no setting |
| `json` refuses a DataFrame, `pickle` opens whatever it finds | any value travels, signed; what your key has not signed is never opened | [signed by default](adr/0005-signed-by-default.md) |
| a chord is counted by workers and its backend, and may hang | the step that records the last part queues the body | a crash between the two cannot be |
| a revoked id is remembered by the workers that heard of it | it is a state of the store | also a worker that starts later knows |
| a countdown, an ETA or a retry waits in a worker's memory | in the store | it survives all workers |
| one beat, and a second one sends everything twice | any number of beats, each tick once | no single process to guard |
| the environment names the broker | it sets any setting: `TASKFLOW_TASK_TIME_LIMIT=60` | one image for all places |
| `config_from_object` discards what was set before | it adds to it | the order of two lines decides less |
| `"*"` of `task_annotations` comes before a task's own | the task's own comes first | the nearer word counts |
| `-n` of a worker is its name | its slots; a name is `--name` or `--hostname` | as `%taskflow start -n 4` |

`compat="celery"`, for an app or in `TASKFLOW_COMPAT`, brings back the defaults of the settings that differ
([Settings](settings.md#what-differs-from-celery-on-purpose)); the engine stays what it is.

## Name by name

*The same* means: the same name, arguments and meaning. Names of Celery's inside are left out where no code of an
application uses them. Settings have [a page of their own](settings.md).

"""

_NONE: Mapping[str, str] = MappingProxyType({})


class Section(NamedTuple):
    """A table of names.

    Args:
        title: Its heading.
        names: What Celery has there, separated by spaces.
        has: Whether a name is here.
        notes: Of names that are here, and not quite the same.
        gone: Names that have no meaning here, and why, or what to write instead; several share a line.
        words: What to say first.
    """

    title: str
    names: str
    has: Callable[[str], bool]
    notes: Mapping[str, str] = _NONE
    gone: Mapping[str, str] = _NONE
    words: str = ""


def page() -> str:
    """The text of the page."""
    lines = (line for section in _sections() for line in _section(section))
    return INTRODUCTION + "".join(lines).rstrip("\n") + "\n"


def _section(section: Section) -> Iterator[str]:
    names = section.names.split()
    gone = {name: why for group, why in section.gone.items() for name in group.split()}
    here = [name for name in names if name not in gone and section.has(name)]
    same = [name for name in here if name not in section.notes]
    later = [name for name in names if name not in gone and name not in here]
    unknown = [name for name in (*gone, *section.notes) if name not in names]
    assert not unknown, f"{section.title}: {unknown} are no names of Celery's"
    yield f"### {section.title}\n\n"
    if section.words:
        yield f"{section.words}\n\n"
    if same:
        yield f"The same: {_listed(same)}.\n\n"
    if section.notes or gone:
        yield "| Celery | here |\n|---|---|\n"
        yield from (f"| `{name}` | {section.notes[name]} |\n" for name in here if name in section.notes)
        yield from (f"| {_listed(group.split())} | {why} |\n" for group, why in section.gone.items())
        yield "\n"
    if later:
        yield f"Not yet: {_listed(later)}.\n\n"


def _listed(names: list[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _of(*things: Any) -> Callable[[str], bool]:
    """Whether one of them has it; a property is not asked for its value, which a store would have to tell."""

    def has(name: str) -> bool:
        return any(
            hasattr(thing, name)
            if isinstance(thing, (type, ModuleType))
            else hasattr(type(thing), name) or name in getattr(thing, "__dict__", ())
            for thing in things
        )

    return has


def _steering(app: type) -> tuple[Any, Any]:
    """What `app.control` is, and what its `inspect` gives; their classes, since they ask a store."""
    if not hasattr(app, "control") or find_spec("taskflow.steering") is None:
        return object, object
    steering = __import__("taskflow.steering", fromlist=["*"])
    return steering.AppControl, steering.Inspect


def _classes(module: str) -> list[Any]:
    if find_spec(module) is None:
        return []
    found = vars(__import__(module, fromlist=["*"])).values()
    return [each for each in found if isinstance(each, type)]


def _in_module(name: str) -> Callable[[str], bool]:
    if find_spec(name) is None:
        return lambda _: False
    module = __import__(name, fromlist=["*"])
    return lambda each: hasattr(module, each)


def _modules(name: str) -> bool:
    try:
        return find_spec(f"taskflow.{name}") is not None
    except ModuleNotFoundError:
        return False


def _flags(title: str, names: str, command: str, notes: Mapping[str, str] = _NONE) -> Section:
    """The flags of a command; those that are taken and change nothing say so in its help."""
    from taskflow.cli import program

    parser, commands = program._parsers()
    known = commands.get(command) if command else parser
    idle: dict[str, list[str]] = {}
    for group in known._action_groups if known else ():
        for action in group._group_actions:
            if "meaning" in f"{group.title} {action.help}":
                why = str(action.help).removeprefix("no meaning here").replace("%%", "%")
                idle.setdefault(f"No meaning: {why}.".replace(": : ", ": ").replace(": .", "."), []).extend(
                    action.option_strings
                )
    wanted = names.split()
    gone = {" ".join(flag for flag in flags if flag in wanted): why for why, flags in idle.items()}
    has = partial(contains, known._option_string_actions if known else ())
    return Section(title, names, has, notes, {flags: why for flags, why in gone.items() if flags})


_AMQP = "There is no AMQP: a store is opened by its URL, and connections are the store's own."
_PARTS = "The worker has no parts to exchange; what happens is told by signals and `taskflow.observe`."
_INSIDE = "How Celery is made; there is nothing to put in its place."


_FLAGS_BEFORE = "-A --app -b --broker --result-backend --loader --config --workdir -C --no-color -q --quiet --version --skip-checks"
_FLAGS_OF_WORKERS = (
    "-n --hostname -D --detach -S --statedb -l --loglevel -O --optimization --prefetch-multiplier --disable-prefetch"
    " -c --concurrency -P --pool -E --task-events --events --time-limit --soft-time-limit --max-tasks-per-child"
    " --pool-start-method --max-memory-per-child --purge --discard -Q --queues -X --exclude-queues -I --include"
    " --without-gossip --without-mingle --without-heartbeat --heartbeat-interval --autoscale -B --beat -s --schedule"
    " --schedule-filename --scheduler -f --logfile --pidfile --uid --gid --umask --executable"
)
_FLAGS = {
    "beat": "--detach -s --schedule -S --scheduler --max-interval --enable-remote-control -n --hostname -l --loglevel"
    " -f --logfile --pidfile --uid --gid --umask --executable",
    "call": "-a --args -k --kwargs --eta --countdown --expires --serializer --queue --exchange --routing-key",
    "result": "-t --task --traceback",
    "purge": "-f --force -Q --queues -X --exclude-queues",
    "status": "-t --timeout -d --destination -j --json",
    "inspect": "--list -t --timeout -d --destination -j --json",
    "control": "--list -t --timeout -d --destination -j --json",
    "events": "-d --dump -c --camera --detach -F --frequency --freq -r --maxrate -l --loglevel -f --logfile --pidfile"
    " --uid --gid --umask --executable",
    "shell": "-I --ipython -B --bpython --python -T --without-tasks --eventlet --gevent",
}


def _sections() -> Iterator[Section]:
    import taskflow
    from taskflow import Taskflow, canvas, exceptions, result, signals
    from taskflow.app import Request

    app = Taskflow("page", set_as_current=False)
    task = app.task(name="page.add")(lambda x, y: x + y)
    request = Request(task)
    control, inspect = _steering(Taskflow)

    yield Section(
        "The package",
        "Celery Signature Task bugreport chain chord chunks current_app current_task group maybe_signature"
        " shared_task signature subtask uuid xmap xstarmap",
        lambda name: hasattr(taskflow, "Taskflow" if name == "Celery" else name),
        {"Celery": "`Taskflow`, also as `App`."},
        {
            "bugreport": "`taskflow doctor`.",
            "subtask": "`signature`.",
            "uuid": "`str(uuid.uuid4())`; an id may be any text that names no other run.",
        },
        "`from celery import …` becomes `from taskflow import …`.",
    )
    yield Section(
        "The application",
        "AsyncResult Beat GroupResult ResultSet Task Worker WorkController add_defaults add_periodic_task"
        " amqp annotations autodiscover_tasks backend broker_connection bugreport close conf config_from_cmdline"
        " config_from_envvar config_from_object connection connection_for_read connection_for_write"
        " connection_or_acquire control current_task current_worker_task default_connection default_producer"
        " events finalize gen_task_name loader log main now on_after_configure on_after_finalize on_after_fork"
        " on_configure on_init pool prepare_config producer_or_acquire producer_pool register_task"
        " select_queues send_task set_current set_default setup_security signature start steps task tasks"
        " thread_oid oid timezone type_checker user_options uses_utc_timezone worker_main Pickler IS_WINDOWS"
        " IS_macOS SYSTEM amqp_cls backend_cls builtin_fixups control_cls create_task_cls either events_cls"
        " loader_cls log_cls registry_cls subclass_with_self",
        _of(app),
        {
            "conf": "Unknown names are errors that name the nearest; `explain()`; see [Settings](settings.md).",
            "backend": "`None`, unless results are put somewhere besides the store.",
            "config_from_object": "Adds to what was set before, and replaces nothing else.",
            "autodiscover_tasks": "What is wrong inside a module that is found is raised, not hidden.",
            "send_task": "Of a name that is not known here the worker looks for the task.",
            "Task": "A class of its own is `class Mine(app.Task)`, or `base=Mine`.",
        },
        {
            "amqp broker_connection connection connection_for_read connection_for_write connection_or_acquire"
            " default_connection default_producer pool producer_or_acquire producer_pool": _AMQP,
            "loader steps user_options on_init on_after_fork config_from_cmdline prepare_config"
            " type_checker oid thread_oid builtin_fixups either subclass_with_self create_task_cls Pickler"
            " IS_WINDOWS IS_macOS SYSTEM": _INSIDE,
            "amqp_cls backend_cls control_cls events_cls loader_cls log_cls registry_cls": "An application has no"
            " parts to exchange.",
            "annotations": "`conf.task_annotations`.",
            "events": "`client.events()`.",
            "log": "`taskflow.logs`, and the module `logging`; lines of tasks are kept with their run: `taskflow logs ID`.",
            "select_queues": "`-Q` of a worker, or `conf.task_queues`.",
            "setup_security": "Payloads are signed already: `taskflow key`.",
            "uses_utc_timezone": "`app.timezone`.",
            "WorkController": "`Worker`.",
            "current_worker_task": "`current_task`.",
            "bugreport": "`taskflow doctor`.",
        },
    )
    yield Section(
        "Tasks",
        "MaxRetriesExceededError OperationalError Request Strategy abstract acks_late acks_on_failure"
        " acks_on_failure_or_timeout acks_on_timeout add_around add_to_chord add_trail after_return annotate app"
        " apply apply_async AsyncResult backend before_start bind chunks default_retry_delay delay expires"
        " from_config ignore_result map max_retries name on_bound on_failure on_replace on_retry on_success"
        " pop_request priority push_request rate_limit reject_on_worker_lost replace request request_stack"
        " resultrepr_maxsize retry retry_on_worker_lost run s send_event send_events serializer shadow_name si"
        " signature signature_from_request soft_time_limit starmap start_strategy store_errors_even_if_ignored"
        " subtask subtask_from_request throws time_limit track_started trail typing update_state"
        " autoretry_for dont_autoretry_for retry_backoff retry_backoff_max retry_jitter retry_kwargs",
        _of(task),
        {
            "acks_late": "True unless said otherwise, [on purpose](#what-differs-on-purpose).",
            "apply": "The same engine over a store in memory, in this process: links, retries and errors are real.",
            "map": "As in Celery a signature that runs one after the other, in one task; `client.map` runs them at once.",
            "rate_limit": "Counted over all workers of the store; `RateLimit(…, per_worker=True)` for Celery's.",
            "reject_on_worker_lost": "True unless said otherwise; a call is dead after `max_deliveries`.",
            "retry": "The wait is a state in the store: no worker has to remember it, and none is blocked.",
            "serializer": "Arguments travel as signed pickles, whatever is named.",
            "time_limit": "Needs the process pool; in others a call with one fails at once, and says so.",
            "typing": "Arguments are checked where a call is sent; type checkers know them too.",
            "update_state": "Told to who watches; nobody has to poll.",
            "send_event": "A note that is kept with the run; `data` is small and JSON.",
        },
        {
            "acks_on_failure acks_on_failure_or_timeout acks_on_timeout retry_on_worker_lost": "See [Settings]"
            "(settings.md): a call that failed has ended, what a lost worker ran is tried again.",
            "add_around annotate from_config on_bound Strategy start_strategy abstract": _INSIDE,
            "Request request_stack push_request pop_request": "`taskflow.app.Request`, of the call that runs.",
            "AsyncResult": "`taskflow.AsyncResult(id)`.",
            "add_trail trail send_events track_started store_errors_even_if_ignored": "Always on: the store keeps it.",
            "resultrepr_maxsize shadow_name": "What is shown of a call is cut by its length; `label=` names it.",
            "signature_from_request subtask_from_request subtask": "`retry` and `replace` make it; `signature`.",
            "OperationalError": "`taskflow.exceptions.OperationalError`.",
            "bind": "An argument of `@app.task`.",
        },
        "Arguments of `@app.task` and attributes of a class with `base=`. Any other name is an attribute of the"
        " task, unless it is nearly one of these: that is an error.",
    )
    yield Section(
        "The request of a task",
        "args callbacks called_directly chain children chord correlation_id delivery_info errbacks eta expires"
        " group group_index headers hostname id ignore_result is_eager kwargs logfile loglevel origin parent_id"
        " properties replaced_task_nesting reply_to retries root_id shadow soft_time_limit stamped_headers stamps"
        " taskset time_limit timelimit utc",
        _of(request),
        {
            "delivery_info": "`queue`, `routing_key` (the queue), `priority`, `redelivered`.",
            "origin": "The store that the call came from.",
            "hostname": "The name of the worker.",
            "root_id": "Asked of the store when it is wanted; so are `parent_id`, `group` and `children`.",
        },
        {
            "logfile loglevel utc taskset": "Matters of the worker, not of a call.",
            "callbacks errbacks chain": "A canvas is one graph in the store; see `taskflow show`.",
            "shadow": "`label`.",
        },
    )
    yield Section(
        "Options of `apply_async`",
        "args kwargs countdown eta expires retry retry_policy queue exchange routing_key priority serializer"
        " compression headers link link_error add_to_parent shadow task_id producer connection time_limit"
        " soft_time_limit ignore_result reply_to argsrepr kwargsrepr stamped_headers",
        lambda name: _accepts(task, name),
        {
            "expires": "Checked by the store: what is late is never started, and says *expired*.",
            "priority": "0 to 255, higher runs first, in every store.",
            "eta": "Kept in the store; with no zone it is UTC. No worker holds what is not due.",
            "retry": "About sending: that is asked again in any case. `RetryPolicy` is about running again.",
            "task_id": "An id is given once: another call with it is an error.",
            "shadow": "What a person reads; also `label=`.",
            "queue": "A name, or an object with one.",
            "routing_key": "Finds the queue of `task_queues` that has it, else is the name of the queue.",
        },
        {
            "serializer compression retry_policy producer connection reply_to argsrepr kwargsrepr"
            " add_to_parent": "Accepted, and without meaning: there are no messages.",
            "exchange": "Accepted; with `routing_key` it finds a queue.",
        },
        "Unknown options are errors that name the nearest.",
    )
    signature = canvas.signature("page.add")
    yield Section(
        "Canvas",
        "apply apply_async args body clone delay election flatten_links freeze from_dict id immutable kwargs link"
        " link_error name on_error options partial parent_id replace reprcall root_id set set_immutable skew stamp"
        " stamp_links subtask_type task tasks type unchain_tasks AsyncResult TYPES append_to_list_option"
        " extend_list_option register_type",
        _of(
            signature,
            canvas.group([signature]),
            canvas.chord([signature], signature),
            canvas.chain(signature),
        ),
        {
            "freeze": "The ids of a whole canvas are known before anything is sent.",
            "link_error": "Called by the store's rules, as often as Celery documents.",
            "stamp": "Stamps travel as headers; runs are found by `tags=`.",
            "replace": "Inside a task: the edit travels in the step that ends the call.",
        },
        {
            "election AsyncResult TYPES append_to_list_option extend_list_option register_type reprcall"
            " subtask_type type": _INSIDE,
            "partial": "A signature is one: `sig.clone(args)`.",
            "root_id parent_id": "`AsyncResult.parent`, and the run that it is part of.",
            "skew": "`countdown=` of each member.",
            "unchain_tasks": "`sig.tasks`.",
        },
        "`chain`, `group`, `chord`, `chunks`, `xmap`, `xstarmap` and `|` in any nesting. A canvas becomes one flat"
        " graph before it is sent, so that nesting has no protocol of its own; it is drawn in a notebook, and"
        " `to_workflow()` goes on from there.",
    )
    yield Section(
        "Stamping",
        "on_callback on_chain_end on_chain_start on_chord_body on_chord_header_end on_chord_header_start"
        " on_errback on_group_end on_group_start on_signature",
        _of(getattr(canvas, "StampingVisitor", object)),
        words="`StampingVisitor`, of `taskflow.canvas`.",
    )
    yield Section(
        "Results",
        "app args as_list as_tuple backend build_graph children collect date_done exists failed forget get get_leaf"
        " graph id ignored info iterdeps kwargs maybe_reraise maybe_throw name parent queue ready result retries"
        " revoke revoke_by_stamped_headers state status successful supports_native_join task_id then throw"
        " TimeoutError traceback wait worker",
        _of(result.AsyncResult),
        {
            "get": "Waits for word from the store, and looks again: a lost word costs a moment. Inside"
            " a task it lends its slot, and so never blocks a pool.",
            "state": "An id that nobody has submitted raises `NoSuchRun`: PENDING means that it is there.",
            "status": "The same as `state`.",
            "children": "Those of a group's members; what a task has sent is in `taskflow show`.",
            "revoke": "Is kept by the store: also a worker that starts later knows.",
            "exists": "Whether the store knows it.",
            "traceback": "The worker's, as text; in a notebook with the lines of the cell.",
            "args": "Kept without `result_extended`; so are `kwargs`, `name`, `worker`, `queue` and `retries`.",
        },
        {
            "build_graph get_leaf graph iterdeps supports_native_join": "`to_workflow()` of a canvas, `taskflow show`.",
            "throw": "`maybe_throw`.",
            "TimeoutError": "`taskflow.exceptions.TimeoutError`, which is Python's as well.",
        },
        "`AsyncResult`; it can be awaited, and `r.future` is a `concurrent.futures.Future`.",
    )
    yield Section(
        "Groups of results",
        "add app as_tuple backend children clear completed_count delete discard failed forget get id iter_native"
        " join join_native maybe_reraise maybe_throw parent ready remove restore results revoke save successful"
        " supports_native_join then update waiting",
        _of(result.GroupResult, result.ResultSet),
        {"save": "A group of the store needs no saving: any process restores it by its id."},
        {"supports_native_join": "Every store answers for many at once."},
        "`ResultSet` and `GroupResult`.",
    )
    yield Section(
        "The module of results",
        "AsyncResult ResultSet GroupResult EagerResult result_from_tuple ResultBase allow_join_result"
        " assert_will_not_block denied_join_result",
        _of(result),
        {
            "EagerResult": "What `Task.apply` gives: its run was real, in this process.",
            "allow_join_result": "Nothing is forbidden: a task that waits lends its slot.",
        },
        {
            "ResultBase": "`AsyncResult` or `ResultSet`.",
            "assert_will_not_block denied_join_result": "A task that waits for a result lends its slot.",
        },
        "`taskflow.result`.",
    )
    yield Section(
        "Signals",
        "before_task_publish after_task_publish task_internal_error task_prerun task_postrun task_success"
        " task_received task_rejected task_unknown task_retry task_failure task_revoked celeryd_init"
        " celeryd_after_setup worker_init worker_before_create_process worker_process_init worker_process_shutdown"
        " worker_ready worker_shutdown worker_shutting_down setup_logging after_setup_logger"
        " after_setup_task_logger beat_init beat_embedded_init heartbeat_sent import_modules eventlet_pool_started"
        " eventlet_pool_preshutdown eventlet_pool_postshutdown eventlet_pool_apply",
        _of(signals),
        {
            "heartbeat_sent": "Of a worker, when it has said that it lives; workers do not hear each other.",
            "eventlet_pool_started": "Can be connected to, and is never sent; so are the other three of eventlet.",
        },
        words="`taskflow.signals`. A handler that fails is logged, and harms nothing.",
    )
    yield Section(
        "Exceptions",
        "AlreadyRegistered AlwaysEagerIgnored BackendError BackendGetMetaError BackendStoreError"
        " CDeprecationWarning CPendingDeprecationWarning CeleryCommandException CeleryError CeleryWarning"
        " ChordError DuplicateNodenameWarning DuplicateTaskNameWarning FixupWarning Ignore ImproperlyConfigured"
        " IncompleteStream InvalidTaskError MaxRetriesExceededError NotConfigured NotRegistered OperationalError"
        " QueueNotFound Reject Retry SecurityError SecurityWarning SoftTimeLimitExceeded TaskError TaskPredicate"
        " TaskRevokedError Terminated TimeLimitExceeded TimeoutError WorkerLostError WorkerShutdown"
        " WorkerTerminate reraise",
        _of(exceptions),
        {
            "ImproperlyConfigured": "`errors.ConfigError`.",
            "OperationalError": "`errors.StoreUnavailable`: raised within seconds, never a hang.",
            "TimeoutError": "`errors.WaitTimedOut`: the wait ended, the task did not.",
            "TimeLimitExceeded": "`errors.TaskTimedOut`.",
            "TaskRevokedError": "`errors.TaskCancelled`.",
            "WorkerLostError": "`errors.WorkerLost`, with the signal; `errors.OOMKilled` is one.",
            "ChordError": "`errors.UpstreamFailed`; `root` is the id of the first that failed.",
            "AlreadyRegistered": "`errors.Duplicate`.",
            "Ignore": "`errors.Skip`: the call is *skipped*.",
        },
        {
            "AlwaysEagerIgnored CDeprecationWarning CPendingDeprecationWarning CeleryWarning"
            " DuplicateNodenameWarning DuplicateTaskNameWarning FixupWarning NotConfigured"
            " SecurityWarning": "Such warnings are not given.",
            "CeleryError": "`errors.TaskflowError`.",
            "CeleryCommandException WorkerShutdown WorkerTerminate Terminated reraise TaskPredicate"
            " IncompleteStream": _INSIDE,
            "BackendError BackendGetMetaError BackendStoreError": "`errors.StoreError`.",
            "InvalidTaskError SecurityError": "`errors.PayloadError`, `errors.Untrusted`: never opened.",
            "QueueNotFound": "`errors.ConfigError`.",
        },
        "`taskflow.exceptions` has Celery's names; the tree is `taskflow.errors`.",
    )
    yield Section(
        "Schedules",
        "schedule crontab solar maybe_schedule crontab_parser ParseException",
        _in_module("taskflow.schedules"),
        {},
        {"crontab_parser ParseException maybe_schedule": _INSIDE},
        "`taskflow.schedules`. Schedules are kept in the store: any number of beats may run, and each tick is sent"
        " once.",
    )
    yield Section(
        "Methods of schedules",
        "from_string human_seconds is_due maybe_make_aware remaining_delta remaining_estimate seconds relative"
        " to_local tz utc_enabled max_search_days run_every",
        _of(*_classes("taskflow.schedules")),
        {},
        {
            "human_seconds maybe_make_aware to_local utc_enabled max_search_days remaining_delta tz": _INSIDE,
            "is_due remaining_estimate": "Beat asks a schedule for its next moments; `schedules.next_runs` shows them.",
            "seconds": "`run_every`.",
        },
    )
    yield Section(
        "States",
        "PENDING RECEIVED STARTED SUCCESS FAILURE REVOKED RETRY IGNORED READY_STATES UNREADY_STATES"
        " EXCEPTION_STATES PROPAGATE_STATES",
        _in_module("taskflow.states"),
        {
            "RECEIVED": "Never said: a worker takes work when it runs it.",
            "READY_STATES": "Also IGNORED and REJECTED: what a task itself ended is ready.",
        },
        words="`AsyncResult.state` says these words. The engine's own are *blocked, waiting, queued, running*, then"
        " *succeeded, failed, cancelled, expired, skipped, dead*.",
    )
    yield Section(
        "Remote control",
        "add_consumer autoscale broadcast cancel_consumer disable_events discard_all election enable_events"
        " heartbeat inspect ping pool_grow pool_restart pool_shrink purge rate_limit revoke"
        " revoke_by_stamped_headers shutdown terminate time_limit",
        _of(control),
        {
            "enable_events": "Taken; the store tells what happens to every call, always.",
            "disable_events": "Taken, and changes nothing.",
            "revoke": "What runs goes on unless `terminate=True`; the id must be known to the store.",
            "rate_limit": "Of each worker; `rate_limit=` of a task counts over all workers.",
            "pool_restart": "The whole worker starts anew, in its process, when what runs has ended.",
        },
        {
            "election": "Workers do not talk to each other: what they are to be is in the store.",
        },
        "`app.control`. What workers are told is state of the store: those that start later keep to it as well.",
    )
    yield Section(
        "Inspection",
        "active active_queues clock conf hello memdump memsample objgraph ping query_task registered"
        " registered_tasks report reserved revoked scheduled stats",
        _of(inspect),
        {
            "reserved": "What a worker keeps for the rate of its task; nothing else is taken ahead.",
            "scheduled": "It waits in the store: told of the first worker that serves its queue.",
            "clock": "How many changes of what is wanted of workers each has followed.",
        },
        {
            "hello": "Workers do not talk to each other.",
            "objgraph": "A debugger of memory does it better; children are replaced by their size.",
        },
        "`app.control.inspect()`. Workers are asked to say how they are, and left out when they do not in time;"
        " what runs is read from the leases in the store.",
    )
    yield from _of_the_command_line()
    yield Section(
        "Modules",
        "app app.task apps backends beat bin bootsteps canvas concurrency contrib.abortable contrib.django contrib.migrate"
        " contrib.pytest contrib.rdb contrib.sphinx contrib.testing events exceptions loaders local platforms"
        " result schedules security signals states utils utils.log worker",
        _modules,
        {
            "states": "Also the engine's own: `State`.",
            "worker": "Of the engine; a worker is started by the command.",
        },
        {
            "apps bootsteps concurrency loaders local platforms utils": _INSIDE,
            "bin": "`taskflow.cli`.",
            "contrib.migrate": "What waits in a broker is run by its workers: see the ten steps.",
            "contrib.rdb": "`future.debug()`, and `%debug` in a notebook.",
            "contrib.sphinx": "A task is documented as the function that it is.",
            "contrib.pytest": '`pytest_plugins = ["taskflow.testing.pytest"]`: `taskflow_app`, `taskflow_worker`.',
            "contrib.testing": "`taskflow.testing.worker.start_worker`.",
            "contrib.abortable": "`revoke()`; with `terminate=True` also what runs.",
            "events": "`client.events()`, `taskflow show RUN -f`, signals.",
            "security": "`taskflow key`.",
            "utils.log": "`taskflow.logs`: `get_task_logger`, `TaskFormatter`.",
        },
        "`celery.x` becomes `taskflow.x`.",
    )


def _of_the_command_line() -> Iterator[Section]:
    from taskflow.cli.program import COMMANDS

    yield Section(
        "Commands",
        "amqp beat call control events flower graph inspect list logtool migrate multi purge report result shell"
        " status upgrade worker",
        partial(contains, COMMANDS),
        {
            "worker": "See below.",
            "result": "Also of runs and of items of maps.",
            "purge": "Says what it would cancel, and asks; it is cancelled, and can be looked at.",
            "control": "Also `drain`, `resume`, `reset`; without a command it says what is wanted.",
            "events": "A stream of lines; there are no cameras.",
            "list": "`queues`; of `bindings` there are none.",
        },
        {
            "amqp": _AMQP,
            "logtool": "`taskflow logs ID`.",
            "migrate": "What waits in a broker is run by its workers: see the ten steps.",
            "upgrade": "`taskflow doctor --from-celery FILE` says the new name of each setting.",
        },
        "`celery -A proj …` becomes `taskflow -A proj …`. There are also `runs`, `show`, `logs`, `dead`, `retry`,"
        " `cancel`, `queues`, `workers`, `limits`, `schedules`, `key` and `doctor`.",
    )
    yield _flags("Flags before the command", _FLAGS_BEFORE, "")
    yield _flags(
        "Flags of the worker",
        _FLAGS_OF_WORKERS,
        "worker",
        {
            "-n": "Slots, as `-c`; a name is `--name` or `--hostname`.",
            "--pool": "`prefork` is `process`, `solo` one process at a time, `threads` is `thread`.",
            "-Q": "Also with weights: `high:3,default:1`; `--strict` for the first before the next.",
        },
    )
    for command, flags in _FLAGS.items():
        yield _flags(f"Flags of {command}", flags, command)


def _accepts(task: Any, option: str) -> bool:
    """Whether a call may be given an option, as those who send it see it."""
    from dataclasses import fields

    from taskflow.canvas.calling import OF_MESSAGES
    from taskflow.policy import Options

    known = {
        "args",
        "kwargs",
        "task_id",
        "link",
        "link_error",
        "shadow",
        *OF_MESSAGES,
        *(f.name for f in fields(Options)),
    }
    return option in known


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    sys.stdout.write(f"{PAGE}\n")
