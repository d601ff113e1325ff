"""`Traced`: what a worker calls in place of a task: hooks, signals and retries around the function.

::

    before_start, task_prerun ─► the function ─┬─ a value ──────► task_success, on_success ─┐
                                               ├─ Retry ────────► task_retry, on_retry      ├─► task_postrun,
                                               └─ an exception ─► task_failure, on_failure ─┘   after_return

Nothing that a hook or a handler raises changes the outcome: it is logged.
"""

from __future__ import annotations

import inspect
import logging
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

from taskflow import signals
from taskflow.app.request import Request, entered, running
from taskflow.canvas.calling import HEADERS
from taskflow.errors import Reject, Retry, Skip, TaskCancelled
from taskflow.plan import Replaced
from taskflow.policy import roll
from taskflow.pools import context

if TYPE_CHECKING:
    from taskflow.app.task import Task

__all__ = ["ExceptionInfo", "Traced"]

log = logging.getLogger("taskflow.app")


class ExceptionInfo:
    """What a hook is told of an exception.

    Args:
        error: The exception.

    Attributes:
        exception: The exception.
        type: Its class.
        traceback: The text of its traceback.
        tb: The traceback itself.
    """

    internal = False

    def __init__(self, error: BaseException) -> None:
        self.exception = error
        self.type = type(error)
        self.tb = error.__traceback__
        self.traceback = "".join(traceback.format_exception(error))

    def __str__(self) -> str:
        return self.traceback

    def __repr__(self) -> str:
        return f"<ExceptionInfo: {self.exception!r}>"


