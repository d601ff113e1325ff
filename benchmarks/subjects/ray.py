"""Ray, on this machine only."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks import work
from benchmarks.subject import WORKERS, Subject
from benchmarks.work import Graph


class Ray(Subject):
    """`ray.remote`; its bulk call is `ray.util.multiprocessing.Pool.map`."""

    title = "Ray"
    packages = ("ray",)
    notes = "`map` is that of `ray.util.multiprocessing.Pool`, as tasks have no bulk call; frames by `put`"

    def start(self) -> None:
        """See `Subject`."""
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        import ray

        self._ray = ray
        self._pool: Any = None
        self._remote: dict[Callable[..., Any], Any] = {}
        how = {"include_dashboard": False, "log_to_driver": False, "logging_level": "ERROR"}
        ray.init("local", num_cpus=WORKERS, **how)  # whatever cluster runs beside it

    def stop(self) -> None:
        """See `Subject`."""
        if self._pool is not None:
            self._pool.terminate()
        self._ray.shutdown()

    def call(self, fn: Callable[..., Any], /, *args: Any) -> Any:
        """See `Subject`."""
        return self._ray.get(self._task(fn).remote(*args))

    def submit(self, fn: Callable[[int], Any], items: Sequence[int]) -> list[Any]:
        """See `Subject`."""
        task = self._task(fn)
        return list(self._ray.get([task.remote(item) for item in items]))

    def map(self, fn: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
        """Its actors take the processors that tasks would need, so it is made where it is used."""
        if self._pool is None:
            from ray.util.multiprocessing import Pool

            self._pool = Pool(WORKERS)
        return list(self._pool.map(fn, items))

    def frames(self, fn: Callable[[Any], Any], parts: Sequence[Any]) -> list[Any]:
        """See `Subject`."""
        task, there = self._task(fn), self.put(parts)
        return list(self._ray.get([task.remote(part) for part in there]))

    def chord(self, fn: Callable[[int], int], items: Sequence[int]) -> int:
        """The values go from worker to worker."""
        task = self._task(fn)
        return int(self._ray.get(self._task(work.total_of).remote(*[task.remote(item) for item in items])))

    def graph(self, graph: Graph) -> Callable[[], int]:
        """See `Subject`."""
        leaf, join = self._task(work.leaf), self._task(work.join)
        above = [leaf.remote(*node) for node in graph[0]]
        for layer in graph[1:]:
            above = [join.remote(above[left], above[right]) for left, right in layer]
        last = self._task(work.total_of).remote(*above)
        return lambda: int(self._ray.get(last))

    def put(self, parts: Sequence[Any]) -> Sequence[Any]:
        """See `Subject`."""
        return [part if isinstance(part, self._ray.ObjectRef) else self._ray.put(part) for part in parts]

    def _task(self, fn: Callable[..., Any]) -> Any:
        if fn not in self._remote:
            self._remote[fn] = self._ray.remote(fn)
        return self._remote[fn]


SUBJECT = Ray
