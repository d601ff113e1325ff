"""Exceptions: always readable, and themselves whenever that is possible."""

from __future__ import annotations

import asyncio
import copyreg
import threading
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from taskflow.codec import Codec
from taskflow.errors import (
    ConfigError,
    OOMKilled,
    RemoteError,
    TaskCancelled,
    TaskExpired,
    TaskflowError,
    TaskTimedOut,
    Untrusted,
    UpstreamFailed,
    WorkerLost,
)
from taskflow.records import Failure

Cell = Callable[[str], dict[str, Any]]

pytestmark = pytest.mark.usefixtures("pickled")


class Three(Exception):
    def __init__(self, one: int, two: int, three: int) -> None:
        super().__init__(f"{one} {two} {three}")
        self.three = three


class Keyword(StopIteration):
    def __init__(self, *, value: int) -> None:
        super().__init__(value)


class Locked(Exception):
    def __init__(self) -> None:
        super().__init__("locked")
        self.lock = threading.Lock()


class Unprintable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")

    __repr__ = __str__


class Reduced(Exception):
    def __reduce__(self) -> Any:
        return (int, ("x",))


class Changed(Exception):
    def __reduce__(self) -> Any:
        return (ValueError, ("x",))


def _caught(raise_it: Callable[[], Any]) -> BaseException:
    try:
        raise_it()
    except BaseException as error:  # noqa: BLE001 - any of them is what the test is about
        return error
    raise AssertionError("nothing was raised")


def _raise(error: BaseException) -> Callable[[], None]:
    def user_code() -> None:
        raise error

    return user_code


def _sent(codec: Codec, error: BaseException) -> BaseException:
    """The exception as the client raises it."""
    error = _caught(_raise(error))
    value = codec.dump_error("n", 2, 1, error)
    failure = Failure.from_json(codec.failure(error).to_json())
    return codec.exception(failure, value, "n", 2, 1)


# ── the exception itself ─────────────────────────────────────────────────────────────


ERRORS = [
    ValueError("a", 1),
    KeyError("k"),
    OSError(2, "No such file", "x"),
    UnicodeDecodeError("utf-8", b"x", 0, 1, "bad"),
    SystemExit(3),
    KeyboardInterrupt(),
    StopIteration(5),
    GeneratorExit(),
    ImportError("m", name="n"),
    SyntaxError("bad", ("f", 1, 2, "text")),
    ConfigError("a message", option="x"),
    Three(1, 2, 3),
    ExceptionGroup("some", [ValueError(1), Three(1, 2, 3), ExceptionGroup("deep", [KeyError(2)])]),
]


