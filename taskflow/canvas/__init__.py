"""The canvas: signatures, chain, group and chord, drawn as flat nodes of a plan.

`compile` is where a canvas, which can be changed, becomes a plan, which cannot. Nesting disappears
there: a chord of a thousand equal calls is two nodes, and nobody has to drive it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from taskflow.canvas.combinators import chain, chord, group
from taskflow.canvas.decorator import Task, task
from taskflow.canvas.errbacks import headers_too
from taskflow.canvas.registry import tasks
from taskflow.canvas.serial import chunks, xmap, xstarmap
from taskflow.canvas.shape import Shape
from taskflow.canvas.sheet import DraftSheet
from taskflow.canvas.signatures import Signature, maybe_signature, signature
from taskflow.canvas.stamping import StampingVisitor
from taskflow.policy import Options

if TYPE_CHECKING:
    from taskflow.plan import Draft

__all__ = [
    "Shape",
    "Signature",
    "StampingVisitor",
    "Task",
    "chain",
    "chord",
    "chunks",
    "compile",
    "group",
    "maybe_signature",
    "maybe_subtask",
    "signature",
    "subtask",
    "task",
    "tasks",
    "xmap",
    "xstarmap",
]


subtask, maybe_subtask = signature, maybe_signature  # Celery's older names


def compile(  # noqa: A001 - canvas.compile
    sig: Signature, draft: Draft, options: Options | None = None, *, header_errbacks: bool = False
) -> Shape:
    """Draw a canvas on a draft.

    Args:
        sig: The canvas; it is not changed, but generators of groups in it are read.
        draft: Takes the nodes.
        options: What every node starts from.
        header_errbacks: What is linked to a chord for errors also runs for each member of its header that
            fails, not only once for its body.

    Returns:
        Where the results will be.

    Raises:
        GraphError: It has no steps, or a chord no body.
        ConfigError: A task is not known here, or an option is not.
    """
    with headers_too(header_errbacks):
        return sig.draw(DraftSheet(draft, (options or Options()).of_run()))
