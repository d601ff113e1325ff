"""The tree of errors: whole, picklable, and drawn as it is."""

from __future__ import annotations

import copy
import inspect
import pickle
import re

import pytest

from taskflow import errors

TREE = sorted(
    (kind for kind in vars(errors).values() if inspect.isclass(kind) and issubclass(kind, BaseException)),
    key=lambda kind: kind.__name__,
)


@pytest.mark.parametrize("kind", TREE)
def test_an_error_survives_a_pickle_with_all_it_carries(kind: type[Exception]) -> None:
    error = kind("what happened, what to do")
    error.__dict__.update(root="7f3a", limit_s=1.5, nested={"a": [1, 2]})
    error.add_note("a note")

    for back in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(back) is kind
        assert back.args == error.args
        assert str(back) == str(error)
        assert back.__dict__ == error.__dict__


@pytest.mark.parametrize("kind", [k for k in TREE if issubclass(k, errors.TaskflowError)])
def test_keywords_of_an_error_become_attributes(kind: type[errors.TaskflowError]) -> None:
    error = kind("text", signal=9)

    assert vars(error)["signal"] == 9
    assert str(error) == "text"


@pytest.mark.parametrize("kind", TREE)
def test_an_error_is_public_and_has_one_root(kind: type[BaseException]) -> None:
    assert kind.__name__ in errors.__all__
    of_tasks = (errors.SoftTimeLimitExceeded, errors.Skip, errors.Reject, errors.Retry)
    assert issubclass(kind, (errors.TaskflowError, *of_tasks))


def test_the_tree_at_the_top_of_the_file_is_the_tree() -> None:
    assert errors.__doc__ is not None
    drawn = set(re.findall(r"[├└]─ (\w+)", errors.__doc__)) | {"TaskflowError"}

    missing = {kind.__name__ for kind in TREE if issubclass(kind, errors.TaskflowError)} - drawn

    assert missing == set()
