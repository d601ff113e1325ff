"""The frames of a worker: captured as bytes, and real frames again."""

from __future__ import annotations

import io
import pdb
import pickle
import threading
import time
import traceback
import types
from collections.abc import Callable
from typing import Any

import pytest

from taskflow.codec import Codec
from taskflow.codec.frames import STORY_BYTES, VALUE_BYTES, Story, capture
from taskflow.codec.tracebacks import Absent
from taskflow.errors import RemoteError, Untrusted
from tests.unit.codec.cost import calls_in

FACTOR = 3
NOBODY = "not named by any code here"


def ratio(share: float, secret: str) -> float:
    doubled = [share * 2]
    return FACTOR / (doubled[0] - share * 2)


def analyse(count: int) -> float:
    note = f"note of {count}"
    return ratio(float(count), note)


def raised(fn: Callable[..., Any], *args: Any) -> BaseException:
    try:
        fn(*args)
    except BaseException as error:  # noqa: BLE001 - whatever it is
        return error
    raise AssertionError("it raises nothing")


def told(codec: Codec, error: BaseException) -> BaseException:
    """The exception as a client gets it, when it is asked for with its frames."""
    captured = capture(error, "a worker")
    assert captured is not None
    failure = codec.failure(error)
    value = codec.dump_error("n", 0, 1, error, captured.data)
    return codec.exception(failure, value, "n", 0, 1, frames=True)


def steps(error: BaseException | None) -> list[types.TracebackType]:
    assert error is not None
    found, trace = [], error.__traceback__
    while trace is not None:
        found.append(trace)
        trace = trace.tb_next
    return found


def last(error: BaseException | None) -> types.FrameType:
    return steps(error)[-1].tb_frame


def shown(error: BaseException) -> str:
    return "".join(traceback.format_exception(error))


def holding(value: Any) -> None:
    held = value
    raise ValueError(f"with {type(held).__name__}")


class TestWhatComesBack:
    def test_frames_have_their_variables(self, codec: Codec) -> None:
        error = told(codec, raised(analyse, 4))

        assert [step.tb_frame.f_code.co_name for step in steps(error)] == ["raised", "analyse", "ratio"]
        assert dict(last(error).f_locals) == {"share": 4.0, "secret": "note of 4", "doubled": [8.0]}

    def test_a_traceback_shows_the_lines_and_columns_of_the_worker(self, codec: Codec) -> None:
        original = raised(analyse, 4)

        text = shown(told(codec, original))

        here = "".join(traceback.format_tb(original.__traceback__))
        assert here in text
        assert "Raised by a worker" in text and "RemoteTraceback" not in text

    def test_a_debugger_stands_in_them(self, codec: Codec) -> None:
        error = told(codec, raised(analyse, 4))
        commands = ["p share", "p FACTOR", "up", "p note", "p [len(note) + x for x in (1, 2)]", "count = 9"]
        out = io.StringIO()
        debugger = pdb.Pdb(stdin=io.StringIO("\n".join([*commands, "p count", "ll", "q", ""])), stdout=out)
        debugger.use_rawinput = False
        debugger.reset()

        debugger.interaction(None, error.__traceback__)  # type: ignore[arg-type]

        said = out.getvalue()
        assert "4.0" in said and "3\n" in said and "'note of 4'" in said
        assert "[10, 11]" in said and "9\n" in said
        assert 'note = f"note of {count}"' in said

    def test_names_of_the_module_that_the_code_uses_are_there_and_no_others(self, codec: Codec) -> None:
        frame = last(told(codec, raised(analyse, 4)))

        assert frame.f_globals["FACTOR"] == 3
        assert eval("[FACTOR * n for n in (1, 2)]", frame.f_globals, frame.f_locals) == [3, 6]
        with pytest.raises(KeyError):
            frame.f_globals["NOBODY"]

    def test_modules_come_by_name(self, codec: Codec) -> None:
        def measure() -> None:
            raise ValueError(time.monotonic())

        assert last(told(codec, raised(measure))).f_globals["time"] is time

    def test_the_same_object_is_the_same_in_all_frames(self, codec: Codec) -> None:
        def outer() -> None:
            mine = [1]
            inner(mine)

        def inner(given: list[int]) -> None:
            raise ValueError

        found = steps(told(codec, raised(outer)))

        assert found[-1].tb_frame.f_locals["given"] is found[-2].tb_frame.f_locals["mine"]

    def test_the_exception_is_the_one_that_a_variable_holds(self, codec: Codec) -> None:
        def again() -> None:
            try:
                ratio(1.0, "")
            except ZeroDivisionError as caught:
                kept = caught
                raise kept  # noqa: B904 - it is the same

        error = told(codec, raised(again))

        assert steps(error)[1].tb_frame.f_locals["kept"] is error