class Traced:
    """A task as workers call it.

    Args:
        task: The task.
    """

    takes_headers = True

    def __init__(self, task: Task[..., Any]) -> None:
        self.task = task

    @property
    def __label__(self) -> str:
        """What a person reads."""
        return self.task.name

    @property
    def func(self) -> Callable[..., Any]:
        """The function: pools look through it."""
        return self.task.function

    @property
    def __signature__(self) -> inspect.Signature:
        """What a call takes, without the task itself."""
        return inspect.signature(self.task.callee)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the task; of one that is a coroutine function, give the coroutine."""
        task = self.task
        told = kwargs.pop(HEADERS, None) or {}
        request = Request(task, args, kwargs, told, context.place(), True)
        if task.is_async:
            return _awaited(request)
        token = running.set(request)
        try:
            app = task.app
            around = app.around_calls
            if around is None:
                is_heard = task.hooks or app.keeping.url or signals.any_heard(_AROUND)
                return _heard(request) if is_heard else _unheard(request)
            with around():
                return _heard(request)
        finally:
            running.reset(token)

    def __captured__(self) -> tuple[Any, ...]:
        return self.task.__captured__()

    def __fingerprint__(self) -> Callable[..., Any]:
        """For what is remembered it is its function; see `taskflow.codec.fingerprint`."""
        return self.task.function

    def __reduce__(self) -> tuple[Any, ...]:
        return _arrived, (self.task, self.task.app)


def _arrived(task: Task[..., Any], app: Any) -> Traced:
    """A task in the process that runs it: its app is there too, and ready."""
    app.arrive()
    _ = task.options  # task_annotations give it attributes that count here, such as default_retry_delay
    return task.traced


_AROUND = (
    *(signals.task_prerun, signals.task_postrun, signals.task_success, signals.task_failure),
    signals.task_retry,
)


def _unheard(request: Request) -> Any:
    """Call it where nobody hears of it."""
    try:
        return request.task.entry(*request.args, **request.kwargs)
    except Exception as error:
        raised = _judged(request, error)
        if raised is error:
            raise
        raise raised from error


def _heard(request: Request) -> Any:
    """Call it where somebody hears of it."""
    with _traced(request) as outcome:
        outcome.value = request.task.entry(*request.args, **request.kwargs)
    return outcome.value


async def _awaited(request: Request) -> Any:
    around = request.task.app.around_calls or nullcontext
    with around(), entered(request), _traced(request) as outcome:
        outcome.value = await request.task.entry(*request.args, **request.kwargs)
    return outcome.value


class _Outcome:
    value: Any = None
    state = "SUCCESS"
    info: ExceptionInfo | None = None


@contextmanager
def _traced(request: Request) -> Iterator[_Outcome]:
    task, outcome, began = request.task, _Outcome(), time.monotonic()
    told = {"task_id": request.id, "task": task, "args": request.args, "kwargs": request.kwargs}
    _hook(task, "before_start", request)
    if signals.task_prerun.has_listeners():
        signals.task_prerun.send(task, **told)
    try:
        yield outcome
    except BaseException as error:
        raised = _judged(request, error)
        _ended_badly(request, outcome, raised)
        if outcome.state == "FAILURE":
            _keep(request, None, raised)
        if raised is error:
            raise
        raise raised from error
    else:
        _keep(request, outcome.value, None)
        if signals.task_success.has_listeners():
            signals.task_success.send(task, result=outcome.value, runtime=time.monotonic() - began)
        _hook(task, "on_success", request, outcome.value)
    finally:
        if signals.task_postrun.has_listeners():
            signals.task_postrun.send(task, **told, retval=outcome.value, state=outcome.state)
        if outcome.state in ("SUCCESS", "FAILURE"):
            _hook(task, "after_return", request, outcome.state, outcome.value, info=outcome.info)


def _judged(request: Request, error: BaseException) -> BaseException:
    """What an exception means by the rules of the task: itself, or that it is to be tried again."""
    task = request.task
    if not isinstance(error, Exception) or isinstance(error, (Retry, Skip, Reject, TaskCancelled)):
        return error
    if task.retry_policy is not None and request.here is not None:
        here = request.here
        try:
            delay_s = task.retry_policy.decide(error, attempt=here.attempt, age_s=here.age_s, roll=roll())
        except Exception as worse:  # noqa: BLE001 - `retry_if` is user code
            return worse
        return error if delay_s is None else Retry(exc=error, delay_s=delay_s)
    if not isinstance(error, tuple(task.autoretry_for)) or isinstance(error, tuple(task.dont_autoretry_for)):
        return error
    again = {"countdown": task.wait_s(request.retries), **task.retry_kwargs}
    try:
        return task.retry(exc=error, throw=False, **again)  # type: ignore[no-any-return]
    except BaseException as raised:  # noqa: BLE001 - it has no attempts left
        return raised


def _ended_badly(request: Request, outcome: _Outcome, error: BaseException) -> None:
    task = request.task
    outcome.value, outcome.state = error, _state_of(error)
    if outcome.state == "RETRY" and isinstance(error, Retry):
        cause = error.exc or error
        info = outcome.info = ExceptionInfo(cause)
        if signals.task_retry.has_listeners():
            signals.task_retry.send(task, request=request, reason=error, einfo=info)
        _hook(task, "on_retry", request, cause, info=info)
    elif outcome.state == "FAILURE":
        info = outcome.info = ExceptionInfo(error)
        if signals.task_failure.has_listeners():
            signals.task_failure.send(
                task,
                task_id=request.id,
                exception=error,
                args=request.args,
                kwargs=request.kwargs,
                traceback=error.__traceback__,
                einfo=info,
            )
        _hook(task, "on_failure", request, error, info=info)


def _keep(request: Request, value: Any, error: BaseException | None) -> None:
    keeping = request.task.app.keeping
    if request.here is not None and keeping.url and not request.is_eager:
        keeping.keep(request, request.here, value, error)


def _state_of(error: BaseException) -> str:
    if isinstance(error, Retry):
        return "RETRY"
    if isinstance(error, Replaced):
        return "REPLACED"
    if isinstance(error, TaskCancelled):
        return "REVOKED"
    if isinstance(error, Reject):
        return "REJECTED"
    return "IGNORED" if isinstance(error, Skip) else "FAILURE"


def _hook(
    task: Task[..., Any], name: str, request: Request, *first: Any, info: ExceptionInfo | None = None
) -> None:
    """Call a method that a custom class has; the others cost nothing."""
    if name not in task.hooks:
        return
    args: tuple[Any, ...] = (*first, request.id, request.args, request.kwargs)
    if name in ("on_failure", "on_retry", "after_return"):
        args = (*args, info)
    try:
        getattr(task, name)(*args)
    except Exception:
        log.exception("%s of task %s raised; its outcome stays what it was.", name, task.name)
        traceback.print_exc(file=sys.stderr)
