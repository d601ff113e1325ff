"""Functions: what travels, what is watched, and what is refused."""

from __future__ import annotations

import functools
import json
import linecache
import math
import os
import subprocess
import sys
import textwrap
import threading
import types
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import pytest

from taskflow.codec import Codec, Keyring, Reference, blob_names, functions, payload
from taskflow.codec.functions import describe
from taskflow.errors import CannotPickle, PayloadError, ResultExpired, Untrusted, UsageError, VersionMismatch
from taskflow.policy import RetryPolicy
from tests.unit.codec.cost import calls_in

Cell = Callable[[str], dict[str, Any]]


class Pending(Reference):
    def __init__(self) -> None:
        self.node_id, self.index = "n", None


def twice(x: int) -> int:
    return 2 * x


def other(x: int) -> int:
    return x


@pytest.fixture
def pickled(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Everything that was pickled, in order."""
    seen: list[Any] = []
    real = payload.pack

    def pack(obj: Any, *args: Any, **kwargs: Any) -> Any:
        seen.append(obj)
        return real(obj, *args, **kwargs)

    monkeypatch.setattr(payload, "pack", pack)
    return seen


# ── what travels ─────────────────────────────────────────────────────────────────────


def test_a_function_with_its_retries_arrives(codec: Codec, worker: Codec) -> None:
    digest = codec.function(twice, retry=RetryPolicy(2))

    loaded = worker.load_function(digest)

    assert loaded.fn(4) == 8
    assert loaded.retry == RetryPolicy(2)
    assert (loaded.label, loaded.cwd) == ("twice", str(Path.cwd()))
    assert worker.load_function(digest) is loaded


def test_functions_of_a_cell_arrive_by_value(codec: Codec, worker: Codec, cell: Cell) -> None:
    session = cell("""
import math
from dataclasses import dataclass
factor = 3
def helper(x): return x * factor
def fact(n): return 1 if n < 2 else n * fact(n - 1)
@dataclass
class Point:
    x: int
    def far(self): return math.hypot(self.x, factor)
def use(x): return helper(x) + fact(3), Point(4).far()
async def waiting(x): return x
class Call:
    def __call__(self, x): return x + factor
""")

    assert worker.load_function(codec.function(session["use"])).fn(1) == (9, 5.0)
    assert worker.load_function(codec.function(session["Call"]())).fn(1) == 4
    assert worker.load_function(codec.function(functools.partial(session["helper"], 2))).fn() == 6
    assert worker.load_function(codec.function(session["Point"](4).far)).fn() == 5.0
    assert worker.load_function(codec.function(lambda: session["factor"])).fn() == 3


def test_built_in_functions_arrive(codec: Codec, worker: Codec) -> None:
    for fn, args in ((math.sqrt, (4,)), (len, ("ab",)), (str.upper, ("a",)), (np.sqrt, (4,))):
        assert worker.load_function(codec.function(fn)).fn(*args) == fn(*args)


def test_the_same_function_has_the_same_digest(codec: Codec) -> None:
    again = Codec(codec.keyring, codec.blobs)

    assert codec.function(twice) == again.function(twice) != codec.function(other)
    assert codec.function(twice) != codec.function(twice, retry=RetryPolicy(5))


def test_a_class_that_comes_home_keeps_its_own_methods(codec: Codec, worker: Codec, cell: Cell) -> None:
    session = cell("""
scale = 1
class Shape:
    def area(self): return scale
def make(): return Shape()
""")
    original = session["Shape"].area
    made = worker.load_function(codec.function(session["make"])).fn()

    result = codec.load_result("n", 0, 1, 1, worker.dump_result("n", 0, 1, 1, made))

    session["scale"] = 2
    assert type(result) is session["Shape"]
    assert session["Shape"].area is original
    assert result.area() == 2


def test_something_that_is_no_function_is_refused(codec: Codec) -> None:
    with pytest.raises(UsageError, match="int"):
        codec.function(3)  # type: ignore[arg-type]


# ── in another process ───────────────────────────────────────────────────────────────


def _run(source: str, *argv: str, cwd: Path | None = None) -> str:
    env = os.environ | {"TASKFLOW_KEY": "a2" * 22, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, *argv] if argv else [sys.executable, "-c", textwrap.dedent(source)],
        capture_output=True, text=True, cwd=cwd, env=env, timeout=50, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_script_and_the_modules_beside_it_run_in_another_process(tmp_path: Path) -> None:
    (tmp_path / "beside.py").write_text("def add(x):\n    return x + 1\n")
    (tmp_path / "script.py").write_text(
        textwrap.dedent("""
        import functools, sys, typing
        import beside
        from taskflow.blobs.files import FileBlobs
        from taskflow.codec import Codec, Keyring
        UserId = typing.NewType("UserId", int)
        @functools.lru_cache(maxsize=5)
        def cached(x): return x * 10
        def main(x: UserId): return cached(beside.add(x))
        print(Codec(Keyring.load(), FileBlobs(sys.argv[1])).function(main))
    """)
    )
    blobs = str(tmp_path / "blobs")
    digest = _run("", str(tmp_path / "script.py"), blobs)

    answer = _run(f"""
        from taskflow.blobs.files import FileBlobs
        from taskflow.codec import Codec, Keyring
        print(Codec(Keyring.load(), FileBlobs({blobs!r})).load_function({digest!r}).fn(3))
    """)

    assert answer == "40"


def test_the_lines_of_a_cell_are_in_the_traceback_of_the_worker(codec: Codec, worker: Codec) -> None:
    source = "def boom():\n    raise ValueError('deep')  # the guilty line\n"
    linecache.cache["/tmp/ipykernel_1/42.py"] = (len(source), None, source.splitlines(True), "")
    session: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(source, "/tmp/ipykernel_1/42.py", "exec"), session)
    digest = codec.function(session["boom"])
    del linecache.cache["/tmp/ipykernel_1/42.py"]

    loaded = worker.load_function(digest)

    with pytest.raises(ValueError, match="deep") as caught:
        loaded.fn()
    assert "# the guilty line" in worker.failure(caught.value).traceback


def test_a_function_of_a_cell_is_the_same_in_another_kernel(codec: Codec, monkeypatch: Any) -> None:
    """The name of a cell's file has the number of the process in it."""

    def made(kernel: int, source: str) -> str:
        name = f"/tmp/ipykernel_{kernel}/42.py"
        monkeypatch.setitem(linecache.cache, name, (len(source), None, source.splitlines(True), ""))
        session: dict[str, Any] = {"__name__": "__main__"}
        exec(compile(source, name, "exec"), session)
        return codec.function(session["add"])

    one, other = "def add(a, b): return a + b\n", "def add(a, b): return b + a\n"

    assert made(7, one) == made(123, one) != made(7, other)


# ── what is watched ──────────────────────────────────────────────────────────────────


def test_an_unchanged_function_is_pickled_once(codec: Codec, cell: Cell, pickled: list[Any]) -> None:
    session = cell("""
import math
from dataclasses import dataclass
factor = 3
@dataclass
class Point:
    x: int = 0
    def far(self): return math.hypot(self.x, factor)
def deco(fn):
    import functools
    @functools.wraps(fn)
    def inner(*args): return fn(*args)
    return inner
def helper(x, *, by=2): return x * factor * by
@deco
def use(x): return helper(Point(x).far()) + missing_so_far
""")

    digests = {codec.function(session["use"], retry=RetryPolicy(2)) for _ in range(5)}

    assert len(digests) == 1
    assert len(pickled) == 1


CHANGES = {
    "a global": "factor = 4",
    "a global that becomes an equal one of another type": "factor = 3.0",
    "a global that was missing": "missing = 1",
    "a global that goes away": "del factor",
    "a helper": "def helper(x): return x - 1",
    "the code of a helper": "helper.__code__ = (lambda x: x).__code__",
    "a default of a helper": "helper.__defaults__ = (1,)",
    "a keyword default": "helper.__kwdefaults__['by'] = 7",
    "an attribute of a function": "helper.label = 'x'",
    "an inner function's global": "deep = 9",
    "a method of a class": "Point.far = lambda self: 0",
    "a new attribute of a class": "Point.near = 1",
    "a class": "class Point:\n    def far(self): return 1",
    "a builtin that is shadowed": "len = lambda x: 0",
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_a_change_is_seen(codec: Codec, cell: Cell, change: str) -> None:
    session = cell("""
factor, deep = 3, 1
class Point:
    def far(self): return factor
def helper(x=0, *, by=2): return x * factor * by
def use(x):
    def inner(): return deep
    return helper(Point().far()) + inner() + len('') + (missing if x else 0)
""")
    before = codec.function(session["use"])
    assert codec.function(session["use"]) == before

    cell(change)

    assert codec.function(session["use"]) != before


def test_a_mutable_capture_is_looked_at_each_time(codec: Codec, worker: Codec) -> None:
    table = {"a": 1}
    cell_value = [1]

    def use() -> Any:
        return table["a"], cell_value[0]

    before = codec.function(use)
    table["a"] = 2
    cell_value[0] = 3

    assert codec.function(use) != before
    assert worker.load_function(codec.function(use)).fn() == (2, 3)


def test_a_changed_closure_is_seen(codec: Codec, worker: Codec) -> None:
    count = 1

    def use() -> int:
        return count

    before = codec.function(use)
    count = 2

    assert worker.load_function(codec.function(use)).fn() == 2
    assert codec.function(use) != before


def test_a_closure_that_is_still_empty_is_seen_when_filled(codec: Codec, worker: Codec) -> None:
    def use() -> int:
        return later

    before = codec.function(use)
    later = 5

    assert codec.function(use) != before
    assert worker.load_function(codec.function(use)).fn() == 5


def test_another_directory_makes_another_function(
    codec: Codec, worker: Codec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    codec.function(twice)

    monkeypatch.chdir(tmp_path)

    assert worker.load_function(codec.function(twice)).cwd == str(tmp_path)


def test_another_search_path_or_key_makes_another_function(
    codec: Codec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    codec = Codec(Keyring.load(), codec.blobs)
    digests = [codec.function(twice)]

    monkeypatch.syspath_prepend(tmp_path)
    digests.append(codec.function(twice))
    codec.keyring.revoke(codec.keyring.kid.hex())
    digests.append(codec.function(twice))

    assert len(set(digests)) == 3
    assert Codec(codec.keyring, codec.blobs).load_function(digests[-1]).fn(1) == 2


def test_a_removed_directory_does_not_stop_a_submit(
    codec: Codec, worker: Codec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()

    assert worker.load_function(codec.function(twice)).cwd == ""


def test_a_function_that_was_swept_is_stored_again(codec: Codec, worker: Codec) -> None:
    digest = codec.function(twice)
    codec.blobs.sweep((), age_s=-7200)
    codec._stored.clear()

    assert codec.function(twice) == digest
    assert worker.load_function(digest).fn(1) == 2


def test_a_hit_is_a_few_calls(codec: Codec) -> None:
    codec.function(twice)

    assert calls_in(lambda: codec.function(twice)) < 60


# ── large captures ───────────────────────────────────────────────────────────────────


def test_a_large_capture_is_stored_once_for_all_functions(codec: Codec, worker: Codec) -> None:
    big = np.arange(300_000)
    text = "x" * 2_000_000

    digests = [
        codec.function(fn) for fn in (lambda: big, lambda: big.sum() + 0, lambda: (big, text), lambda: text)
    ]

    names = [set(blob_names(codec.blobs.open(digest))) for digest in digests]
    assert names[0] == names[1]
    assert names[0] | names[3] == names[2]
    assert all(len(codec.blobs.open(digest)) < 50_000 for digest in digests)
    assert worker.load_function(digests[1]).fn() == big.sum()
    assert worker.load_function(digests[2]).fn()[1] == text


def test_a_large_capture_is_found_in_partials_methods_and_helpers(codec: Codec, worker: Codec) -> None:
    big = np.arange(300_000)

    class Model:
        def __init__(self) -> None:
            self.weights = big

        def score(self) -> Any:
            return self.weights[-1]

    def helper(x: Any = big) -> Any:
        return x[-1]

    for fn in (
        functools.partial(len, big),
        Model().score,
        lambda: helper() + 0,
        functools.partial(max, key=big),
    ):
        digest = codec.function(fn)
        assert len(codec.blobs.open(digest)) < 50_000
        assert len(blob_names(codec.blobs.open(digest))) == 1
    assert worker.load_function(codec.function(Model().score)).fn() == 299_999


def test_a_large_capture_can_be_written_to(codec: Codec, worker: Codec) -> None:
    big = np.zeros(300_000)

    def use() -> float:
        big[0] += 1
        return float(big[0])

    digest = codec.function(use)

    assert worker.load_function(digest).fn() == 1
    assert Codec(codec.keyring, codec.blobs).load_function(digest).fn() == 1


def test_an_object_that_is_captured_twice_stays_one(codec: Codec, worker: Codec) -> None:
    big = list(range(400_000))
    also = {"big": big}

    loaded = worker.load_function(codec.function(lambda: big is also["big"]))

    assert loaded.fn()


# ── what is refused ──────────────────────────────────────────────────────────────────


def test_an_altered_function_is_never_loaded(codec: Codec, worker: Codec) -> None:
    digest = codec.function(twice)
    sealed = bytes(codec.blobs.open(digest))
    path = Path(codec.blobs.path(digest))  # type: ignore[attr-defined]

    for at in range(len(sealed)):
        path.write_bytes(sealed[:at] + bytes([sealed[at] ^ 1]) + sealed[at + 1 :])
        with pytest.raises(Untrusted):
            worker.load_function(digest)


def test_a_function_under_another_name_is_refused(codec: Codec, worker: Codec) -> None:
    sealed = bytes(codec.blobs.open(codec.function(twice)))

    codec.blobs.put("another", [sealed])

    with pytest.raises(Untrusted):
        worker.load_function("another")


def test_a_function_sealed_with_another_key_is_refused(codec: Codec) -> None:
    digest = codec.function(twice)

    with pytest.raises(Untrusted, match="not on this ring"):
        Codec(Keyring.ephemeral(), codec.blobs).load_function(digest)


def test_an_altered_large_capture_is_never_unpickled(codec: Codec, worker: Codec) -> None:
    big = [str(n) for n in range(300_000)]
    digest = codec.function(lambda: big)
    (name,) = blob_names(codec.blobs.open(digest))
    path = Path(codec.blobs.path(name))  # type: ignore[attr-defined]
    whole = path.read_bytes()

    for at in (0, 8, 20, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        with pytest.raises(Untrusted):
            worker.load_function(digest)


def test_a_function_that_is_gone_has_expired(worker: Codec) -> None:
    with pytest.raises(ResultExpired):
        worker.load_function("0" * 40)


@pytest.mark.parametrize(
    ("field", "version"), [("python", "3.99"), ("implementation", "PyPy"), ("cloudpickle", "99.0")]
)
def test_a_function_of_another_python_is_refused_with_a_table(
    codec: Codec, worker: Codec, monkeypatch: pytest.MonkeyPatch, field: str, version: str
) -> None:
    real = payload.header
    monkeypatch.setattr(payload, "header", lambda *args: real(*args) | {field: version})
    digest = codec.function(twice)

    with pytest.raises(VersionMismatch) as caught:
        worker.load_function(digest)

    assert "'twice'" in str(caught.value)
    assert any(field in line and version in line for line in str(caught.value).splitlines())


@pytest.mark.parametrize(("package", "version"), [("pandas", "0.25.3"), ("numpy", "99.1")])
def test_a_function_of_other_packages_is_warned_about_before_it_is_opened(
    codec: Codec, worker: Codec, monkeypatch: pytest.MonkeyPatch, package: str, version: str
) -> None:
    real = payload.header
    monkeypatch.setattr(payload, "header", lambda *args: real(*args) | {"packages": {package: version}})
    digest = codec.function(twice)
    monkeypatch.setattr(payload, "_unpack_inline", lambda *_: pytest.fail("it was opened"))

    with pytest.warns(UserWarning, match=rf"{package} +{version} +\d"), pytest.raises(pytest.fail.Exception):
        worker.load_function(digest)


def test_packages_that_nobody_used_or_that_are_alike_are_no_matter(
    codec: Codec, worker: Codec, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = payload.header
    alike = {"numpy": np.__version__.split(".")[0] + ".0.99", "another": "1.0"}
    monkeypatch.setattr(payload, "header", lambda *args: real(*args) | {"packages": alike})

    assert worker.load_function(codec.function(twice)).fn(1) == 2


def test_a_function_is_sent_anew_once_a_package_is_in_use(
    codec: Codec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(functions, "PACKAGES", ("a_package_of_theirs",))
    before = codec.function(twice)
    theirs = types.ModuleType("a_package_of_theirs")
    theirs.__version__ = "3.1"  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "a_package_of_theirs", theirs)

    assert codec.function(twice) != before


def test_another_patch_release_of_cloudpickle_is_no_obstacle(
    codec: Codec, worker: Codec, monkeypatch: pytest.MonkeyPatch
) -> None:

    real = payload.header
    same_major = cloudpickle.__version__.split(".")[0] + ".0.99"
    monkeypatch.setattr(payload, "header", lambda *args: real(*args) | {"cloudpickle": same_major})

    assert worker.load_function(codec.function(twice)).fn(1) == 2


def test_a_module_that_is_missing_here_is_named(
    codec: Codec, worker: Codec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "only_there.py").write_text("def f(): return 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    import only_there  # type: ignore[import-not-found]

    digest = codec.function(only_there.f)
    (tmp_path / "only_there.py").unlink()
    monkeypatch.delitem(sys.modules, "only_there")

    with pytest.raises(PayloadError, match=r"'f' could not be rebuilt here.*Install 'only_there'"):
        worker.load_function(digest)


def test_the_header_can_be_read_without_the_key(codec: Codec) -> None:
    big = np.arange(300_000)
    sealed = bytes(codec.blobs.open(codec.function(lambda: big)))

    top = json.loads(sealed[18 : 18 + int.from_bytes(sealed[14:18], "little")])

    assert top["name"] == "<lambda>"
    assert [entry[0] for entry in top["blobs"]] == list(blob_names(sealed))


# ── who is the culprit ───────────────────────────────────────────────────────────────

lock = threading.Lock()


@dataclass
class Trainer:
    lock: Any

    def fit(self) -> None: ...


def test_the_captured_variable_that_cannot_travel_is_named(codec: Codec) -> None:
    model = Trainer(threading.Lock())

    def train() -> Any:
        return model

    with pytest.raises(CannotPickle, match=r"'lock': variable `model.lock` captured by `train`") as caught:
        codec.function(train)

    assert caught.value.culprit == "model.lock"
    assert isinstance(caught.value.__cause__, TypeError)


def test_the_culprit_is_found_through_helpers_containers_and_methods(codec: Codec) -> None:
    deep = {"a": [1, (2, {"b": lock})]}
    table = {3: (x for x in "y")}

    def helper() -> Any:
        return deep

    with pytest.raises(CannotPickle, match=r"`deep\['a'\]\[1\]\[1\]\['b'\]` captured by `helper`"):
        codec.function(lambda: [helper()])
    with pytest.raises(CannotPickle, match=r"'generator': variable `x\[3\]` captured by `<lambda>`"):
        codec.function(lambda x=table: x)
    with pytest.raises(CannotPickle, match=r"`self.lock` captured by `Trainer.fit`"):
        codec.function(Trainer(threading.Lock()).fit)
    with pytest.raises(CannotPickle, match="`lock`"):
        codec.function(functools.partial(print, lock=lock))


def test_a_captured_future_is_refused_with_a_hint(codec: Codec) -> None:
    pending = Pending()

    with pytest.raises(CannotPickle, match=r"`pending`.*[Pp]ass the future as an argument"):
        codec.function(lambda: pending)


def test_a_cycle_or_a_hostile_object_does_not_stop_the_search(codec: Codec) -> None:
    class Hostile:
        def __reduce__(self) -> Any:
            raise RuntimeError("no")

        def __repr__(self) -> str:
            raise RuntimeError("no")

        def __getattr__(self, name: str) -> Any:
            raise RuntimeError("no")

    loop: list[Any] = [Hostile()]
    loop.insert(0, loop)

    with pytest.raises(CannotPickle, match=r"`loop\[1\]`"):
        codec.function(lambda: loop)


# ── names ────────────────────────────────────────────────────────────────────────────


def test_a_function_has_a_name_that_a_person_can_read() -> None:
    def inner() -> None: ...

    class Call:
        def __call__(self) -> None: ...

    assert describe(twice) == "twice"
    assert describe(inner) == "inner"
    assert describe(lambda: 0) == "<lambda>"
    assert describe(functools.partial(functools.partial(inner, 1), 2)) == "inner"
    assert describe(Trainer(1).fit) == describe(Trainer.fit) == "Trainer.fit"
    assert describe(Call()) == "Call"
    assert describe(len) == "len"
    assert describe([].append) == "list.append"