class TestChains:
    def test_a_cause_has_its_frames(self, codec: Codec) -> None:
        def wrap() -> None:
            try:
                analyse(2)
            except ZeroDivisionError as error:
                raise LookupError("no share") from error

        error = told(codec, raised(wrap))

        assert isinstance(error, LookupError) and isinstance(error.__cause__, ZeroDivisionError)
        assert last(error.__cause__).f_locals["share"] == 2.0
        assert "direct cause" in shown(error)

    def test_a_context_stays_a_context(self, codec: Codec) -> None:
        def wrap(hide: bool) -> None:
            try:
                analyse(2)
            except ZeroDivisionError:
                if hide:
                    raise LookupError("no share") from None
                raise LookupError("no share")  # noqa: B904 - a context is what is wanted

        seen, hidden = told(codec, raised(wrap, False)), told(codec, raised(wrap, True))

        assert isinstance(seen.__context__, ZeroDivisionError) and seen.__cause__ is None
        assert "During handling" in shown(seen)
        assert hidden.__suppress_context__ and "ZeroDivisionError" not in shown(hidden)

    def test_an_exception_in_a_circle_ends(self, codec: Codec) -> None:
        error = raised(analyse, 2)
        other = raised(holding, 1)
        error.__context__, other.__context__ = other, error

        again = told(codec, error)

        assert again.__context__ is not None and again.__context__.__context__ is again

    def test_members_of_a_group_have_their_frames(self, codec: Codec) -> None:
        def several() -> None:
            raise ExceptionGroup("both", [raised(analyse, 2), ExceptionGroup("in", [raised(holding, 5)])])  # type: ignore[list-item]

        error = told(codec, raised(several))

        assert isinstance(error, ExceptionGroup)
        first, second = error.exceptions
        assert last(first).f_locals["share"] == 2.0
        assert isinstance(second, ExceptionGroup) and last(second.exceptions[0]).f_locals["held"] == 5

    def test_a_group_that_cannot_travel_leaves_its_members(self, codec: Codec) -> None:
        def several() -> None:
            stuck = ValueError(threading.Lock())
            raise ExceptionGroup("both", [raised(analyse, 2), stuck])  # type: ignore[list-item]

        error = told(codec, raised(several))

        assert isinstance(error, RemoteError) and isinstance(error.__cause__, ExceptionGroup)
        assert last(error.__cause__.exceptions[0]).f_locals["share"] == 2.0

    def test_an_exception_that_cannot_travel_has_its_frames_too(self, codec: Codec) -> None:
        def stuck() -> None:
            lock = threading.Lock()
            raise ValueError("at the lock", lock)

        error = told(codec, raised(stuck))

        assert isinstance(error, RemoteError) and error.type_name == "ValueError"
        assert "lock" in repr(last(error).f_locals["lock"])
        assert "RemoteTraceback" not in shown(error)


class Hostile:
    """Raises, or never comes back, when it is asked for anything."""

    def __init__(self, does: Callable[[], Any]) -> None:
        self.does = does

    def __reduce__(self) -> Any:
        return self.does()

    def __repr__(self) -> str:
        return str(self.does())


