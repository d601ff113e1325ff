"""Whether a function can take the arguments of a call, found out before anything is stored."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Any

from taskflow.canvas.applied import Serially
from taskflow.codec.functions import describe
from taskflow.errors import WrongArguments
from taskflow.forms import Forms

__all__ = ["Arities", "Arity"]

Item = tuple[tuple[Any, ...], dict[str, Any]]


class Arity:
    """What one function takes. Calls of a form that was seen before cost next to nothing.

    Args:
        fn: The function; of one that does not tell its signature, as some built-ins, anything is taken.
    """

    def __init__(self, fn: Callable[..., Any]) -> None:
        self._serial = fn if isinstance(fn, Serially) else None
        self._fn = fn.func if isinstance(fn, Serially) else fn
        self._forms = Forms(self._fn)

    def check(self, args: Sequence[Any], kwargs: Collection[str]) -> None:
        """Refuse arguments that the function cannot take; of keywords, only the names matter.

        Raises:
            WrongArguments: It cannot; the message has the function's own signature.
        """
        for call in (args,) if self._serial is None else self._serial.calls(*args):
            if (len(call), *kwargs) not in self._forms.known:
                self._try(call, kwargs)

    def _try(self, args: Sequence[Any], kwargs: Collection[str]) -> None:
        refusal = self._forms.refusal(args, kwargs)
        if refusal is not None:
            name = describe(self._fn)
            given = [*(["…"] * len(args)), *(f"{keyword}=…" for keyword in kwargs)]
            raise WrongArguments(
                f"{name}{self._forms.signature} cannot be called as {name}({', '.join(given)}): {refusal}."
                " In a chain or chord the result before it is the first argument, unless it is immutable"
                " (.si). @task(typing=False) skips this check."
            )

    def checked(self, items: Iterable[Item], lead: tuple[Any, ...]) -> Iterator[Item]:
        """The arguments of calls as they come, each checked behind those they share."""
        shared = len(lead)
        for item in items:
            args, kwargs = item
            if self._serial is not None or (shared + len(args), *kwargs) not in self._forms.known:
                self.check((*lead, *args), kwargs)
            yield item


class Arities:
    """What the functions of a canvas take."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[Any, Arity]] = {}

    def of(self, fn: Callable[..., Any]) -> Arity:
        """What this function takes."""
        found = self._known.get(id(fn))
        if found is None:
            found = self._known[id(fn)] = (fn, Arity(fn))  # kept, so that its id stays its own
        return found[1]
