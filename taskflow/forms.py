"""Whether a function takes the arguments of a call; asked again of a like call, it costs next to nothing."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from typing import Any

__all__ = ["Forms"]


class Forms:
    """The forms in which one function can be called.

    Args:
        fn: The function.

    Attributes:
        signature: Its signature; `None` where it does not tell, as many functions of C: it takes anything.
        known: Forms that it takes: how many arguments by position, and the names of the others.

    Example:
        >>> forms = Forms(lambda x, y=0: x)
        >>> forms.refusal((1,), ("y",)), forms.known
        (None, {(1, 'y')})
        >>> forms.refusal((), ())
        TypeError("missing a required argument: 'x'")
    """

    def __init__(self, fn: Callable[..., Any]) -> None:
        self.known: set[tuple[Any, ...]] = set()
        self.signature: inspect.Signature | None = None
        with suppress(TypeError, ValueError):
            self.signature = inspect.signature(fn)

    def refusal(self, args: Sequence[Any], kwargs: Collection[str]) -> TypeError | None:
        """Why the function cannot take these arguments, or `None`; of keywords, only the names matter."""
        form = (len(args), *kwargs)
        if self.signature is None or form in self.known:
            return None
        try:
            self.signature.bind(*args, **dict.fromkeys(kwargs))
        except TypeError as error:
            return error
        self.known.add(form)
        return None