def exits() -> None:
    raise SystemExit(3)


def spins() -> None:
    while True:
        time.sleep(0.001)


class Homesick:
    """Can be pickled, and not unpickled."""

    def __reduce__(self) -> Any:
        return exits, ()


class TestVariablesThatAreTrouble:
    def test_what_cannot_be_pickled_says_what_it_is(self, codec: Codec) -> None:
        held = last(told(codec, raised(holding, (x for x in "ab")))).f_locals["held"]

        assert isinstance(held, Absent) and "generator" in repr(held)

    @pytest.mark.parametrize("does", [exits, lambda: 1 / 0, lambda: 5])
    def test_what_raises_is_told_as_such(self, codec: Codec, does: Callable[[], Any]) -> None:
        found = last(told(codec, raised(holding, Hostile(does)))).f_locals

        assert isinstance(found["held"], Absent) and "not carried" in repr(found["held"])

    def test_what_never_comes_back_is_left_behind(self, codec: Codec) -> None:
        error = raised(holding, [1, Hostile(spins)])

        began = time.monotonic()
        captured = capture(error, "a worker", within_s=0.2)

        assert captured is not None and not captured.is_held_up
        assert time.monotonic() - began < 5
        value = codec.dump_error("n", 0, 1, error, captured.data)
        found = codec.exception(codec.failure(error), value, "n", 0, 1, frames=True)
        assert isinstance(last(found).f_locals["held"], Absent)

    def test_what_holds_up_its_thread_is_reported(self) -> None:
        free = threading.Event()
        error = raised(holding, Hostile(free.wait))

        captured = capture(error, "a worker", within_s=0.05)
        free.set()

        assert captured is not None and captured.is_held_up

    def test_what_cannot_be_unpickled_is_absent_and_not_before_it_is_looked_at(self, codec: Codec) -> None:
        frame = last(told(codec, raised(holding, Homesick())))

        assert "held" in frame.f_locals
        assert "cannot be had here" in repr(frame.f_locals["held"])

    def test_large_values_do_not_travel(self, codec: Codec) -> None:
        numbers = pytest.importorskip("numpy").zeros((4000, 4000))
        for value in ("x" * (VALUE_BYTES + 1), list(range(10**6)), numbers, numbers[:, ::2]):
            error = raised(holding, value)
            captured = capture(error, "a worker")
            assert captured is not None and len(captured.data) < 20_000
            held = last(told(codec, error)).f_locals["held"]
            assert "too large" in repr(held) and len(repr(held)) < 10_000

    def test_all_of_them_together_are_bounded_and_the_innermost_come_first(self, codec: Codec) -> None:
        def deep(level: int) -> None:
            mine = bytes([level]) * (VALUE_BYTES - 1000)
            if level < 30:
                deep(level + 1)
            raise ValueError(len(mine))

        error = raised(deep, 0)
        captured = capture(error, "a worker")

        assert captured is not None and len(captured.data) < STORY_BYTES + 100_000
        found = steps(told(codec, error))
        assert isinstance(found[-1].tb_frame.f_locals["mine"], bytes)
        assert isinstance(found[1].tb_frame.f_locals["mine"], Absent)

    def test_a_recursion_without_end_keeps_its_first_and_its_last_frames(self, codec: Codec) -> None:
        def down(level: int) -> int:
            return down(level + 1) + 1

        found = steps(told(codec, raised(down, 0)))

        assert len(found) == 50
        assert found[1].tb_frame.f_locals["level"] == 0
        assert found[-1].tb_frame.f_locals["level"] > 100


