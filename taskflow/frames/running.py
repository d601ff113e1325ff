"""Frames are run: their calls are sent, waited for, and what went wrong is told by partition."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from taskflow import hooks
from taskflow.frames.drawing import Drawn, FramePlan
from taskflow.frames.places import Place
from taskflow.future import Future
from taskflow.plan import Output
from taskflow.states import TERMINAL, State

if TYPE_CHECKING:
    from taskflow.workflowrun import WorkflowRun

__all__ = ["fetched", "first_error", "send", "tell_place", "value_of", "with_run"]

RETRY = "`retry_failed()` runs again what failed, and keeps the rest"


def send(client: Any, name: str, draw: Callable[[Drawn], Sequence[Output]]) -> tuple[WorkflowRun, FramePlan]:
    """Send what is drawn; the handle of the run, and the plan with its names."""
    plan = FramePlan(name, draw)
    run: WorkflowRun = (client or hooks.current_client()).submit_workflow(plan, {})
    return run, plan


def fetched(
    run: WorkflowRun,
    outputs: Sequence[tuple[str, int | None]],
    places: dict[str, Sequence[Place]],
    *,
    progress: bool = False,
) -> list[Any]:
    """Wait for a run and have some values of it.

    Raises:
        Exception: What a partition raised, with notes that say which it was, and in which run.
    """
    run.wait(progress=progress)
    error = first_error(run, places)
    if error is not None:
        raise error
    return [value_of(run, name, index) for name, index in outputs]


def value_of(run: WorkflowRun, name: str, index: int | None) -> Any:
    """The value of one node, or of one item of it."""
    handle = run.nodes[name]
    return handle.result() if isinstance(handle, Future) else handle[index or 0].result()


def first_error(run: WorkflowRun, places: dict[str, Sequence[Place]]) -> BaseException | None:
    """What the first partition raised that failed by itself, with notes; `None` when all is well."""
    view = run.progress
    if view.state is State.SUCCEEDED:
        return None
    name_of = {node: name for name, node in run.names.items()}
    bad = [node for node in view.nodes if _has_failed(node.counts)]
    for node in bad or [node for node in view.nodes if node.state is not State.SUCCEEDED]:
        name = name_of.get(node.id)
        if name is None or node.state not in TERMINAL:
            continue
        index, error = _error_of(run.nodes[name])
        if error is not None:
            known = places.get(name, ())
            place = known[index] if index < len(known) else None
            return with_run(tell_place(error, place), run.id)
    return None


def _has_failed(counts: Any) -> bool:
    return any(counts.get(state) for state in (State.FAILED, State.DEAD, State.EXPIRED))


def _error_of(handle: Any) -> tuple[int, BaseException | None]:
    """Which item of a node failed first, and its exception."""
    if isinstance(handle, Future):
        return 0, _raised(handle)
    for index, _ in handle.failed:
        return index, _raised(handle[index])
    return 0, None


def _raised(future: Any) -> BaseException | None:
    try:
        future.result()
    except BaseException as error:  # noqa: BLE001 - it is told by whoever asked
        return error
    return None


def tell_place(error: BaseException, place: Place | None) -> BaseException:
    """The error with a note of its partition: a worker that was lost could not add it."""
    notes = getattr(error, "__notes__", [])
    if place is not None and not any(note.startswith("in partition") for note in notes):
        error.add_note(f"in {place}")
    return error


def with_run(error: BaseException, run: str) -> BaseException:
    """The error with a note of its run."""
    error.add_note(f"run {run}: {RETRY}")
    return error
