from __future__ import annotations

import copy
import json
import operator
import pickle
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskflow import canvas, hooks
from taskflow.canvas import Shape, Signature, chain, chord, group, signature, task
from taskflow.errors import ConfigError, GraphError, UsageError
from taskflow.ids import NodeId
from taskflow.plan import Draft, Output
from taskflow.policy import Options
from tests.unit.evaluator import evaluate, new_draft


@task
def add(x: Any, y: Any) -> Any:
    return x + y


@task
def mul(x: Any, y: Any) -> Any:
    return x * y


@task(name="tsum", queue="sums")
def total(values: Any, plus: Any = 0) -> Any:
    return sum(values) + plus


@task
def say(*args: Any, **kwargs: Any) -> Any:
    return [list(args), kwargs]


def draw(sig: Signature, options: Options | None = None) -> tuple[Draft, Shape]:
    draft = new_draft()
    return draft, canvas.compile(sig, draft, options)


def run(sig: Signature) -> Any:
    draft, shape = draw(sig)
    return shape.collect(evaluate(draft).value)


# ── what the seeds print ─────────────────────────────────────────────────────────────


def test_a_chain_gives_each_result_to_the_next_step() -> None:
    draft, shape = draw(chain(add.s(2, 2), mul.s(4)))

    ran = evaluate(draft)
    assert shape.collect(ran.value) == 16
    assert shape.parent is not None
    assert shape.parent.collect(ran.value) == 4


def test_a_group_gives_the_list_of_results_in_order() -> None:
    assert run(group([add.s(2, 2), add.s(4, 4), add.s(8, 8)])) == [4, 8, 16]


def test_a_chord_gives_the_list_to_its_body() -> None:
    header = group([add.s(i, i) for i in range(10)])

    assert run(chord(header, total.s())) == 90


# ── flat nodes ───────────────────────────────────────────────────────────────────────


def test_a_chord_of_a_thousand_equal_calls_is_two_nodes() -> None:
    draft, shape = draw(chord((add.s(i, 1) for i in range(1000)), total.s()))

    assert [(node.width, node.array) for node in draft.nodes] == [(1000, True), (1, False)]
    assert shape.collect(evaluate(draft).value) == 500_500


def test_a_group_of_different_tasks_is_a_node_for_each() -> None:
    draft, shape = draw(group(add.s(1, 2), mul.s(3, 4), say.s()))

    assert [node.array for node in draft.nodes] == [False] * 3
    assert shape.collect(evaluate(draft).value) == [3, 12, [[], {}]]


def test_rows_of_equal_calls_in_a_mixed_group_are_array_nodes() -> None:
    draft, shape = draw(group(add.s(1, 1), add.s(2, 2), mul.s(3, 3), add.s(4, 4)))

    assert [node.width for node in draft.nodes] == [2, 1, 1]
    assert shape.collect(evaluate(draft).value) == [2, 4, 9, 8]


def test_members_with_options_of_their_own_are_told_apart() -> None:
    draft, _ = draw(group(add.s(1, 1), add.s(2, 2).set(queue="gpu"), add.s(3, 3).set(queue="gpu")))

    assert [(node.width, node.queue) for node in draft.nodes] == [(1, "default"), (2, "gpu")]


def test_equal_calls_may_bring_keywords_and_follow_a_result() -> None:
    draft, shape = draw(chain(add.s(1, 1), group(say.s(i, k=i) for i in range(3))))

    assert [node.width for node in draft.nodes] == [1, 3]
    assert draft.nodes[1].label == "say"
    assert shape.collect(evaluate(draft).value) == [[[2, i], {"k": i}] for i in range(3)]


def test_equal_immutable_calls_wait_and_take_nothing() -> None:
    assert run(chain(add.s(1, 1), group(say.si(i) for i in range(2)))) == [[[0], {}], [[1], {}]]


def test_a_future_among_the_arguments_of_a_member_makes_it_a_node_of_its_own() -> None:
    draft = new_draft()
    seven = draft.call(int, ("7",))

    shape = canvas.compile(group(add.s(Output(seven), i) for i in range(2)), draft)

    assert [node.array for node in draft.nodes] == [False] * 3
    assert shape.collect(evaluate(draft).value) == [7, 8]


def test_a_group_reads_a_generator_only_while_it_is_drawn() -> None:
    read: list[int] = []

    def members() -> Iterator[Signature]:
        for i in range(500):
            read.append(i)
            yield add.s(i, i)

    sig = chord(group(members()), total.s())
    assert read == []

    assert run(sig) == 249_500
    with pytest.raises(UsageError, match="was read when it was sent"):
        run(sig)


