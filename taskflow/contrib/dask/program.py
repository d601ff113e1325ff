"""What a worker calls for a node: the tasks of a Dask graph that one node stands for, in order.

A program holds functions and knows no values, so that the many tasks of a layer, which do the same with
different partitions, share one: it is stored once, and a node names it by its digest. It needs no Dask.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

__all__ = ["FIXED", "MADE", "NOTE", "VALUE", "Place", "Program", "Step"]

VALUE, MADE, FIXED = range(3)
"""Where something is: among the values of the node, the results of earlier steps, or in the program."""

NOTE = "in the Dask task"
"""How the note begins that says where something was raised."""

Place = tuple[int, int]
"""One of these, and the position there."""


Step = tuple[Place, tuple[Place, ...], tuple[tuple[str, Place], ...], tuple[int, ...]]
"""One call: what is called, its positional and its keyword arguments; and the positions of results that no
later step needs, which are let go. (A plain tuple, so that the codec sees that a program cannot change.)"""


@dataclass(frozen=True, eq=False)
class Program:
    """Steps that follow each other; the result is that of the last.

    Args:
        steps: What is done.
        fixed: Functions, and other things that can be called.

    Example:
        >>> power = ((FIXED, 0), ((VALUE, 0), (VALUE, 1)), (), ())
        >>> text = ((FIXED, 1), ((MADE, 0),), (), (0,))
        >>> Program((power, text), (pow, str))("a key", 2, 10)
        '1024'
    """

    steps: tuple[Step, ...]
    fixed: tuple[Any, ...]

    def __call__(self, key: str, *values: Any) -> Any:
        """Run it; what a step raises has a note of the key."""
        made: list[Any] = []
        known = (values, made, self.fixed)
        try:
            for (kind, at), args, kwargs, over in self.steps:
                named = {name: known[k][i] for name, (k, i) in kwargs}
                made.append(known[kind][at](*[known[k][i] for k, i in args], **named))
                for index in over:
                    made[index] = None
        except Exception as error:
            error.add_note(f"{NOTE} {key}")
            raise
        return made[-1]
