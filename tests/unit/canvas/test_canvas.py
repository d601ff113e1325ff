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
from taskflow.canvas import (
    Shape,
    Signature,
    chain,
    chord,
    chunks,
    group,
    signature,
    task,
    xmap,
    xstarmap,
)
from taskflow.client import Client
from taskflow.errors import ConfigError, GraphError, UsageError, WrongArguments
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
        mul.starmap(zip(range(3), range(3), strict=True)),
        total.map([[1, 2], [3]]),
        mul.chunks(zip(range(5), range(5), strict=True), 2),
        chain(add.s(1, 1), group(total.map([[1]]), mul.chunks([(1, 2)], 1))),
    ],
    ids=["call", "chain", "group", "chord", "pipe", "starmap", "map", "chunks", "nested"],
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


@pytest.mark.parametrize(
    "sig",
    [
        add.s(1, 1).set(queue="q", countdown=2, link=[mul.s(10)], link_error=say.s()),
        chain(add.s(1, 1), add.s(2)).set(link=mul.s(10)).on_error(say.s()),
        group(add.s(1, 1).set(link=mul.s(2).set(link=mul.s(3))), mul.s(2, 2)).set(priority=3),
        chord([add.s(1, 1)], total.s()).set(link=say.s()).on_error(say.s().set(queue="errors")),
        add.chunks([(1, 2), (3, 4)], 1).set(queue="q"),
        add.starmap([(1, 2)]).set(link=say.s()),
        add.s(1, 1).stamp(exp=7),
        chain(add.s(1, 1), group(add.s(1), chord([add.s(1)], total.s()))).stamp(exp=[1]),
    ],
    ids=["call", "chain", "group", "chord", "chunks", "starmap", "stamped", "all stamped"],
)
def test_options_and_links_come_back_from_json_too(sig: Signature) -> None:
    for back in (signature(json.loads(json.dumps(sig))), Signature.from_dict(json.loads(json.dumps(sig)))):
        assert back == sig
        assert all(isinstance(one, Signature) for one in back.options.get("link", ()))
        assert run(back) == run(sig)
        assert drawn(back) == drawn(sig)
    frozen = sig.clone()
    frozen.freeze()
    assert signature(json.loads(json.dumps(frozen))) == frozen


def drawn(sig: Signature) -> list[Any]:
    """The nodes of a canvas, those of links and errbacks included."""
    nodes = draw(sig)[0].nodes
    return [(node.label, node.queue, node.priority, [edge.mode for edge in node.edges]) for node in nodes]


def test_what_celery_wrote_is_read() -> None:
    def call(name: str, *args: Any) -> dict[str, Any]:
        return {
            "task": name, "args": list(args), "kwargs": {}, "options": {}, "subtask_type": None,
            "immutable": False,
        }  # fmt: skip

    plus = f"{__name__}.add"
    written = {
        "task": "celery.chord",
        "args": [],
        "kwargs": {"kwargs": {}, "header": [call(plus, 1, 1), call(plus, 2, 2)], "body": call("tsum")},
        "options": {"queue": "q"},
        "subtask_type": "chord",
        "immutable": False,
    }
    chained = call("celery.chain") | {
        "kwargs": {"tasks": [written, call(plus, 10)]}, "subtask_type": "chain",
    }  # fmt: skip

    draft, _ = draw(signature(written))
    assert {node.queue for node in draft.nodes} == {"q"}
    assert run(signature(written)) == 6
    assert run(signature(chained)) == 16


def test_the_parts_of_a_signature_may_be_put_in_place() -> None:
    sig, canvas_ = add.s(1, 1), chord([add.s(1, 1)], total.s())

    sig.args, sig.kwargs, sig.immutable = (2,), {"y": 3}, True
    canvas_.body, canvas_.tasks = total.s(plus=10), [add.s(2, 2), add.s(3, 3)]
    steps = chain(add.s(1, 1))
    steps.tasks = [add.s(2, 2), dict(add.s(3))]

    assert (sig["args"], sig(), sig.clone((9,)).args) == ((2,), 5, (2,))
    assert (run(canvas_), run(steps)) == (20, 7)
    assert sig.replace(args=(5, 5), kwargs={}, options={"queue": "x"}) == add.si(5, 5).set(queue="x")
    assert (sig.replace(), sig.partial) == (sig, sig.clone)


def test_a_call_is_written_as_one() -> None:
    assert add.si(2, y=3).reprcall(1, z=4).endswith("add(1, 2, y=3, z=4)")
    assert signature(pow, (2, 3)).reprcall() == repr(signature(pow, (2, 3))) == "pow(2, 3)"