class TestText:
    def test_a_file_that_is_the_same_here_keeps_its_name(self, codec: Codec) -> None:
        assert last(told(codec, raised(analyse, 1))).f_code.co_filename == __file__

    def test_a_file_that_differs_here_shows_the_lines_of_the_worker(
        self, codec: Codec, tmp_path: Any
    ) -> None:
        path = tmp_path / "model.py"
        path.write_text("def fit(n):\n    return n / 0\n")
        space: dict[str, Any] = {}
        exec(compile(path.read_text(), str(path), "exec"), space)
        error = raised(space["fit"], 1)
        captured = capture(error, "a worker")
        assert captured is not None
        path.write_text("# edited\n\n\ndef fit(n):\n    return n\n")

        value = codec.dump_error("n", 0, 1, error, captured.data)
        text = shown(codec.exception(codec.failure(error), value, "n", 0, 1, frames=True))

        assert f"<a worker: {path}>" in text and "return n / 0" in text

    def test_a_cell_is_found_under_the_name_it_has_in_this_kernel(
        self, codec: Codec, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        import linecache

        text = "def fit(n):\n    return n / 0\n"
        there, here = "<cell 99>", "/tmp/ipykernel_1/99.py"
        space: dict[str, Any] = {}
        exec(compile(text, there, "exec"), space)
        entry = (len(text), None, text.splitlines(keepends=True), there)
        monkeypatch.setitem(linecache.cache, there, entry)
        error = raised(space["fit"], 1)
        captured = capture(error, "a worker")
        assert captured is not None
        monkeypatch.delitem(linecache.cache, there)
        monkeypatch.setitem(linecache.cache, here, entry)

        value = codec.dump_error("n", 0, 1, error, captured.data)
        again = codec.exception(codec.failure(error), value, "n", 0, 1, frames=True)

        assert last(again).f_code.co_filename == here


class TestTrust:
    def test_a_story_of_another_place_is_refused_unopened(
        self, codec: Codec, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        error = raised(analyse, 1)
        captured = capture(error, "a worker")
        assert captured is not None
        value = codec.dump_error("n", 0, 1, error, captured.data)
        monkeypatch.setattr(pickle, "loads", None)

        assert isinstance(codec.exception(codec.failure(error), value, "n", 1, 1, frames=True), Untrusted)

    def test_a_story_in_a_blob_that_was_altered_is_refused(self, codec: Codec) -> None:
        error = raised(holding, "y" * 100_000)
        captured = capture(error, "a worker")
        assert captured is not None and len(captured.data) > 100_000
        value = codec.dump_error("n", 0, 1, error, captured.data)
        (blob,) = [path for path in codec.blobs.directory.rglob("*") if path.is_file()]  # type: ignore[attr-defined]
        blob.write_bytes(blob.read_bytes().replace(b"yyyy", b"zzzz"))

        assert isinstance(codec.exception(codec.failure(error), value, "n", 0, 1, frames=True), Untrusted)

    def test_a_story_that_makes_no_sense_leaves_the_text(self, codec: Codec) -> None:
        error = raised(analyse, 1)
        value = codec.dump_error("n", 0, 1, error, pickle.dumps(("from", "another", "release")))

        again = codec.exception(codec.failure(error), value, "n", 0, 1, frames=True)

        assert isinstance(again, ZeroDivisionError) and "doubled[0]" in str(again.__cause__)

    def test_without_being_asked_for_the_frames_stay_text(self, codec: Codec) -> None:
        error = raised(analyse, 1)
        captured = capture(error, "a worker")
        assert captured is not None
        value = codec.dump_error("n", 0, 1, error, captured.data)

        again = codec.exception(codec.failure(error), value, "n", 0, 1)

        assert again.__traceback__ is None and "doubled[0]" in str(again.__cause__)

    def test_values_are_not_loaded_with_their_story(self, codec: Codec) -> None:
        captured = capture(raised(holding, Homesick()), "a worker")

        assert captured is not None
        assert isinstance(Story.loads(captured.data), Story)


def test_frames_of_ours_alone_are_no_frames() -> None:
    error = raised(holding, 1)
    error.__traceback__ = None

    assert capture(error, "a worker") is None


def test_capturing_takes_few_calls() -> None:
    error = raised(analyse, 1)
    capture(error, "a worker")

    assert calls_in(lambda: capture(error, "a worker")) < 1_000
