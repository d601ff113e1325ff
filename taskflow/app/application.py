"""`Taskflow`: an application, as Celery users know it. Declare tasks, then send them."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime, tzinfo
from importlib import import_module
from typing import TYPE_CHECKING, Any, Concatenate, Literal, ParamSpec, TypeVar, overload

from taskflow import canvas, hooks, signals
from taskflow.app import current, fixups
from taskflow.app.registry import Tasks
from taskflow.app.sending import Sending
from taskflow.app.task import AnyTask, make_task
from taskflow.app.task import Task as _Task
from taskflow.errors import ConfigError, UsageError
from taskflow.settings import Settings, max_deliveries, task_attributes, task_defaults, time_zone

if TYPE_CHECKING:
    from taskflow.alerts import Alerts
    from taskflow.beat import Beat, Schedules, Wanted
    from taskflow.steering import AppControl

__all__ = ["Taskflow"]

P = ParamSpec("P")
R = TypeVar("R")

_SAID = (
    *("queue", "priority", "time_limit", "soft_time_limit", "memory_limit", "rate_limit", "concurrency"),
    *("breaker", "unique", "expires", "tags", "ignore_result", "max_deliveries", "typing"),
)
"""Attributes of a task that are options of its calls."""
_STAYS = ("broker_url", "broker_read_url", "broker_write_url")
_CRASHES = 3
_ENDLESS = 1 << 30


class Taskflow(Sending):
    """An application: tasks with names, settings, and the store where their calls are kept.

    It is cheap to make: nothing is opened before something is sent. It is found again by the name of the
    module and of the variable that hold it, so workers import it; one that was made in a notebook travels by
    value.

    Args:
        main: Its name; of tasks that are defined in the module ``__main__``, too.
        broker: The store: ``redis://…``, ``sqlite:///…``; the user's own embedded one by default, whose
            workers are started when something is sent.
        backend: Where results are put as well, see docs/results.md; the store keeps them in any case.
        include: Modules that workers import, for the tasks in them.
        config_source: As for `config_from_object`.
        namespace: What the names of the settings there begin with.
        timezone: In which schedules are read; UTC by default.
        set_as_current: It becomes the application of those that name none.
        changes: Settings, by either name.
        autofinalize: Taken for Celery's sake.
        task_cls: The class of its tasks, or the path of one.
        profile: A set of settings that belong together: ``"production"``.
        settings: Further settings by name.

    Attributes:
        main: Its name.
        conf: Its settings.
        tasks: Its tasks, by name.
        router: Says where their calls wait.
        keeping: Puts results beside the store, where a setting wants it.
        around_calls: Makes what is around each call in a worker, as a context manager; or `None`.

    Example:
        ``app = Taskflow("shop", broker="redis://localhost:6379/0")``
    """

    def __init__(
        self,
        main: str | None = None,
        *,
        broker: str | None = None,
        backend: str | None = None,
        include: Sequence[str] = (),
        config_source: object | str | None = None,
        namespace: str | None = None,
        timezone: str | None = None,
        set_as_current: bool = True,
        changes: Mapping[str, Any] | None = None,
        autofinalize: bool = True,
        task_cls: type[AnyTask] | str | None = None,
        profile: str | None = None,
        **settings: Any,
    ) -> None:
        self.main = main or "__main__"
        given: dict[str, Any] = {"broker_url": broker, "result_backend": backend, "timezone": timezone}
        given |= {"include": tuple(include) or None, **(changes or {}), **settings}
        said = {name: value for name, value in given.items() if value is not None}
        self.conf = Settings(said, profile=profile, source=f"Taskflow({self.main!r})")
        if config_source is not None:
            self.config_from_object(config_source, namespace=namespace)
        self.tasks = Tasks(self)
        super().__init__(self.conf)
        self.around_calls: Callable[[], AbstractContextManager[Any]] | None = None
        self.on_configure = signals.Signal("on_configure")
        self.on_after_configure = signals.Signal("on_after_configure")
        self.on_after_finalize = signals.Signal("on_after_finalize")
        self.finalized = False
        self._task_cls = task_cls
        self._periodic: dict[str, dict[str, Any]] = {}
        self._discovery: list[Callable[[], Iterable[str]]] = []
        self._module: str = sys._getframe(1).f_globals.get("__name__", "__main__")
        if set_as_current:
            self.set_current()
        fixups.install(self)

    # ── tasks ────────────────────────────────────────────────────────────────────────

    @property
    def Task(self) -> type[AnyTask]:  # noqa: N802 - Celery's name
        """The class of its tasks: ``class Mine(app.Task)``."""
        kind = self._task_cls
        if isinstance(kind, str):
            module, _, name = kind.replace(":", ".").rpartition(".")
            self._task_cls = kind = getattr(import_module(module), name)
        return kind or _Task

    @overload
    def task(self, fn: Callable[P, R], /) -> _Task[P, R]: ...
    @overload
    def task(
        self,
        fn: None = None,
        /,
        *,
        bind: Literal[True],
        name: str | None = None,
        base: type | None = None,
        **options: Any,
    ) -> Callable[[Callable[Concatenate[Any, P], R]], _Task[P, R]]: ...
    @overload
    def task(
        self,
        fn: None = None,
        /,
        *,
        bind: Literal[False] = False,
        name: str | None = None,
        base: type | None = None,
        **options: Any,
    ) -> Callable[[Callable[P, R]], _Task[P, R]]: ...
    def task(
        self,
        fn: Any = None,
        /,
        *,
        bind: bool = False,
        name: str | None = None,
        base: Any = None,
        **options: Any,
    ) -> Any:
        """Make a task of a function: ``@app.task`` or ``@app.task(bind=True, max_retries=5)``.

        Args:
            fn: The function.
            bind: It gets the task as its first argument, and asks that for `Task.request` and `Task.retry`.
            name: Under which it is found; module and qualified name by default.
            base: The class of the task.
            options: Attributes of the task, see `Task`.

        Raises:
            ConfigError: An option that is nearly one of ours, and is not.
        """
        options["name"] = name
        if fn is None:
            return lambda fn: make_task(self, fn, bind, base, options)
        if not callable(fn):
            raise ConfigError(f"@app.task takes a function, and this is {fn!r}: name options by keyword.")
        return make_task(self, fn, bind, base, options)

    def register_task(self, task: Any, **options: Any) -> AnyTask:
        """Take in a task that a class with a `run` method makes: ``app.register_task(MyTask())``."""
        made: AnyTask = task() if isinstance(task, type) else task
        for name, value in options.items():
            setattr(made, name, value)
        made._app, made._made = self, None
        self.tasks.register(made)
        return made

    def options_of(self, task: AnyTask) -> dict[str, Any]:
        """How the calls of a task are treated: settings first, then what is said of all and of this task."""
        told = task_attributes(self.conf, task)
        for name in told.keys() - _SAID:
            setattr(task, name, told[name])
        own = {name: value for name in _SAID if (value := getattr(task, name)) is not None}
        own |= {name: told[name] for name in told.keys() & _SAID}
        if self.conf.worker_disable_rate_limits:
            own.pop("rate_limit", None)
        made = {**task_defaults(self.conf), **self.router.static(task.name), "label": task.name, **own}
        if "max_deliveries" not in own:
            policy = task.retry_policy
            retries = policy.most_retries if policy is not None else task.max_retries
            made["max_deliveries"] = self.deliveries_of(task, retries)
        return made

    def deliveries_of(self, task: AnyTask, retries: int | None) -> int:
        """How often a call of a task is handed out: its attempts, and the crashes that it is forgiven.

        Args:
            task: The task.
            retries: Attempts after the first one; `None` sets no bound.
        """
        if retries is None:
            return _ENDLESS
        said = max_deliveries(
            self.conf, retries, acks_late=task.acks_late, reject_on_worker_lost=task.reject_on_worker_lost
        )
        return said or retries + _CRASHES

    def gen_task_name(self, name: str, module: str) -> str:
        """The name of a task that was given none."""
        return f"{self.main if module == '__main__' and self.main else module}.{name}"

    def autodiscover_tasks(
        self,
        packages: Sequence[str] | Callable[[], Iterable[str]] | None = None,
        related_name: str | None = "tasks",
        force: bool = False,
    ) -> None:
        """Import the modules of that name in packages, when workers ask for tasks; or now, with `force`.

        Args:
            packages: Their names, or what gives them; the installed applications of Django by default.
            related_name: The module in each; the packages themselves with `None`.
            force: Now.
        """

        def modules() -> Iterable[str]:
            named = packages() if callable(packages) else packages
            for package in fixups.packages() if named is None else named:
                yield f"{package}.{related_name}" if related_name else package

        self._discovery.append(modules)
        if force or self.finalized:
            fixups.import_found(modules())

    def finalize(self, auto: bool = False) -> None:
        """Import what was to be discovered, and the modules of the settings `include` and `imports`."""
        if self.finalized:
            return
        self.finalized = True
        for module in dict.fromkeys((*(self.conf.include or ()), *(self.conf.imports or ()))):
            import_module(module)
        signals.import_modules.send(self)
        for modules in self._discovery:
            fixups.import_found(modules())
        self.on_after_finalize.send(self)

    # ── settings ─────────────────────────────────────────────────────────────────────

    def config_from_object(
        self, obj: Any, silent: bool = False, force: bool = False, namespace: str | None = None
    ) -> None:
        """Read settings from an object, a mapping, or a module by its name; when they are first asked for.

        Args:
            obj: The object, or ``"module"``, ``"module:attribute"``.
            silent: A module that is not there is no error.
            force: Read it now.
            namespace: What their names begin with: ``"CELERY"`` reads ``CELERY_TIMEZONE``.
        """
        try:
            self.conf.load(obj, namespace=namespace, force=force or silent)
        except ConfigError:
            if not silent:
                raise

    def config_from_envvar(self, name: str, silent: bool = False, force: bool = False) -> None:
        """Read settings from the module that an environment variable names.

        Raises:
            ConfigError: It is not set.
        """
        module = os.environ.get(name)
        if module:
            self.config_from_object(module, silent=silent, force=force)
        elif not silent:
            raise ConfigError(f"The environment variable {name} is not set: it should name a module.")

    @property
    def timezone(self) -> tzinfo:
        """The time zone of its schedules."""
        return time_zone(self.conf)

    def now(self) -> datetime:
        """The time, in its time zone."""
        return datetime.now(self.timezone)

    # ── schedules ────────────────────────────────────────────────────────────────────

    @property
    def schedules(self) -> Schedules:
        """What runs by itself in its store."""
        return self.client().schedules

    def add_periodic_task(
        self,
        schedule: Any,
        sig: canvas.Signature,
        args: Iterable[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        name: str | None = None,
        **options: Any,
    ) -> str:
        """Run a signature again and again, as an entry of the setting `beat_schedule` does.

        Args:
            schedule: Seconds, a `timedelta`, `crontab`, `solar` or `once`.
            sig: What is run.
            args: Go before its own arguments.
            kwargs: Go over its own.
            name: Of the schedule; what the signature looks like by default.
            options: Of the calls, and what an entry may have: `tz`, `missed`, `overlap`, `jitter`, …

        Returns:
            The name.
        """
        from taskflow.app import periodic

        named, entry = periodic.entry(schedule, sig, args, kwargs, name, options)
        self._periodic[named] = entry
        return named

    def scheduled(self) -> dict[str, Wanted]:
        """The schedules of its settings and of `add_periodic_task`, as a beat puts them into the store."""
        from taskflow.app import periodic

        self.on_after_configure.send(self, source=self.conf)
        self.finalize()
        return periodic.wanted(self, self._periodic)

    def Beat(self, **options: Any) -> Beat:  # noqa: N802 - Celery's name
        """What sends its schedules: ``app.Beat().run()``; see `taskflow.beat.Beat`."""
        from taskflow.beat import Beat

        return Beat.of(self, **options)

    def worker_main(self, argv: Sequence[str] | None = None) -> int:
        """Be a worker of it, as ``taskflow -A … worker`` is; the exit code.

        Args:
            argv: The arguments of the command, with or without the word ``worker``.
        """
        words = list(argv or ())
        return self.start(words if words[:1] == ["worker"] else ["worker", *words])

    def start(self, argv: Sequence[str] | None = None) -> int:
        """Do what the command ``taskflow -A … ARGUMENTS`` does; the exit code.

        Args:
            argv: The arguments; those of this process by default.

        Raises:
            UsageError: No variable of a module holds it, so that a worker could not find it.
        """
        words = list(sys.argv[1:] if argv is None else argv)
        where = self._path() or _place(self, "__main__")
        if where is None:
            raise UsageError("No variable of a module holds this application: workers would not find it.")
        # The command stands above all rooms: it is called as its users do, by its name.
        code: int = import_module("taskflow.cli.program").run(["-A", ":".join(where), *words])
        return code

    def add_defaults(self, values: Mapping[str, Any]) -> None:
        """Set settings where nobody has said otherwise."""
        self.conf.add_defaults(values)

    @property
    def control(self) -> AppControl:
        """Tells workers what to be and tasks to stop, and asks how they are: see `AppControl`."""
        from taskflow.steering import AppControl, Desk

        return AppControl(Desk.of(self.client(), self.tasks))

    @property
    def alerts(self) -> Alerts:
        """Conditions on what happens in its store, and whom to tell when they hold."""
        return self.client().alerts

    # ── being one of several ─────────────────────────────────────────────────────────

    def set_current(self) -> None:
        """Be the application of those that name none."""
        current.choose(self)

    set_default = set_current

    @property
    def current_task(self) -> AnyTask | None:
        """The task that runs here, if one does."""
        return current.task()

    def arrive(self) -> None:
        """Be ready in a process that runs its tasks."""
        if hooks.app is None:
            self.set_current()
        fixups.arrive(self)

    def __enter__(self) -> Taskflow:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Taskflow {self.main}>"

    def __reduce__(self) -> tuple[Any, ...]:
        path = self._path()
        if path is not None:
            return _found, path
        # Where its store is, the task that took it along tells: its address may have a password in it.
        changes = {name: given.value for name, given in self.conf.changes.items() if name not in _STAYS}
        return _made_anew, (self.main, changes)

    def __captured__(self) -> tuple[Any, ...]:
        """Nothing of it decides what a function does."""
        return ()

    @property
    def module(self) -> str:
        """The module that holds it; of one that a factory made, that which has kept it. Workers import it."""
        if not self._module:
            others = [
                (name, module) for name, module in sys.modules.items() if name.split(".")[0] != "taskflow"
            ]
            holding = (name for name, module in others if any(v is self for v in _variables(module).values()))
            self._module = next(holding, "")
        return self._module

    def _path(self) -> tuple[str, str] | None:
        """The module and the variable that hold it, where a worker can import them."""
        where = self.module
        return None if where not in sys.modules or where == "__main__" else _place(self, where)


def _variables(module: object) -> dict[str, Any]:
    return dict(getattr(module, "__dict__", ()))


def _place(app: Taskflow, module: str) -> tuple[str, str] | None:
    """The module and the variable of it that holds an application."""
    found = _variables(sys.modules[module]).items()
    return next(((module, name) for name, value in found if value is app), None)


def _found(module: str, name: str) -> Any:
    return getattr(import_module(module), name)


def _made_anew(main: str, changes: Mapping[str, Any]) -> Taskflow:
    """An application that came by value: one of that name that is here already, or else a new one.

    What is the current one here stays so: shared tasks run in the application of the worker.
    """
    here = hooks.app
    if isinstance(here, Taskflow) and here.main == main:
        return here
    return Taskflow(main, changes=changes, set_as_current=here is None)


current.make = lambda: Taskflow("default")
