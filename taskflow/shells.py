"""The IPython shell that this process is, if it is one; IPython is never imported for the question."""

from __future__ import annotations

import os
import sys
from typing import Any

__all__ = ["FRAMES", "frames_refused", "shell", "wants_frames"]

FRAMES = "TASKFLOW_FRAMES"
"""The variable of the environment that decides for a whole process: ``0`` never, ``1`` always."""

_NO = frozenset({"0", "false", "no", "off"})


def shell() -> Any | None:
    """The shell of this process, or `None` when it is no notebook and no IPython."""
    core = sys.modules.get("IPython.core.getipython")
    return None if core is None else core.get_ipython()


def wants_frames() -> bool:
    """Whether what fails is to bring the frames of the worker along, unless somebody says otherwise.

    So it is in kernels, and in other shells after ``%load_ext taskflow``: where somebody may type ``%debug``.
    """
    said = os.environ.get(FRAMES, "")
    if said:
        return not frames_refused()
    here = shell()
    if here is None:
        return False
    return getattr(here, "kernel", None) is not None or "taskflow" in here.magics_manager.magics["line"]


def frames_refused() -> bool:
    """Whether this process keeps the frames of what fails to itself, whoever asks for them."""
    return os.environ.get(FRAMES, "").strip().lower() in _NO
