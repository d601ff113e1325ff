"""Every kind of function travels, as it is at the moment of the call."""

from __future__ import annotations

import enum
import functools
import operator
import threading
from pathlib import Path
from typing import Any

import pytest

from taskflow import Client
from taskflow.errors import CannotPickle
from tests.acceptance.stage import DEADLINE_S, run_script


class Counter:
    def __init__(self, start: int) -> None:
        self.start = start

    def add(self, x: int) -> int:
        return self.start + x

    @classmethod
    def made(cls, x: int) -> int:
        return cls(x).start

    @staticmethod
    def twice(x: int) -> int:
        return 2 * x

    def __call__(self, x: int) -> int:
        return self.start * x


def call(client: Client, fn: Any, *args: Any, **kwargs: Any) -> Any:
    return client.submit(fn, *args, **kwargs).result(DEADLINE_S)


def blobs_in(client: Client) -> set[str]:
    folder = Path(client.url.removeprefix("sqlite:///") + ".d") / "blobs"
    return {path.name for path in folder.rglob("*") if path.is_file()}


def test_lambdas_closures_and_recursion(client: Client) -> None:
    def power(n: int) -> Any:
        return lambda x: x**n

    def factorial(n: int) -> int:
        return 1 if n < 2 else n * factorial(n - 1)

    assert call(client, lambda: 5) == 5
    assert call(client, power(3), 2) == 8
    assert call(client, factorial, 6) == 720


def test_builtins_methods_partials_and_callables(client: Client) -> None:
    assert call(client, len, "abc") == 3
    assert call(client, str.upper, "abc") == "ABC"
    assert call(client, "a-b".split, "-") == ["a", "b"]
    assert call(client, operator.itemgetter(1), [1, 2]) == 2
    assert call(client, functools.partial(pow, 2, mod=7), 5) == 4
    assert call(client, Counter(3).add, 4) == 7
    assert call(client, Counter.made, 4) == 4
    assert call(client, Counter.twice, 4) == 8
    assert call(client, Counter(3), 4) == 12
    assert call(client, functools.lru_cache(lambda x: x + 1), 4) == 5
    assert call(client, Counter, 4).start == 4


def test_async_functions(client: Client) -> None:
    async def slowly(x: int) -> int:
        import asyncio

        await asyncio.sleep(0)
        return x + 1

    assert call(client, slowly, 1) == 2
    assert client.map(slowly, [1, 2]).results() == [2, 3]


def test_a_function_that_was_redefined_is_the_new_one(client: Client) -> None:
    session: dict[str, Any] = {"__name__": "__main__"}
    exec("def f(x): return x + 1", session)
    before = call(client, session["f"], 1)
    exec("def f(x): return x + 100", session)

    assert (before, call(client, session["f"], 1)) == (2, 101)


def test_a_changed_global_is_seen(client: Client) -> None:
    session: dict[str, Any] = {"__name__": "__main__"}
    exec("rate = 2\ntable = {'k': 1}\ndef g(x): return x * rate + table['k']\ndef f(x): return g(x)", session)

    found = [call(client, session["f"], 1)]
    session["rate"] = 3
    found.append(call(client, session["f"], 1))
    session["table"]["k"] = 10
    found.append(call(client, session["f"], 1))

    assert found == [3, 4, 13]


def test_a_changed_variable_of_a_closure_is_seen(client: Client) -> None:
    step = 1

    def f(x: int) -> int:
        return x + step

    first = call(client, f, 1)
    step = 10

    assert (first, call(client, f, 1)) == (2, 11)


def test_classes_of_a_session_come_back_as_themselves(client: Client) -> None:
    session: dict[str, Any] = {"__name__": "__main__"}
    exec(
        "from dataclasses import dataclass\nfrom enum import Enum\n"
        "class Colour(Enum):\n    RED = 1\n"
        "@dataclass\nclass Point:\n    x: int\n    colour: Colour = Colour.RED\n"
        "    def moved(self): return Point(self.x + 1, self.colour)\n"
        "def move(p): return p.moved()\n",
        session,
    )
    point = session["Point"](1)

    moved = call(client, session["move"], point)

    assert type(moved) is session["Point"]
    assert moved == session["Point"](2)
    assert moved.colour is session["Colour"].RED


def test_enums_and_sets_travel(client: Client) -> None:
    class Suit(enum.Enum):
        HEARTS = "h"

    assert call(client, lambda s: s.value, Suit.HEARTS) == "h"
    assert call(client, lambda: {1, frozenset({2})}) == {1, frozenset({2})}