def test_a_pipe_in_place_makes_a_chain_too() -> None:
    sig: Any = add.s(1, 1)
    first = sig

    sig |= add.s(2)

    assert sig == chain(add.s(1, 1), add.s(2))
    assert first == add.s(1, 1)


def test_what_may_be_a_signature_may_be_none_or_a_copy() -> None:
    sig = add.s(1, 1)

    assert canvas.maybe_signature(None) is None
    assert canvas.maybe_signature(sig) is sig
    copied = canvas.maybe_signature(sig, clone=True)
    assert copied == sig
    assert copied is not sig
    assert canvas.maybe_signature(dict(sig)) == canvas.subtask(sig) == sig


def test_the_steps_of_a_chain_have_its_links_and_errbacks() -> None:
    sig = chain(add.s(1, 1), add.s(2))
    sig.link(mul.s(10))
    sig.link_error(say.s())

    steps = sig.unchain_tasks()

    assert [step.options.get("link_error") for step in steps] == [[say.s()], [say.s()]]
    assert [step.options.get("link") for step in steps] == [None, [mul.s(10)]]
    assert "link_error" not in sig.tasks[0].options


def test_what_is_linked_twice_is_linked_once() -> None:
    sig = add.s(1, 1)

    assert sig.link(mul.s(2)) == mul.s(2)
    assert sig.link([mul.s(2), mul.s(3)]) == [mul.s(2), mul.s(3)]

    assert sig.options["link"] == [mul.s(2), mul.s(3)]


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
    mul.starmap([(1, 2), (3, 4)]),
    mul.chunks([(1, 2), (3, 4), (5, 6)], 2),
    mul.chunks([(1, 2)], 2),
    chain(add.s(1, 1), total.map([[1], [2]])),
]


@pytest.mark.parametrize("sig", CANVASES)
def test_frozen_ids_are_those_of_the_plan(sig: Signature) -> None:
    frozen = copy.deepcopy(sig)

    shape = frozen.freeze().shape
    draft, drawn = draw(frozen)

    assert drawn == shape
    assert frozen.freeze().shape == shape
    assert set(shape.nodes()) <= {node.id for node in draft.nodes}
    assert shape.collect(evaluate(draft).value) == run(sig)


def test_the_parts_of_a_frozen_canvas_know_their_ids() -> None:
    sig = chord([add.s(i, i) for i in range(3)], total.s())

    result = sig.freeze("the-end")

    assert sig.body is not None
    assert result.id == sig.body.id == "the-end"
    assert [part.id for part in result.parent] == [part.id for part in sig.tasks]
    assert sig.tasks[2].id == f"{result.parent.id}[2]"


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


# ── many calls in one task ───────────────────────────────────────────────────────────


def test_a_starmap_is_one_call_and_gives_a_list() -> None:
    sig = add.starmap(zip(range(10), range(10), strict=True))

    draft, shape = draw(sig)

    assert [(node.array, node.label) for node in draft.nodes] == [(False, "add.starmap")]
    assert shape.collect(evaluate(draft).value) == sig() == [2 * i for i in range(10)]


def test_a_map_is_one_call_treated_as_its_task_and_its_signature_say() -> None:
    draft, shape = draw(total.map([[1, 2], [3]]))
    other, _ = draw(xmap(total.s(100).set(priority=7), [[1, 2]], queue="own"))

    assert [(node.queue, node.label) for node in draft.nodes] == [("sums", "total.map")]
    assert shape.collect(evaluate(draft).value) == [3, 3]
    assert [(node.queue, node.priority) for node in other.nodes] == [("own", 7)]
    assert run(xmap(total.s(100), [[1, 2], [3]])) == [103, 103]


def test_chunks_of_a_hundred_are_ten_items_of_one_array_node() -> None:
    sig = add.chunks(zip(range(100), range(100), strict=True), 10)

    draft, shape = draw(sig)

    assert [(node.width, node.label) for node in draft.nodes] == [(10, "add.starmap")]
    parts = shape.collect(evaluate(draft).value)
    assert [len(part) for part in parts] == [10] * 10
    assert [value for part in parts for value in part] == [2 * i for i in range(100)]
    assert len(sig.group().tasks) == 10


def test_chunks_may_leave_a_rest_be_empty_and_go_on() -> None:
    pairs = [(i, i) for i in range(5)]

    assert run(add.chunks(pairs, 2)) == [[0, 2], [4, 6], [8]]
    assert run(add.chunks([], 2)) == []
    assert run(add.chunks(pairs, 2) | say.s()) == [[[[0, 2], [4, 6], [8]]], {}]
    assert run(chain(add.s(1, 1), add.chunks(pairs, 3), say.s())) == [[[[0, 2, 4], [6, 8]]], {}]
    with pytest.raises(UsageError, match="above 0"):
        add.chunks(pairs, 0)


