"""`Task`: a function that an application sends, in Celery's words."""

from __future__ import annotations

import functools
import inspect
import random
import sys
import types
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar, Generic, NoReturn, ParamSpec, TypeAlias, TypeVar, cast

from taskflow import canvas, hooks
from taskflow.app.current import current_or_default
from taskflow.app.request import Request, entered, running
from taskflow.app.tracing import Traced
from taskflow.canvas.registry import tasks
from taskflow.errors import ConfigError, MaxRetriesExceeded, Retry, nearest
from taskflow.policy import RetryPolicy
from taskflow.pools import context

if TYPE_CHECKING:
    from taskflow.app.application import Taskflow
    from taskflow.app.routing import Way
    from taskflow.result import AsyncResult

__all__ = ["AnyTask", "Task", "make_task"]

P = ParamSpec("P")
R = TypeVar("R")

_CLOSE_TO_AN_OPTION = 0.8
HOOKS = ("before_start", "on_success", "on_failure", "on_retry", "after_return", "on_replace")


class Task(canvas.Task[P, R], Generic[P, R]):
    """A task of an application: ``@app.task`` makes one of a function, a class with a `run` method is one.

    Calling it calls the function here. What is said below as an attribute can be said of each task, as an
    option of ``@app.task``, and for all of a class, as an attribute of that.

    Attributes:
        name: Under which it is found; module and qualified name by default.
        max_retries: Attempts after the first one that `retry` may ask for; `None` sets no bound.
        default_retry_delay: Seconds that `retry` waits unless it says otherwise.
        autoretry_for: Exception classes for which it retries by itself.
        dont_autoretry_for: Exception classes for which it does not, though the others name them.
        retry_kwargs: What it then gives to `retry`.
        retry_backoff: Such retries wait longer each time, from so many seconds (`True`: one).
        retry_backoff_max: But never longer than this, seconds.
        retry_jitter: They wait a random part of that.
        throws: Exception classes that are expected: they are told without a traceback in the log.
        abstract: Taken for Celery's sake: classes are not registered, tasks are.
    """

    name: str = ""
    max_retries: int | None = 3
    default_retry_delay: float = 180.0
    autoretry_for: Iterable[type[BaseException]] = ()
    dont_autoretry_for: Iterable[type[BaseException]] = ()
    retry_kwargs: Mapping[str, Any] = types.MappingProxyType({})
    retry_backoff: bool | float = False
    retry_backoff_max: float = 600.0
    retry_jitter: bool = True
    throws: tuple[type[BaseException], ...] = ()
    abstract: bool = True
    typing: bool | None = None

    queue: str | None = None
    priority: int | None = None
    time_limit: float | None = None
    soft_time_limit: float | None = None
    memory_limit: int | None = None
    rate_limit: Any = None
    concurrency: Any = None
    breaker: Any = None
    unique: Any = None
    expires: Any = None
    tags: Any = None
    ignore_result: bool | None = None
    acks_late: bool | None = None
    reject_on_worker_lost: bool | None = None
    max_deliveries: int | None = None
    serializer: str | None = None
    idempotency_key: Callable[..., str] | None = None
    retry_policy: RetryPolicy | None = None
    MaxRetriesExceededError: ClassVar[type[Exception]] = MaxRetriesExceeded

    hooks: ClassVar[frozenset[str]] = frozenset()
    _way: Way | None = None

    def __init_subclass__(cls, **more: Any) -> None:
        super().__init_subclass__(**more)
        cls.hooks = frozenset(name for name in HOOKS if getattr(cls, name) is not getattr(Task, name))

    def __init__(self) -> None:
        # A class with a `run` method; `of` is for functions.
        kind = type(self)
        if kind.run is Task.run:
            raise ConfigError(f"{kind.__qualname__} has no run method: that is what a task does.")
        functools.update_wrapper(self, kind.run, assigned=("__doc__",), updated=())
        self.__module__, self.__qualname__, self.__name__ = kind.__module__, kind.__qualname__, kind.__name__
        self._become(None, None, kind.name or f"{kind.__module__}.{kind.__qualname__}", False, {})

    @classmethod
    def of(
        cls,
        app: Taskflow | None,
        fn: Callable[..., Any],
        *,
        name: str | None = None,
        bind: bool = False,
        **options: Any,
    ) -> Task[..., Any]:
        """A task of this class that calls a function.

        Args:
            app: The application; the current one, whichever that is when it is sent, with `None`.
            fn: The function.
            name: Under which it is found.
            bind: The function gets the task as its first argument.
            options: Attributes of the task.

        Raises:
            ConfigError: There is no such option (the nearest is named).
        """
        self = cls.__new__(cls)
        functools.update_wrapper(self, fn)
        self._become(app, fn, name or cls.name or f"{fn.__module__}.{fn.__qualname__}", bind, options)
        return self

    def _become(
        self,
        app: Taskflow | None,
        fn: Callable[..., Any] | None,
        name: str,
        bind: bool,
        options: Mapping[str, Any],
    ) -> None:
        self._app, self._fn, self.bind = app, fn, bind
        self._declared = dict(options)
        for option, value in _attributes(options).items():
            setattr(self, option, value)
        self.name, self._named = name, True
        self.callee: Callable[..., Any] = (
            self.run if fn is None else types.MethodType(fn, self) if bind else fn
        )
        self.function: Callable[..., Any] = fn or type(self).run
        self.is_async = inspect.iscoroutinefunction(self.function)
        self.entry = self if type(self).__call__ is not Task.__call__ else self.callee
        self.traced = Traced(self)
        self._made: tuple[int, dict[str, Any]] | None = None
        tasks[name] = self

    # ── what it is ───────────────────────────────────────────────────────────────────

    @property
    def app(self) -> Taskflow:
        """The application it belongs to."""
        if self._app is None:
            return current_or_default()
        return self._app

    @property
    def request(self) -> Request:
        """The call of this task that runs here; an empty one when none does."""
        request = running.get()
        if request is not None and (request.task is self or request.task.name == self.name):
            return request
        return Request(self)

    @property
    def backend(self) -> Any:
        """Where results are put besides the store, if anywhere."""
        return self.app.backend

    @property
    def target(self) -> Callable[..., Any]:
        """What is sent."""
        return self.traced

    @property
    def options(self) -> Mapping[str, Any]:  # type: ignore[override]
        """How its calls are treated: by the settings of the application, and by what is said of the task."""
        revision = self.app.conf.version
        if self._made is None or self._made[0] != revision:
            self._made = (revision, self.app.options_of(self))
        return self._made[1]

    @property
    def func(self) -> Callable[..., Any]:  # type: ignore[override]
        """The function."""
        return self.function

    @property
    def __wrapped__(self) -> Callable[..., Any]:
        """The function."""
        return self.function

    @__wrapped__.setter
    def __wrapped__(self, fn: Callable[..., Any]) -> None:
        """Of `functools.update_wrapper`."""

    @property
    def __signature__(self) -> inspect.Signature:
        """What a call takes, without the task itself."""
        return inspect.signature(self.callee)

    def run(self, *args: Any, **kwargs: Any) -> Any:
        """What the task does."""
        return self.callee(*args, **kwargs)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function here and now."""
        request = running.get()
        if request is not None and request.task is self and request.is_fresh:
            request.is_fresh = False  # a worker calls it, by a `__call__` of its own class
            return cast("R", self.callee(*args, **kwargs))
        with entered(Request(self, args, kwargs)):
            return cast("R", self.callee(*args, **kwargs))

    # ── sending ──────────────────────────────────────────────────────────────────────

    def delay(self, *args: P.args, **kwargs: P.kwargs) -> AsyncResult:
        """Send a call with these arguments."""
        return self.app.send(self, args, kwargs, {})

    def apply_async(
        self,
        args: Iterable[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        *,
        client: Any = None,
        **options: Any,
    ) -> AsyncResult:
        """Send a call.

        Args:
            args: Its positional arguments.
            kwargs: Its keyword arguments.
            client: Where to; to the store of the application by default.
            options: As ``client.options`` takes them, and Celery's: see docs/coming-from-celery.md.

        Raises:
            WrongArguments: The task cannot be called so.
            ConfigError: There is no such option (the nearest is named), or its value is impossible.
        """
        return self.app.send(self, tuple(args or ()), dict(kwargs or {}), options, client)

    def send_event(self, kind: str, **data: Any) -> None:
        """Tell those who watch something of the call that runs; `data` is small and JSON."""
        context.note(kind, data)

    # ── inside a call ────────────────────────────────────────────────────────────────

    def retry(
        self,
        args: Iterable[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        exc: BaseException | None = None,
        throw: bool = True,
        eta: datetime | None = None,
        countdown: float | None = None,
        max_retries: int | None = None,
        **options: Any,
    ) -> Any:
        """End this attempt, and let the call be made again; what follows in the function is not reached.

        It waits in the store, and any worker may make the next attempt.

        Args:
            args: Other positional arguments.
            kwargs: Other keyword arguments.
            exc: What went wrong; the task fails with it when it has no attempts left.
            throw: Raise; else the exception is returned, for the caller to raise.
            eta: When, as an aware `datetime`.
            countdown: In how many seconds; the task's `default_retry_delay` by default.
            max_retries: Instead of that of the task.
            options: How the next attempts are treated, as `apply_async` takes them.

        Raises:
            Retry: Always, where there is an attempt left.
            MaxRetriesExceeded: There is none, and no exception to fail with.
        """
        request = self.request
        most = self.max_retries if max_retries is None else max_retries
        if request.called_directly:
            raise exc or Retry("the task was called as a function: nobody runs it again")
        if most is not None and request.retries >= most:
            if exc is not None:
                raise exc
            raise MaxRetriesExceeded(
                f"{self.name}[{request.id}] cannot be retried: it had {most} retries.",
                task_args=request.args,
                task_kwargs=dict(request.kwargs),
            )
        delay_s = self._delay_s(eta, countdown)
        changed = args is not None or kwargs is not None or bool(options)
        if changed or (max_retries is not None and max_retries > (self.max_retries or max_retries)):
            self._begin_anew(request, args, kwargs, delay_s, most, options)
        again = Retry(exc=exc, delay_s=delay_s)
        if throw:
            raise again from exc
        return again

    def _delay_s(self, eta: datetime | None, countdown: float | None) -> float:
        if eta is not None:
            return max(0.0, (eta - datetime.now(eta.tzinfo)).total_seconds())
        return float(self.default_retry_delay if countdown is None else countdown)

    def _begin_anew(
        self,
        request: Request,
        args: Iterable[Any] | None,
        kwargs: Mapping[str, Any] | None,
        delay_s: float,
        most: int | None,
        options: Mapping[str, Any],
    ) -> NoReturn:
        """What is tried again is another call: it takes the place of this one."""
        again = self.signature(
            request.args if args is None else args,
            request.kwargs if kwargs is None else kwargs,
            **{**options, "countdown": delay_s},
            immutable=True,
            told={**request.told, "retries": request.retries + 1},
            max_deliveries=self.app.deliveries_of(self, most),
        )
        context.replace(again)

    def wait_s(self, retries: int) -> float:
        """Seconds until it is tried again by itself, after so many retries."""
        if not self.retry_backoff:
            return float(self.default_retry_delay)
        full = min(float(self.retry_backoff_max), float(self.retry_backoff) * 2.0 ** min(retries, 60))
        return random.uniform(0.0, full) if self.retry_jitter else full  # noqa: S311 - jitter, no secret

    def update_state(
        self, task_id: str | None = None, state: str | None = None, meta: Any = None, **more: Any
    ) -> None:
        """Say how far the call is: `AsyncResult.state` and `AsyncResult.info` tell it while it runs.

        Args:
            task_id: Taken for Celery's sake: a task speaks of itself.
            state: Any word.
            meta: Any value.
            more: Taken for Celery's sake.
        """
        context.report_state(state or "PROGRESS", meta, task_id)

    def replace(self, sig: Any) -> NoReturn:
        """End this call, and let a signature, or any canvas, give its result."""
        if "on_replace" in self.hooks:
            self.on_replace(sig)
        context.replace(sig)

    def on_replace(self, sig: Any) -> None:
        """Called before a signature takes the place of a call."""

    def add_to_chord(self, sig: Any, lazy: bool = False) -> None:
        """Let the body of the chord that this call is part of wait for a signature too.

        Args:
            sig: The signature.
            lazy: Taken for Celery's sake: it is added in the step in which this call ends.
        """
        context.add_to_chord(sig)

    # ── hooks ────────────────────────────────────────────────────────────────────────

    def before_start(self, task_id: str, args: Any, kwargs: Any) -> None:
        """Called by the worker before each attempt."""

    def on_success(self, retval: Any, task_id: str, args: Any, kwargs: Any) -> None:
        """Called by the worker when the call gave a value."""

    def on_failure(self, exc: BaseException, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        """Called by the worker when the call has failed for good."""

    def on_retry(self, exc: BaseException, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        """Called by the worker when an attempt failed, and the call will be made again."""

    def after_return(
        self, status: str, retval: Any, task_id: str, args: Any, kwargs: Any, einfo: Any
    ) -> None:
        """Called by the worker last, when the call succeeded or failed."""

    # ── as a value ───────────────────────────────────────────────────────────────────

    def __captured__(self) -> tuple[Any, ...]:
        """What of it travels by value; nothing where a worker imports it."""
        if self._is_importable():
            return ()
        return (self._fn, type(self), *self._declared.values(), self.app)

    def __reduce_ex__(self, protocol: Any) -> Any:
        if self._is_importable():
            return self.__qualname__
        if self._fn is None:
            return type(self), ()
        return _made_anew, (type(self), self._app, self._fn, self.name, self.bind, self._declared)

    def _is_importable(self) -> bool:
        module: Any = sys.modules.get(self.__module__)
        return self.__module__ != "__main__" and getattr(module, self.__qualname__, None) is self


AnyTask: TypeAlias = Task[..., Any]


def _made_anew(
    kind: type[Task[..., Any]], app: Any, fn: Any, name: str, bind: bool, options: Mapping[str, Any]
) -> Task[..., Any]:
    return kind.of(app, fn, name=name, bind=bind, **options)


def _attributes(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options of ``@app.task`` as attributes; any other name is an attribute of the task, as in Celery.

    Raises:
        ConfigError: A policy is given twice.
    """
    made = dict(options)
    policy = made.pop("retry", None)
    if policy is not None:
        made["retry_policy"] = policy if isinstance(policy, RetryPolicy) else RetryPolicy(int(policy))
    for name in ("autoretry_for", "dont_autoretry_for", "throws"):
        if name in made and isinstance(made[name], type):
            made[name] = (made[name],)
    return made


def make_task(
    app: Taskflow | None,
    fn: Callable[..., Any],
    bind: bool,
    base: Any,
    options: Mapping[str, Any],
) -> AnyTask:
    """A task of a function.

    Raises:
        ConfigError: An option that is nearly one of ours, and is not.
    """
    around = app or hooks.app
    kind: type[AnyTask] = base or (Task if around is None else around.Task)
    known = [name for name in dir(kind) if not name.startswith("_")] + ["retry", "name"]
    for option in options:
        if option not in known and (close := nearest(option, known, _CLOSE_TO_AN_OPTION)):
            raise ConfigError(f"There is no option {option!r} of a task.{close}")
    name = options.get("name")
    if name is None and app is not None and fn.__module__ == "__main__":
        name = kind.name or app.gen_task_name(fn.__qualname__, fn.__module__)
    return kind.of(app, fn, bind=bind, **{**options, "name": name})