# ── shapes ───────────────────────────────────────────────────────────────────────────


def test_an_empty_group_gives_an_empty_list() -> None:
    assert run(group()) == run(group([])) == []


def test_a_body_behind_an_empty_group_gets_an_empty_list() -> None:
    assert run(chord([], total.s(plus=3))) == 3


def test_a_body_behind_an_empty_group_still_waits_for_the_step_before() -> None:
    draft, shape = draw(chain(add.s(1, 1), group([]), say.s()))

    assert [edge.parent for edge in draft.nodes[1].edges] == [draft.nodes[0].id]
    assert shape.collect(evaluate(draft).value) == [[[]], {}]


def test_a_group_of_one_gives_a_list_of_one() -> None:
    assert run(group(add.s(1, 1))) == [2]
    assert run(group(add.s(1, 1)) | total.s()) == 2


def test_groups_in_groups_are_taken_apart() -> None:
    assert run(group(group(add.s(1, 1), add.s(2, 2)), add.s(3, 3))) == [2, 4, 6]


def test_a_chain_that_ends_with_a_group_is_one_member() -> None:
    sig = group(chain(add.s(1, 1), group(add.s(10), add.s(20))), add.s(3, 3))

    assert run(sig) == [[12, 22], 6]
    assert run(sig | say.s()) == [[[[12, 22], 6]], {}]


def test_a_group_behind_a_group_gets_the_whole_list_in_each_member() -> None:
    assert run(chain(group(add.s(1, 1), add.s(2, 2)), group(total.s(), total.s(100)))) == [6, 106]


def test_a_chain_through_a_group_is_a_chord() -> None:
    assert run(chain(add.s(1, 1), group(add.s(i) for i in range(3)), total.s(), mul.s(2))) == 18


def test_chords_nest_in_headers_and_bodies() -> None:
    inner = chord([add.s(1, 1), add.s(2, 2)], total.s())

    assert run(chord([inner, inner, add.s(0, 1)], total.s())) == 13
    assert run(chord([add.s(1, 1), add.s(2, 2)], chord([total.s(), total.s(1)], total.s()))) == 13


def test_a_canvas_of_ten_thousand_steps_is_drawn_and_read() -> None:
    draft, shape = draw(chain([add.s(0, 0), *[add.s(1) for _ in range(9_999)]]))

    assert len(draft.nodes) == 10_000
    assert shape == Shape(draft.nodes[-1].id)
    assert repr(shape)


# ── signatures ───────────────────────────────────────────────────────────────────────


def test_arguments_given_later_come_first_and_keywords_go_over() -> None:
    assert say.s(2, a=1, b=1).clone((1,), {"b": 2})() == [[1, 2], {"a": 1, "b": 2}]
    assert say.si(2, a=1).clone((1,), {"b": 2})() == [[2], {"a": 1}]


def test_a_signature_is_a_dict_as_in_celery() -> None:
    sig = add.s(2, 2).set(queue="q")

    assert sig["task"] == f"{__name__}.add"
    assert dict(sig) == {
        "task": f"{__name__}.add",
        "args": (2, 2),
        "kwargs": {},
        "options": {"queue": "q"},
        "subtask_type": None,
        "immutable": False,
        "chord_size": None,
    }


@pytest.mark.parametrize(
    "sig",
    [
        add.s(2, 2),
        chain(add.s(2, 2), mul.si(2, 3).set(priority=3), add.s(1)),
        group(add.s(i, i) for i in range(3)).clone(),
        chord([add.s(1, 1), chain(add.s(1, 1), add.s(2))], total.s()),
        add.s(1, 1) | group(mul.s(2), mul.s(3)) | total.s(),
    ],
    ids=["call", "chain", "group", "chord", "pipe"],
)
def test_a_signature_comes_back_from_json_pickle_and_copy(sig: Signature) -> None:
    for back in (
        signature(json.loads(json.dumps(sig))),
        pickle.loads(pickle.dumps(sig)),
        copy.deepcopy(sig),
        sig.clone(),
    ):
        assert back == sig
        assert type(back) is type(sig)
        assert run(back) == run(sig)


def test_changing_a_clone_leaves_the_original() -> None:
    sig = chain(add.s(1, 1), add.s(2))

    sig.clone((5,)).tasks[1].set(queue="q")

    assert sig == chain(add.s(1, 1), add.s(2))


def test_the_pipe_makes_chains_and_chords() -> None:
    a, b, c = add.s(1, 1), add.s(2), add.s(3)

    assert a | b | c == chain(a, b, c)
    assert a | (b | c) == chain(a, b, c)
    assert group(a, a) | total.s() == chord(group(a, a), total.s())
    assert chord([a], total.s()) | b == chord([a], chain(total.s(), b))
    assert run(a | group(b, c) | total.s()) == 9


