"""The canvas: signatures, chain, group and chord, drawn as flat nodes of a plan.

`compile` is where a canvas, which can be changed, becomes a plan, which cannot. Nesting disappears
there: a chord of a thousand equal calls is two nodes, and nobody has to drive it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from taskflow.canvas.combinators import chain, chord, group
from taskflow.canvas.decorator import Task, task
from taskflow.canvas.registry import tasks
from taskflow.canvas.serial import chunks, xmap, xstarmap
from taskflow.canvas.shape import Shape
from taskflow.canvas.sheet import DraftSheet
from taskflow.canvas.signatures import Signature, maybe_signature, signature
from taskflow.policy import Options

if TYPE_CHECKING:
    from taskflow.plan import Draft

__all__ = [
    "Shape",
    "Signature",
    "Task",
    "chain",
    "chord",
    "chunks",
    "compile",
    "group",
    "maybe_signature",
    "signature",
    "task",
    "tasks",
    "xmap",
    "xstarmap",
]


def compile(sig: Signature, draft: Draft, options: Options | None = None) -> Shape:  # noqa: A001 - canvas.compile
    """Draw a canvas on a draft.

    Args:
        sig: The canvas; it is not changed, but generators of groups in it are read.
        draft: Takes the nodes.
        options: What every node starts from.

    Returns:
        Where the results will be.

    Raises:
        GraphError: It has no steps, or a chord no body.
        ConfigError: A task is not known here, or an option is not.
    """
    return sig.draw(DraftSheet(draft, (options or Options()).of_run()))
