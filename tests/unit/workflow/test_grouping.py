"""Grouping: few enough groups, of nodes that play the same part, and no cycle between them."""

from __future__ import annotations

import networkx as nx
from hypothesis import given
from hypothesis import strategies as st

from taskflow.workflow.grouping import grouped


def test_few_nodes_stay_alone() -> None:
    assert grouped({"a": ("f",), "b": ("f",)}, [], 2) == {"a": ["a"], "b": ["b"]}


def test_chains_side_by_side_become_one_chain() -> None:
    kinds = {(step, i): (step,) for i in range(50) for step in ("load", "parse")} | {("sum", 0): ("sum",)}
    links = [(("load", i), ("parse", i)) for i in range(50)] + [(("parse", i), ("sum", 0)) for i in range(50)]

    found = grouped(kinds, links, 10)

    assert {leader[0]: len(members) for leader, members in found.items()} == {
        "load": 50,
        "parse": 50,
        "sum": 1,
    }


def test_nodes_of_one_kind_with_other_neighbours_stay_apart_when_there_is_room() -> None:
    kinds = dict.fromkeys(range(20), ("f",)) | {"x": ("x",), "y": ("y",)}
    links = [(i, "x" if i < 10 else "y") for i in range(20)]

    assert sorted(map(len, grouped(kinds, links, 4).values())) == [1, 1, 10, 10]
    assert sorted(map(len, grouped(kinds, links, 3).values())) == [1, 1, 20]


def test_a_long_chain_is_cut_into_pieces() -> None:
    found = grouped({i: (i,) for i in range(2000)}, [(i, i + 1) for i in range(1999)], 500)

    assert len(found) == 500
    assert found[0] == [0, 1, 2, 3]


@given(
    st.lists(st.tuples(st.integers(0, 29), st.integers(0, 29)), max_size=80),
    st.lists(st.integers(0, 3), min_size=30, max_size=30),
    st.integers(1, 30),
)
def test_groups_are_few_and_make_no_cycle(pairs: list[tuple[int, int]], kinds: list[int], most: int) -> None:
    links = [(a, b) for a, b in pairs if a < b]

    found = grouped({i: (kind, i % 2) for i, kind in enumerate(kinds)}, links, most)

    assert len(found) <= most
    assert sorted(member for members in found.values() for member in members) == list(range(30))
    group = {member: leader for leader, members in found.items() for member in members}
    between = nx.DiGraph((group[a], group[b]) for a, b in links if group[a] != group[b])
    assert nx.is_directed_acyclic_graph(between)
