"""Every name that Celery 5.7 documents for results is here, or stands below with the reason why it is not."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from taskflow.result import AsyncResult, EagerResult, GroupResult, ResultSet

OF_A_TASK = [
    "TimeoutError",
    "app",
    "args",
    "as_list",
    "as_tuple",
    "backend",
    "build_graph",
    "children",
    "collect",
    "date_done",
    "exists",
    "failed",
    "forget",
    "get",
    "get_leaf",
    "graph",
    "id",
    "ignored",
    "info",
    "iterdeps",
    "kwargs",
    "maybe_reraise",
    "maybe_throw",
    "name",
    "parent",
    "queue",
    "ready",
    "result",
    "retries",
    "revoke",
    "revoke_by_stamped_headers",
    "state",
    "status",
    "successful",
    "supports_native_join",
    "task_id",
    "then",
    "traceback",
    "wait",
    "worker",
]
OF_A_SET = [
    "add",
    "app",
    "backend",
    "clear",
    "completed_count",
    "discard",
    "failed",
    "forget",
    "get",
    "iter_native",
    "join",
    "join_native",
    "maybe_reraise",
    "maybe_throw",
    "ready",
    "remove",
    "results",
    "revoke",
    "successful",
    "supports_native_join",
    "then",
    "update",
    "waiting",
]
OF_A_GROUP = ["as_tuple", "children", "delete", "id", "parent", "restore", "save", *OF_A_SET]

LEFT_OUT = {
    "on_ready": "a promise of vine, which is not here: then() tells when a result is there",
    "throw": "breaks that promise from outside: a result is what its task gave",
}
"""What Celery has, and the reason why it is not here."""


@pytest.mark.parametrize(
    ("kind", "names"),
    [(AsyncResult, OF_A_TASK), (EagerResult, OF_A_TASK), (ResultSet, OF_A_SET), (GroupResult, OF_A_GROUP)],
)
def test_a_result_has_all_names(kind: type, names: list[str]) -> None:
    missing = [name for name in names if not hasattr(kind, name)]

    assert missing == []


@pytest.mark.parametrize("name", LEFT_OUT)
def test_what_is_left_out_is_not_half_there(name: str) -> None:
    assert not any(hasattr(kind, name) for kind in (AsyncResult, ResultSet, GroupResult, EagerResult))


ARGUMENTS: dict[Any, str] = {
    AsyncResult: "id backend task_name app parent",
    AsyncResult.get: "timeout propagate interval no_ack follow_parents callback on_message on_interval"
    " disable_sync_subtasks",
    AsyncResult.revoke: "connection terminate signal wait timeout",
    AsyncResult.revoke_by_stamped_headers: "headers connection terminate signal wait timeout",
    AsyncResult.then: "callback on_error weak",
    AsyncResult.maybe_throw: "propagate callback",
    AsyncResult.collect: "intermediate",
    AsyncResult.iterdeps: "intermediate",
    AsyncResult.build_graph: "intermediate formatter",
    EagerResult: "id ret_value state traceback name",
    ResultSet: "results",
    ResultSet.join: "timeout propagate interval callback no_ack on_message disable_sync_subtasks on_interval",
    ResultSet.join_native: "timeout propagate interval callback no_ack on_message on_interval"
    " disable_sync_subtasks",
    ResultSet.iter_native: "timeout interval no_ack on_message on_interval",
    ResultSet.maybe_throw: "callback propagate",
    ResultSet.revoke: "connection terminate signal wait timeout",
    GroupResult.restore: "id backend app",
    GroupResult.save: "backend",
    GroupResult.delete: "backend",
}
"""The arguments that Celery documents, in its order."""


@pytest.mark.parametrize("call", ARGUMENTS, ids=lambda call: call.__qualname__)
def test_a_call_takes_what_celerys_takes_in_its_order(call: Any) -> None:
    ours = [name for name in inspect.signature(call).parameters if name != "self"]

    wanted = ARGUMENTS[call].split()

    assert [name for name in ours if name in wanted] == wanted
    assert ours[: len(wanted)] == wanted
