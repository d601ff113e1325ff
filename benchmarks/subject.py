"""What is asked of everyone who is measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from benchmarks.work import Graph

WORKERS = 2


class Subject:
    """A pool or an engine with `WORKERS` processes, as it comes: nothing is tuned for a case.

    A subclass has the abilities that its library has, and says in `cannot` why it lacks the others. It
    imports its library inside its methods, so that it can be asked what it is where that is missing.

    Attributes:
        title: The head of its column.
        packages: Distributions whose versions are shown; the first one must be there.
        is_rival: It is installed in the environment of the rivals.
        notes: Sentences below the table.
        cannot: Ability → why its library has no such thing.
        keeps_graphs: Whether `graph` returns when the engine has the graph; otherwise the client drives it.
        parts: Case → the part of its size that is enough for a slow one; its figures are scaled.
        workers: Worker processes from the next `start` on.
    """

    title: ClassVar[str]
    packages: ClassVar[tuple[str, ...]] = ()
    is_rival: ClassVar[bool] = True
    notes: ClassVar[str] = ""
    cannot: ClassVar[Mapping[str, str]] = {}
    keeps_graphs: ClassVar[bool] = True
    parts: ClassVar[Mapping[str, float]] = {}
    workers: int = WORKERS

    def start(self) -> None:
        """Start what is needed for the first call."""
        raise NotImplementedError

    def stop(self) -> None:
        """End all processes."""
        raise NotImplementedError

    def call(self, fn: Callable[..., Any], /, *args: Any) -> Any:
        """One call, there and back."""
        raise NotImplementedError

    def submit(self, fn: Callable[[int], Any], items: Sequence[int]) -> list[Any]:
        """A call for each item, sent one by one; then every result."""
        raise NotImplementedError

    def map(self, fn: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
        """All items by the bulk call of the library, as it comes."""
        raise NotImplementedError

    def chord(self, fn: Callable[[int], int], items: Sequence[int]) -> int:
        """A call for each item, and one call of `work.total` on all their results."""
        raise NotImplementedError

    def graph(self, graph: Graph) -> Callable[[], int]:
        """Hand over a graph, with `work.total` of its last layer; what is returned waits for that."""
        raise NotImplementedError

    def frames(self, fn: Callable[[Any], Any], parts: Sequence[Any]) -> list[Any]:
        """Call for each partition; the parts are in the client, or are what `put` gave."""
        return self.map(fn, parts)

    def put(self, parts: Sequence[Any]) -> Sequence[Any]:
        """Hand over partitions beforehand."""
        raise NotImplementedError


ABILITIES = ("call", "submit", "map", "chord", "graph", "put")


def reason_against(subject: type[Subject], ability: str) -> str | None:
    """Why a subject cannot do something; `None` when it can."""
    if ability in subject.cannot:
        return subject.cannot[ability]
    lacks = ability != "frames" and getattr(subject, ability) is getattr(Subject, ability)
    return "it has no such call" if lacks else None
