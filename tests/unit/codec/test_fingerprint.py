"""Fingerprints: what a function is, in whatever process, and when it is another."""

from __future__ import annotations

import functools
import math
import os
import subprocess
import sys
import textwrap
import threading
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from taskflow.canvas import Task
from taskflow.codec import fingerprint as module
from taskflow.codec.fingerprint import digest, fingerprint
from taskflow.errors import UsageError


def defined(source: str, name: str = "f", file: str = "<cell>") -> Any:
    """What a cell defines under a name."""
    space: dict[str, Any] = {"__name__": "__main__", "math": math, "functools": functools, "np": np}
    exec(compile(textwrap.dedent(source), file, "exec"), space)
    return space[name]


PLAIN = """
def f(x, by=2):
    total = x * by
    return total + 1
"""


@pytest.mark.parametrize(
    "edited",
    [
        "\n\n\n" + PLAIN,
        PLAIN.replace("total = x * by", "# what it is\n\n    total = x * by  # twice"),
        PLAIN.replace("x * by", "(x\n             * by)"),
        PLAIN.replace("(x, by=2)", "(x: int, by: float = 2) -> float"),
        "unrelated = 5\n" + PLAIN,
    ],
    ids=["blank lines", "comments", "line breaks", "annotations", "other lines of the cell"],
)
def test_edits_that_change_nothing_leave_the_fingerprint(edited: str) -> None:
    assert fingerprint(defined(edited, file="<other>")) == fingerprint(defined(PLAIN))


CAPTURING = """
import collections
limit = {"most": 3, "names": ["a", "b"]}
def helper(x):
    return min(x, limit["most"])
class Model:
    scale = 2
    def apply(self, x):
        return x * self.scale
    @property
    def half(self):
        return self.scale / 2
    @staticmethod
    def plus(x):
        return x + 1
def logged(fn):
    @functools.wraps(fn)
    def inner(*args):
        return fn(*args)
    return inner
def made(n):
    def inner(x):
        return x + n
    return inner
add = made(1)
@logged
def f(x, *, by=(1, 2), also=frozenset({"a", "b"})):
    def within(y):
        return [y + i for i in range(3)]
    word = "one" if x in {"k", "l"} else "two"
    return helper(x), Model().apply(x), add(x), within(x), sum(by), word, math.sqrt(4)
"""


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('"most": 3', '"most": 4'),
        ('["a", "b"]', '["b", "a"]'),
        ("min(x, limit", "max(x, limit"),
        ("scale = 2", "scale = 3"),
        ("x * self.scale", "x + self.scale"),
        ("self.scale / 2", "self.scale / 3"),
        ("return x + 1\n", "return x + 2\n"),
        ("class Model:", "class Model(collections.OrderedDict):"),
        ("add = made(1)", "add = made(2)"),
        ("return x + n", "return x - n"),
        ("return fn(*args)", "return fn(*args) or None"),
        ("@logged\n", ""),
        ("by=(1, 2)", "by=(1, 3)"),
        ('frozenset({"a", "b"})', 'frozenset({"a", "c"})'),
        ("range(3)", "range(4)"),
        ('"one"', '"1"'),
        ('{"k", "l"}', '{"k", "m"}'),
        ("math.sqrt(4)", "math.sqrt(4.0)"),
        ("math.sqrt(4)", "math.sin(4)"),
        ("def f(x, *,", "def f(z, *,"),
    ],
)  # fmt: skip
def test_edits_that_may_change_a_result_change_the_fingerprint(before: str, after: str) -> None:
    edited = CAPTURING.replace(before, after)
    assert edited != CAPTURING

    assert fingerprint(defined(edited)) != fingerprint(defined(CAPTURING))
    assert fingerprint(defined("\n# again\n" + CAPTURING)) == fingerprint(defined(CAPTURING))


@pytest.mark.parametrize(
    "body",
    ["return [x]", "yield x", "return (x for _ in 'a')"],
)
def test_generators_and_coroutines_are_functions_of_their_own(body: str) -> None:
    plain, later = (defined(f"{kind}def f(x):\n    {body}") for kind in ("", "async "))

    assert fingerprint(plain) != fingerprint(later)
    assert fingerprint(plain) == fingerprint(defined(f"\n\ndef f(x):\n    {body}"))


def test_functions_that_call_each_other_end() -> None:
    source = """
    def even(n): return n == 0 or odd(n - 1)
    def odd(n): return n != 0 and even(n - 1)
    def f(n): return f(n - 1) if n > 9 else even(n)
    """

    assert fingerprint(defined(source)) == fingerprint(defined("\n" + source))
    assert fingerprint(defined(source)) != fingerprint(defined(source.replace("n != 0", "n > 0")))


