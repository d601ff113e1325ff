"""How a graph of Dask becomes nodes: order, chains, names, and what a node is known by."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from taskflow.errors import CycleError, MissingExtra, UnknownNode

pytest.importorskip("dask")

from dask import annotate, delayed
from dask._task_spec import Alias, DataNode, Task, TaskRef

from taskflow.contrib.dask import get
from taskflow.contrib.dask.blocks import Block, Tasks, blocks_of
from taskflow.contrib.dask.calling import _tasks
from taskflow.contrib.dask.naming import names_of
from taskflow.contrib.dask.planning import _options
from taskflow.contrib.dask.program import FIXED, MADE, VALUE, Program
from taskflow.contrib.dask.recalling import signs_of
from taskflow.contrib.dask.writing import Need


def drawn(graph: Mapping[Any, Any], *wanted: Any, fuse: bool = True) -> list[Block]:
    tasks = Tasks(graph, {})
    return blocks_of(tasks, [tasks.target(key) for key in wanted], fuse=fuse)


def computed(blocks: list[Block]) -> dict[Any, Any]:
    made: dict[Any, Any] = {}
    for block in blocks:
        given = [made[value.key] if type(value) is Need else value for value in block.values]
        made[block.key] = block.program(str(block.key), *given)
    return made


class Part:
    """Something that can be seen to be let go."""


def test_a_program_lets_go_of_what_no_later_step_needs() -> None:
    seen: list[Any] = []

    def first() -> Part:
        part = Part()
        seen.append(weakref.ref(part))
        return part

    def third(_: int) -> bool:
        gc.collect()
        return seen[0]() is None

    steps = (
        ((FIXED, 0), (), (), ()),
        ((FIXED, 1), ((MADE, 0),), (), (0,)),
        ((FIXED, 2), ((MADE, 1),), (), (1,)),
    )

    assert Program(steps, (first, lambda part: 1, third))("key") is True


def test_what_is_raised_has_a_note_of_its_task() -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        Program((((FIXED, 0), ((VALUE, 0), (VALUE, 1)), (), ()),), (divmod,))("('a', 1)", 1, 0)

    assert caught.value.__notes__ == ["in the Dask task ('a', 1)"]


def test_only_what_is_needed_is_a_node_and_each_comes_after_what_it_needs() -> None:
    graph = {
        "a": (abs, -1),
        "b": (abs, -2),
        "sum": (sum, ["a", "b"]),
        "twice": (max, "sum", "a"),
        "idle": (abs, 1),
    }

    blocks = drawn(graph, "twice")

    assert [block.key for block in blocks] == ["a", "b", "sum", "twice"]
    assert computed(blocks)["twice"] == 3


def test_a_chain_is_one_node_with_what_it_is_made_of() -> None:
    graph = {"a": (abs, -1), "b": (str, "a"), "c": (len, "b"), "d": (abs, -5), "e": (max, "c", "d")}

    fused, single = drawn(graph, "e"), drawn(graph, "e", fuse=False)

    assert [block.keys for block in fused] == [("a", "b", "c"), ("d",), ("e",)]
    assert [block.key for block in single] == ["a", "b", "c", "d", "e"]
    assert computed(fused)["e"] == computed(single)["e"] == 5
    assert [block.keys for block in drawn(graph, "e", "b")] == [("a", "b"), ("c",), ("d",), ("e",)]


def test_what_parts_and_meets_again_is_one_node_and_what_can_run_side_by_side_is_not() -> None:
    again = {"read": (abs, -3), "more": (max, "read", 5), "both": (divmod, "more", "read")}
    beside = {"read": (abs, -3), "a": (pow, "read", 2), "b": (pow, "read", 3), "c": (max, "a", "b")}
    twice = {"read": (abs, -3), "x": (abs, "read"), "more": (max, "x", 5), "both": (divmod, "more", "read")}
    joined = {"r": (abs, -3), "s": (abs, -4), "t": (abs, "s"), "u": (max, "r", "t")}

    assert [block.keys for block in drawn(again, "both")] == [("read", "more", "both")]
    assert computed(drawn(again, "both"))["both"] == (1, 2)
    assert [block.keys for block in drawn(twice, "both")] == [("read", "x", "more", "both")]
    assert [block.keys for block in drawn(beside, "c")] == [("read",), ("a",), ("b",), ("c",)]
    assert [block.keys for block in drawn(joined, "u")] == [("r",), ("s", "t"), ("u",)]


def test_constants_and_other_names_are_no_nodes() -> None:
    data = object()
    graph = {"x": DataNode("x", data), "y": Alias("y", "x"), "z": Task("z", id, TaskRef("y"))}

    (block,) = drawn(graph, "z")

    assert block.values == (data,)
    assert computed(drawn(graph, "y")) == {"x": data}, "unless they are asked for"


def test_tasks_that_do_the_same_share_a_program_with_the_functions_they_are_given() -> None:
    def each(x: int) -> int:
        return x + 1

    graph = {("part", i): (lambda fn, items: list(map(fn, items)), each, [i, i]) for i in range(3)}
    call = graph["part", 0][0]
    graph = {key: (call, *task[1:]) for key, task in graph.items()}

    blocks = drawn(graph, *graph)

    assert len({id(block.program) for block in blocks}) == 1
    assert [block.values for block in blocks] == [([i, i],) for i in range(3)]
    assert computed(blocks)["part", 2] == [3, 3]


def test_a_graph_that_cannot_run_is_refused() -> None:
    with pytest.raises(UnknownNode, match="'missing'"):
        drawn({"a": Task("a", abs, TaskRef("missing"))}, "a")
    with pytest.raises(CycleError, match="a → b → a"):
        drawn({"a": Alias("a", "b"), "b": Alias("b", "a")}, "a")
    with pytest.raises(CycleError):
        drawn({"a": (abs, "b"), "b": (abs, "a")}, "a")


def test_layers_of_one_name_are_told_apart() -> None:
    graph = {
        **{(f"load-{'0' * 32}", i): (abs, i) for i in range(2)},
        **{(f"load-{'1' * 32}", i): (abs, (f"load-{'0' * 32}", i)) for i in range(2)},
        "total-3f2a96c0-1111-4444-8888-123456789abc": (sum, [(f"load-{'1' * 32}", i) for i in range(2)]),
    }

    names = names_of(drawn(graph, list(graph)[-1], fuse=False))

    assert list(map(str, names.values())) == ["load 0", "load (2) 0", "load 1", "load (2) 1", "total"]
    assert {name.layer for name in names.values()} == {"load", "load (2)", "total"}


def test_annotations_stay_with_their_tasks() -> None:
    with annotate(retries=lambda key: 2, priority=-7.5, workers="a"):
        first = delayed(abs)(-1)
    last = delayed(str)(first)
    tasks = _tasks(last.dask)

    blocks = blocks_of(tasks, [tasks.target(last.key)], fuse=True)

    assert [_options(block.said) for block in blocks] == [{"retry": 2, "priority": 0}, {}], "and part a chain"


def test_without_dask_the_command_that_installs_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dask._expr", None)

    with pytest.raises(MissingExtra, match=r"jupyter-taskflow\[dask\]"):
        get({"x": (abs, 1)}, "x")


SIGNS = """
import sys
import dask, dask.dataframe as dd, dask.array as da, dask.bag as db
from dask import delayed
from dask.core import flatten
from taskflow.contrib.dask.blocks import blocks_of
from taskflow.contrib.dask.calling import _tasks
from taskflow.contrib.dask.recalling import signs_of

