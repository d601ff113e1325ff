"""joblib, with its default backend (loky)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from benchmarks import work
from benchmarks.subject import WORKERS, Subject


class Joblib(Subject):
    """`joblib.Parallel`; it has bulk calls only, so a single call is a bulk call of one."""

    title = "joblib"
    packages = ("joblib",)
    notes = "it has bulk calls only: single calls are `Parallel(batch_size=1)`, a round trip a bulk of one"
    cannot: ClassVar[Mapping[str, str]] = {
        "graph": "no dependencies between tasks",
        "put": "arguments are sent with each call (arrays as files, frames not)",
    }

    def start(self) -> None:
        """See `Subject`."""
        from joblib import Parallel, delayed

        self._delayed = delayed
        self._parallel = Parallel(n_jobs=WORKERS)
        self._parallel.__enter__()
        self._one_by_one = Parallel(n_jobs=WORKERS, batch_size=1)

    def stop(self) -> None:
        """See `Subject`."""
        from joblib.externals.loky import get_reusable_executor

        self._parallel.__exit__(None, None, None)
        get_reusable_executor().shutdown(wait=True, kill_workers=True)

    def call(self, fn: Callable[..., Any], /, *args: Any) -> Any:
        """See `Subject`."""
        return self._parallel([self._delayed(fn)(*args)])[0]

    def submit(self, fn: Callable[[int], Any], items: Sequence[int]) -> list[Any]:
        """See `Subject`."""
        return list(self._one_by_one(self._delayed(fn)(item) for item in items))

    def map(self, fn: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
        """See `Subject`."""
        return list(self._parallel(self._delayed(fn)(item) for item in items))

    def chord(self, fn: Callable[[int], int], items: Sequence[int]) -> int:
        """The client collects all results and sends them back."""
        return int(self.call(work.total, self.map(fn, items)))


SUBJECT = Joblib