def test_options_of_a_canvas_are_those_of_its_members_unless_they_say_otherwise() -> None:
    sig = chain(add.s(1, 1), group(add.s(1), mul.s(2).set(queue="own")), total.s(), queue="q", countdown=9)

    draft, _ = draw(sig, Options(priority=5, label="all", key="k"))

    assert [(node.queue, node.delay_s) for node in draft.nodes] == [
        ("q", 9),
        ("q", None),
        ("own", None),
        ("q", None),
    ]
    assert {node.priority for node in draft.nodes} == {5}
    assert [node.label for node in draft.nodes] == ["add", "add", "mul", "total"]


def test_a_task_brings_options_of_its_own() -> None:
    draft, _ = draw(chain(add.s(1, 1), group(total.s()), total.s().set(queue="x")))

    assert [node.queue for node in draft.nodes] == ["default", "sums", "x"]


def test_an_unknown_option_is_named_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'queue'"):
        add.s(1, 1).set(que="x")
    with pytest.raises(ConfigError, match="Did you mean 'retry'"):
        task(retri=3)(lambda: None)


def test_a_linked_signature_gets_the_result_and_changes_nothing() -> None:
    sig = add.s(1, 1)
    sig.link(mul.s(10))

    draft, shape = draw(sig)

    ran = evaluate(draft)
    assert shape.collect(ran.value) == 2
    assert [ran.value(node.id) for node in draft.nodes] == [2, 20]


def test_an_error_link_is_refused_rather_than_forgotten() -> None:
    sig = add.s(1, 1)
    sig.link_error(say.s())

    with pytest.raises(GraphError, match="link_error"):
        draw(sig)


def test_a_task_that_is_not_here_is_named_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"no task 'tsun'.*Did you mean 'tsum'.*Import the module"):
        draw(signature("tsun", ([1],)))


def test_plain_functions_need_no_name() -> None:
    assert run(chain(signature(divmod, (7, 2)), signature(sum))) == 4
    assert run(group(signature(operator.add, (i, i)) for i in range(3))) == [0, 2, 4]


def test_canvases_without_steps_or_body_are_refused() -> None:
    with pytest.raises(GraphError, match="at least one step"):
        draw(chain())
    with pytest.raises(GraphError, match="needs a body"):
        draw(chord([add.s(1, 1)]))
    with pytest.raises(UsageError, match="not a signature"):
        chain(add.s(1, 1), 3)


# ── ids ──────────────────────────────────────────────────────────────────────────────


CANVASES = [
    add.s(1, 1),
    chain(add.s(1, 1), add.s(2)),
    group(add.s(i, i) for i in range(5)).clone(),
    group(add.s(1, 1), mul.s(2, 2), chain(add.s(1, 1), group(add.s(1), add.s(2)))),
    chord([add.s(1, 1), add.s(2, 2)], chain(total.s(), add.s(1))),
    chain(group(), total.s()),
]


@pytest.mark.parametrize("sig", CANVASES)
def test_frozen_ids_are_those_of_the_plan(sig: Signature) -> None:
    frozen = copy.deepcopy(sig)

    shape = frozen.freeze()
    draft, drawn = draw(frozen)

    assert drawn == shape
    assert frozen.freeze() == shape
    assert set(shape.nodes()) <= {node.id for node in draft.nodes}
    assert shape.collect(evaluate(draft).value) == run(sig)


def test_the_parts_of_a_frozen_canvas_know_their_ids() -> None:
    sig = chord([add.s(i, i) for i in range(3)], total.s())

    shape = sig.freeze("the-end")

    assert sig.body is not None
    assert shape.id == sig.body.id == "the-end"
    assert shape.parent is not None
    assert [part.id for part in shape.parent.items()] == [part.id for part in sig.tasks]
    assert sig.tasks[2].id == f"{shape.parent.node}[2]"


def test_a_canvas_that_is_not_frozen_gets_new_ids_each_time() -> None:
    sig = chain(add.s(1, 1), add.s(2))

    assert draw(sig)[1] != draw(sig)[1]


def test_the_same_signature_may_stand_twice_in_a_frozen_canvas() -> None:
    sig = chain(add.s(1, 1), *[add.s(2)] * 2, chord([add.s(3)] * 2, total.s()))

    sig.freeze()

    assert run(sig) == 18