def test_arrays_and_frames_travel(client: Client) -> None:
    numpy = pytest.importorskip("numpy")
    pandas = pytest.importorskip("pandas")
    array = numpy.arange(100_000, dtype="f8")
    frame = pandas.DataFrame({"a": range(5), "b": list("abcde")})

    doubled = call(client, lambda: array * 2)
    doubled[0] = 7
    written = call(client, lambda a: (a.__setitem__(0, 5), float(a[0]))[1], array)

    assert doubled[-1] == 199_998
    assert written == 5
    assert array[0] == 0
    assert call(client, lambda f: f.assign(c=f.a * 2), frame)["c"].sum() == 20
    assert call(client, lambda: frame["b"].str.upper().tolist()) == list("ABCDE")


def test_a_large_captured_object_is_stored_once(client: Client) -> None:
    numpy = pytest.importorskip("numpy")
    big = numpy.random.default_rng(1).random(300_000)
    before = blobs_in(client)

    one = call(client, lambda: float(big[0]))
    two = call(client, lambda: float(big[1]))

    assert (one, two) == (big[0], big[1])
    assert len(blobs_in(client) - before) == 3  # the array, and two functions


def test_a_large_argument_is_stored_once(client: Client) -> None:
    data = bytes(range(256)) * 1000
    before = blobs_in(client)

    futures = [client.submit(lambda d, i: d[i], data, i) for i in range(5)]

    assert client.gather(futures) == [0, 1, 2, 3, 4]
    assert len(blobs_in(client) - before) <= 1 + 5  # the data, and the function of each call


@pytest.mark.parametrize("where", ["closure", "attribute", "global"])
def test_a_function_that_cannot_travel_names_the_culprit(client: Client, where: str) -> None:
    lock = threading.Lock()
    holder = Counter(1)
    holder.lock = lock  # type: ignore[attr-defined]
    session: dict[str, Any] = {"__name__": "__main__", "guard": lock}
    exec("def f(): return guard", session)
    fn, culprit = {
        "closure": (lambda: lock, "lock"),
        "attribute": (lambda: holder, "holder.lock"),
        "global": (session["f"], "guard"),
    }[where]
    count, blobs = len(client.runs(limit=10_000)), blobs_in(client)

    with pytest.raises(CannotPickle, match=f"`{culprit}`") as caught:
        client.submit(fn)

    assert caught.value.culprit == culprit
    assert len(client.runs(limit=10_000)) == count
    assert blobs_in(client) == blobs
    assert client._engine.feed.pending == 0


def test_an_argument_that_cannot_travel_names_itself(client: Client) -> None:
    lock = threading.Lock()
    count = len(client.runs(limit=10_000))

    with pytest.raises(CannotPickle, match=r"argument `args\[1\]\['k'\]\[0\]`"):
        client.submit(max, 1, {"k": [lock]})
    with pytest.raises(CannotPickle, match="argument `key`"):
        client.submit(max, 1, key=lock)
    with pytest.raises(CannotPickle, match=r"item `items\[1\]`"):
        client.map(len, ["a", lock])

    assert len(client.runs(limit=10_000)) == count


def test_a_script_needs_no_guard_and_finds_its_neighbours(tmp_path: Path) -> None:
    (tmp_path / "neighbour.py").write_text("FACTOR = 3\ndef scale(x):\n    return x * FACTOR\n")
    out = run_script(
        tmp_path,
        """
import neighbour, taskflow
from dataclasses import dataclass
from enum import Enum

print("top level runs once")
OFFSET = 1000

class Colour(Enum):
    RED = 1

@dataclass
class Point:
    x: int
    colour: Colour = Colour.RED

def fib(n):
    return n if n < 2 else fib(n - 1) + fib(n - 2)

def work(p):
    return Point(neighbour.scale(p.x) + OFFSET, p.colour)

client = taskflow.Client(workers=2)
print(client.submit(fib, 10).result())
made = list(client.map(work, [Point(1), Point(2)]))
print([p.x for p in made], all(type(p) is Point for p in made), made[0].colour is Colour.RED)
OFFSET = 0
print(client.submit(work, Point(5)).result().x)
print(client.submit(neighbour.scale, 7).result())
""",
    )

    assert out.splitlines() == ["top level runs once", "55", "[1003, 1006] True True", "15", "21"]


def test_the_default_client_is_made_when_it_is_needed(tmp_path: Path) -> None:
    out = run_script(
        tmp_path,
        """
import taskflow

@taskflow.task
def add(x, y):
    return x + y

print(add.delay(2, 3).get(30))
print((add.s(1, 1) | add.s(5)).delay().get(30))
print(taskflow.map_reduce(["a b", "b"], lambda s: ((w, 1) for w in s.split()), lambda k, v: sum(v)))
""",
    )

    assert out.split("\n")[:2] == ["5", "7"]
    assert "'b': 2" in out


def test_numeric_libraries_in_children_use_their_share_of_threads(client: Client) -> None:
    import os

    seen = call(client, lambda: {k: os.environ.get(k) for k in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")})

    assert all(value and int(value) >= 1 for value in seen.values())