def test_data_that_contains_itself_ends() -> None:
    source = "ring = [1]\nring.append({'me': ring})\ndef f(): return ring"

    assert fingerprint(defined(source)) == fingerprint(defined(source))
    assert fingerprint(defined(source)) != fingerprint(defined(source.replace("[1]", "[2]")))


def test_partials_and_methods_count_with_what_they_hold() -> None:
    source = """
    class Model:
        def __init__(self, n): self.n = n
        def run(self, x): return x + self.n
        def __call__(self, x): return x - self.n
        @classmethod
        def of(cls, x): return cls(x)
    def g(x, y, z=0): return x + y + z
    def f(n): return [functools.partial(g, n), functools.partial(g, z=n), Model(n).run, Model(n), Model.of]
    """
    one, same, two = defined(source)(1), defined(source)(1), defined(source)(2)

    assert [fingerprint(a) == fingerprint(b) for a, b in zip(one, same, strict=True)] == [True] * 5
    assert [fingerprint(a) == fingerprint(b) for a, b in zip(one, two, strict=True)] == [False] * 4 + [True]
    assert len({fingerprint(a) for a in one}) == 5


def test_arrays_and_frames_count_by_content() -> None:
    def over(data: Any) -> Callable[[], Any]:
        return lambda: data

    def frame(**more: Any) -> pd.DataFrame:
        return pd.DataFrame({"a": [1, 2], "b": ["".join(["x", "y"]), "z"], **more})

    for one, same, other in [
        (np.arange(6), np.arange(12)[::2] // 2, np.arange(6.0)),
        (np.arange(6).reshape(2, 3), np.asfortranarray(np.arange(6).reshape(2, 3)), np.arange(6)),
        (np.array(["a", None], object), np.array(["a", None], object), np.array(["a", 1], object)),
        (np.array(["2020-01-01"], "M8[D]"), np.array(["2020-01-01"], "M8[D]"), np.array(["2020"], "M8[Y]")),
        (frame(), frame(), frame(c=[1, 2])),
        (frame()["b"], frame()["b"], frame()["b"].rename("c")),
        (frame(), frame(), frame().rename(columns={"a": "A"})),
        (frame(), frame(), frame().set_index("a")),
        (frame(c=[[1], [2]]), frame(c=[[1], [2]]), frame(c=[[1], [3]])),
        (pd.Index([1, 2]), pd.Index([1, 2]), pd.Index([1, 2], name="i")),
    ]:
        assert digest(one) == digest(same)
        assert fingerprint(over(one)) == fingerprint(over(same))
        assert digest(one) != digest(other)


class Colour(Enum):
    RED = 1
    BLUE = 2


@dataclass(frozen=True)
class Point:
    x: int
    y: Any = None


@pytest.mark.parametrize(
    ("one", "same", "other"),
    [
        (1, 1, True), (1, int("1"), 1.0), (0.0, 0.0, -0.0), (math.nan, float("nan"), math.inf),
        ("ab", "".join(["a", "b"]), b"ab"), ((1, 2), (1, 2), [1, 2]),
        ([1000, 1000], [int("1000"), int("1000")], [1000]),
        ({"a": 1, "b": 2}, {"a": 1, "b": 2}, {"b": 2, "a": 1}),
        ({"a", "b", "c"}, {"c", "b", "a"}, {"a", "b"}),
        (Colour.RED, Colour(1), Colour.BLUE), (Point(1, [2]), Point(1, [2]), Point(1, (2,))),
        (Path("/a/b"), Path("/a") / "b", Path("/a/c")), ("\ud800", "\ud800", "\ud801"),
        (str.upper, str.upper, bytes.upper), (len, len, max), (np.float64(1), np.float64(1), np.float32(1)),
        (types.MappingProxyType({1: 2}), types.MappingProxyType({1: 2}), {1: 2}),
        (range(3), range(3), range(4)), (slice(1, 2), slice(1, 2), slice(1, 3)),
    ],
)  # fmt: skip
def test_values_count_by_type_and_content(one: Any, same: Any, other: Any) -> None:
    assert digest(one) == digest(same)
    assert digest(one) != digest(other)


def test_what_is_installed_counts_by_its_version(monkeypatch: pytest.MonkeyPatch) -> None:
    fn = defined("def f(x): return np.sum(x)")
    before, sqrt = fingerprint(fn), fingerprint(pd.concat)

    module.version_of.cache_clear()
    monkeypatch.setattr(np, "__version__", "0.0")

    assert fingerprint(fn) != before
    assert fingerprint(pd.concat) == sqrt
    module.version_of.cache_clear()


def test_functions_of_modules_of_ones_own_count_by_what_they_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    source = "import threading\nLOCK = threading.Lock()\nK = 1\ndef g(x):\n    with LOCK: return x + K\n"

    def found(text: str) -> list[str]:
        (tmp_path / "own_helpers.py").write_text(text)
        sys.modules.pop("own_helpers", None)
        sys.path_importer_cache.clear()
        cells = (
            "from own_helpers import g\ndef f(x): return g(x)",
            "import own_helpers as h\ndef f(x): return h.g(x)",
        )
        return [fingerprint(defined(cell)) for cell in cells] + [fingerprint(sys.modules["own_helpers"].g)]

    first = found(source)

    assert found("\n" + source + "def other(): pass\n") == first
    assert not set(found(source.replace("K = 1", "K = 11"))) & set(first)
    assert not set(found(source.replace("x + K", "x - K"))) & set(first)
    sys.modules.pop("own_helpers")


class Connection:
    def __init__(self, url: str) -> None:
        self.url, self.lock = url, threading.Lock()

    def __fingerprint__(self) -> str:
        return self.url


def test_what_has_no_digest_is_named_with_the_cure() -> None:
    def opened() -> Iterator[int]:
        yield 1

    for value in (threading.Lock(), opened(), sys.stdout):

        def f(x: Any, value: Any = {"deep": [value]}) -> Any:  # noqa: B006 - it is what is captured
            return value

        with pytest.raises(
            UsageError, match=r"function .*f' has no digest.*for defaults: cannot.*__fingerprint__"
        ):
            fingerprint(f)
    with pytest.raises(UsageError, match="This list has no digest"):
        digest([threading.Lock()])


def test_an_object_may_say_what_it_stands_for() -> None:
    def over(url: str) -> Callable[[], Any]:
        connection = Connection(url)
        return lambda: connection

    assert fingerprint(over("a")) == fingerprint(over("a")) != fingerprint(over("b"))


def test_a_task_is_its_function_whatever_its_options() -> None:
    def made(body: str, **options: Any) -> Task[Any, Any]:
        return Task(defined(f"def f(x): return {body}"), **options)

    one, same, other = made("x"), made("x", retry=3, queue="gpu"), made("x + 1")

    assert fingerprint(one) == fingerprint(same) != fingerprint(other)
    assert fingerprint(one, by_name=True) == fingerprint(other, by_name=True)


def test_an_edited_function_has_the_same_name() -> None:
    def by_name(source: str, name: str = "f") -> str:
        return fingerprint(defined(source, name), by_name=True)

    assert by_name(PLAIN) == by_name("def f(): pass")
    assert by_name(CAPTURING) == by_name(CAPTURING.replace("min(", "max(").replace("range(3)", "range(4)"))
    assert by_name("def f(): pass") != by_name("def g(): pass", "g")
    bound = "def g(x, y): return {}\nf = functools.partial(g, {})"
    assert by_name(bound.format("x", 1)) == by_name(bound.format("y", 1)) != by_name(bound.format("x", 2))
    held = "class M:\n    def __init__(self, n): self.n = n\n    def g(self): return {}\nf = M({}).g"
    assert by_name(held.format("x", 1)) == by_name(held.format("y", 1)) != by_name(held.format("x", 2))
    made = "def make(n):\n    def g(): return {}, n\n    return g\nf = make({})"
    assert by_name(made.format("x", 1)) == by_name(made.format("y", 1)) != by_name(made.format("x", 2))


def test_the_same_cell_has_the_same_fingerprint_in_every_process(tmp_path: Path) -> None:
    probe = (
        "import sys, functools, math, numpy as np\n"
        "from taskflow.codec.fingerprint import digest, fingerprint\n"
        "space = {'__name__': '__main__', 'math': math, 'functools': functools, 'np': np}\n"
        "source = open(sys.argv[1]).read()\n"
        "exec(compile(source, sys.argv[1], 'exec'), space)\n"
        "print(fingerprint(space['f']), digest([{'a', 'b', 'c'}, space['limit'], space['Model']()]))\n"
    )
    answers = set()
    for seed, lines in (("1", 0), ("2", 7), ("random", 40)):
        cell = tmp_path / f"kernel_{seed}_cell.py"
        cell.write_text(
            "\n" * lines + CAPTURING.replace("    return helper", f"    # {seed}\n    return helper")
        )
        env = {**os.environ, "PYTHONHASHSEED": seed}
        done = subprocess.run(
            [sys.executable, "-c", probe, str(cell)], env=env, capture_output=True, text=True, check=True
        )
        answers.add(done.stdout)

    space = (
        defined(CAPTURING),
        digest([{"c", "b", "a"}, defined(CAPTURING, "limit"), defined(CAPTURING, "Model")()]),
    )
    assert answers == {f"{fingerprint(space[0])} {space[1]}\n"}