def test_an_id_for_a_chain_is_that_of_its_last_step() -> None:
    for sig in (chain(add.s(1, 1), add.s(2)), chord([add.s(1, 1)], total.s()), chain(add.s(1, 1) | add.s(2))):
        draft, shape = draw(sig.set(task_id="mine"))

        assert shape.id == "mine" == draft.nodes[-1].id
        assert len({node.id for node in draft.nodes}) == len(draft.nodes)


# ── sending ──────────────────────────────────────────────────────────────────────────


class Sent:
    """A client that runs what it is sent."""

    def submit_canvas(self, sig: Signature) -> Any:
        return run(sig)


def test_a_canvas_goes_to_the_client_in_use() -> None:
    with hooks.using(Sent()):  # type: ignore[arg-type]
        assert add.delay(2, 2) == 4
        assert chain(add.s(2, 2), mul.s(4)).apply_async() == 16
        assert chain(add.s(2), mul.s(4))(2) == 16
        assert chord(add.s(i, i) for i in range(10))(total.s()) == 90
        assert group(add.s(i) for i in range(3)).delay(1) == [1, 2, 3]


def test_a_canvas_can_be_sent_to_a_certain_client() -> None:
    assert add.s(2).apply_async((2,), client=Sent(), queue="q") == 4
    assert add.apply_async((2, 2), client=Sent()) == 4


def test_the_provider_is_asked_where_no_client_was_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hooks, "_provider", None)
    hooks.provide(Sent)  # type: ignore[arg-type]

    assert add.delay(1, 1) == 2


# ── tasks ────────────────────────────────────────────────────────────────────────────


def test_a_task_is_a_function() -> None:
    assert add(2, 2) == 4
    assert add.__name__ == "add"


def test_an_importable_task_travels_by_name() -> None:
    assert pickle.loads(pickle.dumps(add)) is add
    assert add.target is add


def test_a_task_made_in_a_function_is_not_mistaken_for_its_namesake() -> None:
    def make(n: int) -> Any:
        @task
        def grow(x: int) -> int:
            return x + n

        return grow

    one, two = make(1), make(2)

    assert run(chain(one.s(0), two.s(), one.s())) == 4


def test_a_task_is_found_by_the_newest_definition_of_its_name() -> None:
    sig = task(name="redefined")(lambda: "old").s()
    task(name="redefined")(lambda: "new")

    assert run(sig) == "new"


# ── any canvas ───────────────────────────────────────────────────────────────────────


leaves = st.builds(
    lambda args, kwargs, immutable: say.si(*args, **kwargs) if immutable else say.s(*args, **kwargs),
    st.lists(st.integers(0, 9), max_size=2),
    st.dictionaries(st.sampled_from("ab"), st.integers(0, 9), max_size=1),
    st.booleans(),
)
canvases = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3).map(chain),
        st.lists(inner, max_size=3).map(group),
        st.builds(lambda sig, n: group([sig.clone() for _ in range(n)]), inner, st.integers(2, 4)),
        st.builds(chord, st.lists(inner, max_size=3), inner),
        st.builds(operator.or_, inner, inner),
    ),
    max_leaves=8,
)


def meaning(sig: Signature, lead: tuple[Any, ...] = ()) -> Any:
    """What a canvas gives, by its definition."""
    if isinstance(sig, chain):
        for step in sig.tasks:
            lead = (meaning(step, lead),)
        return lead[0]
    if isinstance(sig, chord):
        assert sig.body is not None
        return meaning(sig.body, (meaning(sig.header, lead),))
    if isinstance(sig, group):
        results: list[Any] = []
        for member in sig.tasks:
            inner = meaning(member, lead)
            results += inner if isinstance(member, group) else [inner]
        return results
    return sig.clone(lead)()


@given(canvases)
def test_any_canvas_means_what_its_parts_mean(sig: Signature) -> None:
    assert run(sig) == meaning(sig)


@given(canvases)
def test_any_canvas_keeps_its_meaning_when_frozen_or_sent_as_json(sig: Signature) -> None:
    expected = meaning(sig)

    frozen = signature(json.loads(json.dumps(sig)))
    shape = frozen.freeze()
    draft, drawn = draw(frozen)

    assert drawn == shape
    assert drawn.collect(evaluate(draft).value) == expected


@given(canvases)
def test_no_step_of_any_chain_runs_before_the_one_in_front_of_it(sig: Signature) -> None:
    draft, shape = draw(chain(say.s("first"), sig, say.s("last")))

    order = list(evaluate(draft).ended)

    first, last = draft.nodes[0].id, shape.node
    assert order[0] == first
    assert last is not None
    parents = {edge.parent for node in draft.nodes for edge in node.edges}
    assert {node for node in order if node not in parents} == {NodeId(last)}