@pytest.fixture(params=[False, True], ids=["", "tblib"])
def pickled(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exceptions as Python pickles them, and as tblib does it for all: Dask's `distributed`, once imported,
    makes it do that.
    """
    kinds = {*_kinds(BaseException)}
    for kind in kinds & copyreg.dispatch_table.keys():
        monkeypatch.delitem(copyreg.dispatch_table, kind)
    if request.param:
        support = pytest.importorskip("tblib.pickling_support")
        for kind in kinds:
            monkeypatch.setitem(copyreg.dispatch_table, kind, support.pickle_exception)


def _kinds(kind: type[BaseException]) -> Iterator[type[BaseException]]:
    yield kind
    for below in kind.__subclasses__():
        yield from _kinds(below)


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_the_tasks_own_exception_arrives(codec: Codec, error: BaseException) -> None:
    again = _sent(codec, error)

    assert type(again) is type(error)
    assert repr(again) == repr(error)
    assert str(again) == str(error)
    assert again.__traceback__ is None
    assert "user_code" in str(again.__cause__)


def test_attributes_and_notes_arrive(codec: Codec) -> None:
    error = Three(1, 2, 3)
    error.add_note("on Tuesday")

    again = _sent(codec, error)

    assert (again.three, again.__notes__) == (3, ["on Tuesday"])  # type: ignore[attr-defined]
    assert "on Tuesday" in str(again.__cause__)


def test_what_a_built_in_class_keeps_to_itself_arrives(codec: Codec) -> None:
    again = _sent(codec, Keyword(value=7))

    assert isinstance(again, Keyword)
    assert again.value == 7


def test_an_exception_of_a_cell_is_caught_by_its_class(codec: Codec, worker: Codec, cell: Cell) -> None:
    session = cell("""
class Mine(Exception):
    def __init__(self, code, why): super().__init__(why); self.code = code
def fail(): raise Mine(7, "because")
""")
    error = _caught(worker.load_function(codec.function(session["fail"])).fn)

    again = codec.exception(worker.failure(error), worker.dump_error("n", 0, 1, error), "n", 0, 1)

    assert type(again) is session["Mine"]
    assert (again.code, str(again)) == (7, "because")


def test_an_exception_as_a_result_arrives(codec: Codec) -> None:
    (again,) = codec.load_result("n", 0, 1, 1, codec.dump_result("n", 0, 1, 1, [Three(1, 2, 3)]))

    assert (type(again), again.three) == (Three, 3)


def test_the_traceback_of_the_worker_is_shown_where_it_is_raised(codec: Codec) -> None:
    error = _sent(codec, ValueError("oh"))

    shown = "".join(traceback.format_exception(error))

    assert "user_code" in shown
    assert shown.rstrip().endswith("ValueError: oh")


# ── when it cannot be sent ───────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "error", [Locked(), Reduced("r"), Changed("c")], ids=lambda error: type(error).__name__
)
def test_an_exception_that_does_not_survive_pickling_arrives_as_text(codec: Codec, error: Exception) -> None:
    again = _sent(codec, error)

    assert codec.dump_error("n", 0, 1, error) is None
    assert isinstance(again, RemoteError)
    assert again.type_name.endswith(type(error).__name__)
    assert str(error) in str(again)
    assert "user_code" in again.remote_traceback


def test_an_exception_without_words_arrives(codec: Codec) -> None:
    failure = codec.failure(_caught(_raise(Unprintable())))

    assert failure.message == "<unprintable Unprintable>"
    assert "user_code" in failure.traceback


def test_an_exception_whose_class_is_unknown_here_arrives_as_text(
    codec: Codec, monkeypatch: pytest.MonkeyPatch
) -> None:
    value = codec.dump_error("n", 0, 1, Three(1, 2, 3))
    monkeypatch.delattr(f"{__name__}.Three")

    again = codec.exception(Failure("failed", "m.Three", "1 2 3", "the text"), value, "n", 0, 1)

    assert isinstance(again, RemoteError)
    assert (str(again), again.type_name, again.remote_traceback) == ("m.Three: 1 2 3", "m.Three", "the text")


def test_an_altered_or_misplaced_exception_is_refused(codec: Codec) -> None:
    value = codec.dump_error("n", 0, 1, ValueError(1))
    assert value is not None

    for wrong in (
        codec.exception(Failure("failed"), value[:-1] + bytes([value[-1] ^ 1]), "n", 0, 1),
        codec.exception(Failure("failed"), value, "m", 0, 1),
        codec.exception(Failure("failed"), value, "n", 0, 2),
    ):
        assert isinstance(wrong, Untrusted)


def test_no_class_is_looked_up_by_its_name(codec: Codec) -> None:
    hostile = Failure("failed", "os.system", "touch x", data={"error": "os.system", "exc_module": "os"})

    assert type(codec.exception(hostile)) is RemoteError
    assert type(codec.exception(Failure("failed", data={"error": ["list"]}))) is RemoteError


# ── the text ─────────────────────────────────────────────────────────────────────────


def test_causes_contexts_notes_and_groups_are_told(codec: Codec) -> None:
    def chained() -> None:
        try:
            try:
                raise KeyError("first")
            except KeyError:
                raise ExceptionGroup("many", [ValueError("second"), Three(1, 2, 3)])  # noqa: B904
        except ExceptionGroup as group:
            group.add_note("a note")
            raise RuntimeError("last") from group

    text = codec.failure(_caught(chained)).traceback

    order = ["KeyError: 'first'", "During handling", "many", "a note", "ValueError: second", "Three: 1 2 3"]
    order += ["direct cause", "RuntimeError: last"]
    places = [text.index(part) for part in order]
    assert places == sorted(places)


def test_from_none_hides_the_context(codec: Codec) -> None:
    def hidden() -> None:
        try:
            raise KeyError("first")
        except KeyError:
            raise ValueError("second") from None

    assert "first" not in codec.failure(_caught(hidden)).traceback


def test_a_deep_or_circular_chain_ends(codec: Codec) -> None:
    deep: BaseException = ValueError("0")
    for number in range(10_000):
        deep, deep.__cause__ = ValueError(str(number)), deep
    circular = ValueError("round")
    circular.__cause__ = KeyError("and round")
    circular.__cause__.__cause__ = circular

    for error in (deep, circular):
        assert len(codec.failure(error).to_json()) <= 24 * 1024
    group = ValueError("leaf")
    for _ in range(200):
        group = ExceptionGroup("g", [group] * 3)  # type: ignore[assignment]
    assert len(codec.failure(group).to_json()) <= 24 * 1024


@pytest.mark.parametrize(
    "message", ["x" * 10**6, "é" * 10**5, "\0" * 10**5, "\ud800" * 1000, "\U0001f600" * 10**5, "a\n" * 10**5]
)
def test_any_message_fits_and_can_be_printed(codec: Codec, message: str) -> None:
    text = codec.failure(_caught(_raise(ValueError(message)))).to_json()

    assert len(text) <= 24 * 1024
    failure = Failure.from_json(text)
    failure.message.encode()
    failure.traceback.encode()
    assert failure.type == "ValueError"


def test_a_deep_recursion_is_told_in_few_lines(codec: Codec) -> None:
    def down(n: int) -> int:
        return down(n + 1) + 1

    failure = codec.failure(_caught(lambda: down(0)))

    assert failure.type == "RecursionError"
    assert "more times" in failure.traceback
    assert len(failure.traceback) < 4000


def test_frames_that_are_not_the_users_are_left_out(codec: Codec) -> None:
    def user() -> None:
        codec.load_function("0" * 40)

    async def user_async() -> None:
        raise ValueError("async")

    inside = codec.failure(_caught(user)).traceback
    ours = codec.failure(_caught(lambda: asyncio.run(user_async()))).traceback
    bare = _caught(lambda: codec.load_function("0" * 40))
    bare.__traceback__ = bare.__traceback__.tb_next.tb_next  # type: ignore[union-attr]

    assert "in user\n" in inside
    assert "in user_async" in ours
    assert "File" not in codec.failure(bare).traceback


# ── what is raised for what has no exception ─────────────────────────────────────────


@pytest.mark.parametrize(
    ("failure", "kind", "attributes"),
    [
        (Failure("cancelled", message="by hand"), TaskCancelled, {"reason": "by hand"}),
        (Failure("cancelled"), TaskCancelled, {"reason": ""}),
        (Failure("expired"), TaskExpired, {}),
        (Failure("skipped", root="n1"), UpstreamFailed, {"root": "n1"}),
        (Failure("dead", signal=11), WorkerLost, {"signal": 11, "exit_code": None}),
        (Failure("lost", exit_code=1, data={"error": "WorkerLost"}), WorkerLost, {"exit_code": 1}),
        (
            Failure("dead", signal=9, data={"error": "OOMKilled", "limit_bytes": 5}),
            OOMKilled,
            {"limit_bytes": 5, "rss_peak_bytes": None, "signal": 9},
        ),
        (Failure("failed", data={"error": "TaskTimedOut", "limit_s": 2.5}), TaskTimedOut, {"limit_s": 2.5}),
        (Failure("dead", type="ValueError", message="x"), RemoteError, {"type_name": "ValueError"}),
        (Failure("failed"), RemoteError, {"type_name": "", "remote_traceback": ""}),
    ],
    ids=lambda value: getattr(value, "__name__", None) or getattr(value, "kind", None),
)
def test_the_state_decides_what_is_raised(
    codec: Codec, failure: Failure, kind: type[TaskflowError], attributes: dict[str, Any]
) -> None:
    error = codec.exception(Failure.from_json(failure.to_json()))

    assert type(error) is kind
    assert str(error)
    assert {name: getattr(error, name) for name in attributes} == attributes


def test_a_dead_item_with_an_exception_raises_that(codec: Codec) -> None:
    value = codec.dump_error("n", 0, 1, ValueError("the last straw"))

    again = codec.exception(Failure("dead", "ValueError", "the last straw", "text"), value, "n", 0, 1)

    assert isinstance(again, ValueError)