def show(graph, keys):
    tasks = _tasks(graph)
    blocks = blocks_of(tasks, [tasks.target(key) for key in flatten([keys])], fuse=True)
    print(*signs_of(blocks, tasks.read).values())
    return [None for _ in flatten([keys])]

a = da.arange(16, chunks=4).reshape(4, 4)
dask.compute((a @ a + 1).sum(), scheduler=show)
dask.compute(db.from_sequence("abcd", npartitions=2).map(str.upper).count(), scheduler=show)
rows = dd.read_parquet(sys.argv[1])
dask.compute(rows[rows.x > 1].groupby("s").x.sum(), scheduler=show)
some = {str(n): delayed(lambda x: x + 1)(n) for n in range(5)}
dask.compute(delayed(lambda d: sum(d.values()))(some), scheduler=show)
"""


def test_what_a_node_is_known_by_does_not_depend_on_the_process(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    for number in range(2):
        part = pandas.DataFrame({"s": list("abc"), "x": [number, 2, 3]})
        part.to_parquet(tmp_path / f"{number}.parquet")
    found = []
    for seed in ("1", "2"):
        env = os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)}
        done = subprocess.run(
            [sys.executable, "-c", SIGNS, str(tmp_path)], env=env, capture_output=True, text=True, check=True
        )
        found.append(done.stdout.splitlines())

    assert found[0] == found[1]
    assert [len(line.split()) for line in found[0]] == [len(set(line.split())) for line in found[0]]


def test_what_a_node_is_known_by_says_what_it_does_and_what_is_before_it() -> None:
    def signs(fn: Any, value: int) -> list[str]:
        blocks = drawn({"a": (fn, value), "b": (str, "a"), "c": (len, "b"), "d": (max, "a", "c")}, "d")
        return list(signs_of(blocks).values())

    first = signs(lambda x: x + 1, 1)

    assert first == signs(lambda x: x + 1, 1)
    assert set(first).isdisjoint(signs(lambda x: x + 2, 1))
    assert set(first).isdisjoint(signs(lambda x: x + 1, 2))


def test_what_has_no_digest_is_known_by_the_token_in_its_key_or_not_at_all() -> None:
    def sign(key: str) -> str:
        (found,) = signs_of(drawn({key: (id, threading.Lock())}, key)).values()
        return found

    token = f"read-{'ab12' * 8}"

    assert sign(token) == sign(token)
    assert sign("mine") != sign("mine")