def test_the_chunks_of_a_group_can_start_one_after_the_other() -> None:
    sig = add.chunks([(i, i) for i in range(4)], 1).group().skew(start=1, stop=3)

    draft, _ = draw(sig)

    assert [(node.delay_s, node.width) for node in draft.nodes] == [(1, 1), (2, 1), (3, 2)]


def test_calls_of_coroutine_functions_are_awaited_one_by_one() -> None:
    import asyncio

    async def double(x: int) -> int:
        await asyncio.sleep(0)
        return 2 * x

    sig = xmap(signature(double), [1, 2, 3])

    assert asyncio.run(sig()) == [2, 4, 6]


# ── links, in one thread ─────────────────────────────────────────────────────────────


def test_links_are_flat_and_may_be_given_as_options() -> None:
    last = add.s(1)
    sig = add.s(1, 1).set(link=mul.s(10).set(link=[last]))

    assert sig.flatten_links() == [sig, sig.options["link"][0], last]
    draft, shape = draw(chain(add.s(1, 1), add.s(1)).clone().set(link=mul.s(10)))
    ran = evaluate(draft)
    assert shape.collect(ran.value) == 3
    assert [ran.value(node.id) for node in draft.nodes] == [2, 3, 30]


def test_apply_runs_everything_here_and_now() -> None:
    result = chord([add.s(i, 1) for i in range(4)], total.s()).apply()

    assert (result.get(), result.state, result.ready()) == (10, "SUCCESS", True)
    assert result.parent.get() == [1, 2, 3, 4]
    assert add.apply((1,), {"y": 2}).get() == add.s(1).apply((2,)).get() == 3
    assert [part.get() for part in group(add.s(i, i) for i in range(3)).apply()] == [0, 2, 4]


# ── arguments that cannot be ─────────────────────────────────────────────────────────


@task(typing=False)
def loose(x: Any) -> Any:
    return x


@pytest.mark.parametrize(
    "sig",
    [
        add.s(1, 2, 3),
        add.s(1),
        add.s(1, 2, z=3),
        chain(add.s(1, 2), add.s()),
        chain(add.s(1, 2), add.s(1, 2)),
        chord([add.s(1, 2)], add.s()),
        group([add.s(1, 2), add.s(1), add.s(3)]),
        group(add.s(i, x=1) for i in range(3)).clone(),
        chain(add.s(1, 2), group(add.s(1, 1), add.s(2, 2))),
        add.s(1, 2).set(link=add.s(1, 2)),
        add.starmap([(1, 2), (1, 2, 3)]),
        add.chunks([(1, 2), (1,)], 1),
    ],
)
def test_arguments_that_a_task_cannot_take_are_an_error_before_anything_is_stored(
    client: Client, sig: Signature
) -> None:
    before = len(client.runs())

    with pytest.raises(
        WrongArguments, match=r"add\(x: 'Any', y: 'Any'\).* cannot be called as add\("
    ) as found:
        sig.apply_async(client=client)

    assert isinstance(found.value, TypeError)
    assert len(client.runs()) == before


def test_a_task_may_do_without_the_check_and_some_built_ins_have_to() -> None:
    draft, _ = draw(chain(loose.s(1, 2, 3), signature(max)))

    assert len(draft.nodes) == 2


# ── large and small ──────────────────────────────────────────────────────────────────


def test_a_chain_of_thousands_runs_and_knows_its_parents(client: Client) -> None:
    result = chain([add.s(0, 0), *[add.s(1) for _ in range(3_999)]]).apply_async(client=client)

    assert result.get() == 3_999
    assert len(set(result.as_list())) == 4_000
    assert client.async_result(result.parent.parent.id).get() == 3_997


def test_a_chain_of_groups_is_kept_in_as_many_parts_as_it_has() -> None:
    step = group(add.s(1), mul.s(1), add.s(2))
    sig = chain(add.s(1, 1), *[chain(step, total.s()) for _ in range(40)])

    _, shape = draw(sig)

    assert len(shape.to_json()["shapes"]) < 500


def test_a_group_of_many_is_read_one_by_one_and_never_held() -> None:
    """What stays is the packed arguments: pages of some bytes a member, not a signature each."""
    import tracemalloc

    alive = most = 0

    class Counted(Signature):
        def __del__(self) -> None:
            nonlocal alive
            alive -= 1

    def members() -> Iterator[Signature]:
        nonlocal alive, most
        for i in range(60_000):
            alive += 1
            most = max(most, alive)
            yield Counted(add, (i, i))

    draw(group(add.s(1, 1), add.s(2, 2)))
    tracemalloc.start()
    draft, shape = draw(group(members()))
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert (shape.width, len(draft.nodes)) == (60_000, 1)
    assert most < 15_000
    assert peak_bytes < 12_000_000


@pytest.mark.parametrize("level", ["outer", "inner", "member"])
def test_options_count_on_each_level_of_nesting(level: str) -> None:
    said: dict[str, Any] = {"queue": "q", "priority": 5, "expires": 60, "countdown": 3}
    here = {name: said if name == level else {} for name in ("outer", "inner", "member")}
    member = add.s(1, 1).set(**here["member"])
    inner = group([member, mul.s(1, 1)], **here["inner"])

    draft, _ = draw(chain(chord(inner, total.s()), add.s(1), **here["outer"]))

    found = [(node.queue, node.priority, node.expires_s, node.delay_s) for node in draft.nodes]
    all_of_it, plain = ("q", 5, 60, 3), ("default", 0, None, None)
    assert found[0] == all_of_it
    assert found[1] == (plain if level == "member" else all_of_it)
    assert found[3] == (("q", 5, 60, None) if level == "outer" else plain)


# ── any canvas ───────────────────────────────────────────────────────────────────────


leaves = st.builds(
    lambda args, kwargs, immutable: say.si(*args, **kwargs) if immutable else say.s(*args, **kwargs),
    st.lists(st.integers(0, 9), max_size=2),
    st.dictionaries(st.sampled_from("ab"), st.integers(0, 9), max_size=1),
    st.booleans(),
)
serial = st.one_of(
    st.builds(say.map, st.lists(st.integers(0, 9), max_size=3)),
    st.builds(say.starmap, st.lists(st.tuples(st.integers(0, 9), st.text("xy")), max_size=3)),
    st.builds(
        say.chunks,
        st.lists(st.tuples(st.integers(0, 9)), max_size=7),
        st.integers(1, 4),
    ),
)
canvases = st.recursive(
    st.one_of(leaves, leaves, serial),
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
    if isinstance(sig, chunks):
        size = sig.kwargs["n"]
        calls = [say(*args) for args in sig.it]
        return [calls[at : at + size] for at in range(0, len(calls), size)]
    if isinstance(sig, xmap):
        return [say(*item) if isinstance(sig, xstarmap) else say(item) for item in sig.it]
    return sig.clone(lead)()


@given(canvases)
def test_any_canvas_means_what_its_parts_mean(sig: Signature) -> None:
    assert run(sig) == meaning(sig)


@given(canvases)
def test_any_canvas_keeps_its_meaning_when_frozen_or_sent_as_json(sig: Signature) -> None:
    expected = meaning(sig)

    frozen = signature(json.loads(json.dumps(sig)))
    shape = frozen.freeze().shape
    draft, drawn = draw(frozen)

    assert drawn == shape
    assert drawn.collect(evaluate(draft).value) == expected


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with Client(mode="inline") as client:
        yield client


@given(canvases)
def test_any_canvas_run_by_the_engine_means_what_its_parts_mean(client: Client, sig: Signature) -> None:
    result = sig.apply_async(client=client)

    assert result.get() == meaning(sig)
    assert result.successful()
    assert all(found == part.get() for found, part in zip(result.get(), result.children, strict=False))
    if result.exists():  # nothing is stored of a group without members
        assert client.async_result(result.id).get() == result.get()


@given(canvases)
def test_the_shape_of_any_canvas_comes_back_from_json(sig: Signature) -> None:
    _, shape = draw(sig)

    def line(shape: Shape | None) -> list[Shape]:
        return [] if shape is None else [shape, *line(shape.parent)]

    assert line(Shape.from_json(json.loads(json.dumps(shape.to_json())))) == line(shape)


@given(canvases)
def test_no_step_of_any_chain_runs_before_the_one_in_front_of_it(sig: Signature) -> None:
    draft, shape = draw(chain(say.s("first"), sig, say.s("last")))

    order = list(evaluate(draft).ended)

    first, last = draft.nodes[0].id, shape.node
    assert order[0] == first
    assert last is not None
    parents = {edge.parent for node in draft.nodes for edge in node.edges}
    assert {node for node in order if node not in parents} == {NodeId(last)}


@pytest.mark.parametrize("link", [Signature.link, Signature.link_error, Signature.on_error])
def test_what_is_linked_must_be_a_signature(link: Any) -> None:
    with pytest.raises(UsageError, match="not a signature"):
        link(add.s(1, 1), 5)
