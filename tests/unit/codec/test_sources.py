"""Whose code it is and what its lines say: the name and the text travel with code of any shape."""

from __future__ import annotations

import inspect
import linecache
import pickle
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from taskflow.codec import Codec
from taskflow.codec.pickling import dumps
from taskflow.codec.sources import show, source

Session = dict[str, Any]
Notebook = Callable[..., Session]

CELL = "/tmp/kernel_7/1234.py"

SHAPES = {
    "function": "def task(): boom()",
    "lambda": "task = lambda: boom()",
    "nested function": "def task():\n    def inner(): boom()\n    inner()",
    "closure": "def make():\n    here = boom\n    def inner(): here()\n    return inner\ntask = make()",
    "lambda in a lambda": "task = lambda: (lambda: boom())()",
    "comprehension": "def task(): return [boom() for _ in range(2)]",
    "generator": "def numbers(): yield boom()\ndef task(): return list(numbers())",
    "helper": "def helper(): boom()\ndef task(): helper()",
    "method": "class Model:\n    def fit(self): boom()\ntask = Model().fit",
    "class method": "class Model:\n    @classmethod\n    def fit(cls): boom()\ntask = Model.fit",
    "static method": "class Model:\n    @staticmethod\n    def fit(): boom()\ntask = Model.fit",
    "property": "class Model:\n    @property\n    def fit(self): boom()\ndef task(): Model().fit",
    "callable": "class Model:\n    def __call__(self): boom()\ntask = Model()",
    "inner class": "class Outer:\n    class Model:\n        def fit(self): boom()\ntask = Outer.Model().fit",
    "class in a function": "def task():\n    class Model:\n        def fit(self): boom()\n    Model().fit()",
    "dataclass": "import dataclasses\n@dataclasses.dataclass\nclass Model:\n    n: int = 1\n"
    "    def __post_init__(self): boom()\ndef task(): Model()",
    "partial": "import functools\ndef fit(n): boom()\ntask = functools.partial(fit, 1)",
    "wrapped": "import functools\ndef twice(fn):\n    @functools.wraps(fn)\n    def run(): fn(); fn()\n"
    "    return run\n@twice\ndef task(): boom()",
    "cached": "import functools\n@functools.lru_cache\ndef task(): boom()",
}
BOOM = "def boom(): raise ValueError('deep')  # the guilty line\n"


@pytest.fixture
def notebook() -> Iterator[Notebook]:
    """Runs cells as IPython does: their text is known to `linecache` under a name that is no file."""
    session: Session = {"__name__": "__main__"}
    before = set(linecache.cache)

    def run(text: str, name: str = CELL) -> Session:
        linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
        exec(compile(text, name, "exec"), session)
        return session

    yield run
    for name in set(linecache.cache) - before:
        del linecache.cache[name]


@pytest.fixture
def elsewhere(codec: Codec, worker: Codec) -> Callable[[Any], Any]:
    """The function as a process has it that knows nothing of the notebook."""

    def move(fn: Any) -> Any:
        digest = codec.function(fn)
        linecache.clearcache()
        return worker.load_function(digest).fn

    return move


def story(fn: Callable[..., Any], *args: Any) -> str:
    with pytest.raises(ValueError, match="deep") as caught:
        fn(*args)
    return "".join(traceback.format_exception(caught.value))


# ── what a traceback shows ───────────────────────────────────────────────────────────


@pytest.mark.parametrize("shape", SHAPES)
def test_code_of_any_shape_keeps_its_name_and_its_lines(
    shape: str, notebook: Notebook, elsewhere: Callable[[Any], Any]
) -> None:
    text = BOOM + SHAPES[shape] + "\n"
    before = story(notebook(text)["task"])

    after = story(elsewhere(notebook(text)["task"]))

    ours = [line for line in after.splitlines() if CELL in line]
    assert ours == [line for line in before.splitlines() if CELL in line]
    assert "# the guilty line" in after
    assert "dynamic-code" not in after


def test_cells_with_code_on_the_same_line_are_told_apart(
    notebook: Notebook, elsewhere: Callable[[Any], Any]
) -> None:
    notebook("def first(): second()  # in the first cell\n", "<ipython-input-1-aa>")
    notebook("def second(): raise ValueError('deep')  # in the second cell\n", "<ipython-input-2-bb>")

    told = story(elsewhere(notebook("task = lambda: first()\n", "<ipython-input-3-cc>")["task"]))

    assert 'File "<ipython-input-1-aa>", line 1, in first\n    def first(): second()  # in the first' in told
    assert 'File "<ipython-input-2-bb>", line 1, in second\n    def second(): raise' in told


def test_the_first_lines_of_two_shells_are_told_apart(
    codec: Codec, worker: Codec, notebook: Notebook
) -> None:
    name = "<python-input-0>"
    codes = [f"def task(): raise ValueError('deep')  # shell {number}\n" for number in (1, 2)]
    digests = [codec.function(notebook(code, name)["task"]) for code in codes]
    linecache.clearcache()

    one, two = (worker.load_function(digest).fn for digest in digests)

    assert "# shell 1" in story(one)
    assert "# shell 2" in story(two)


def test_the_text_that_is_shown_here_is_not_replaced(notebook: Notebook) -> None:
    notebook("mine = 1\n", "<python-input-0>")

    same, other = (show("<python-input-0>", text) for text in ("mine = 1\n", "theirs = 2\n"))

    assert (same, other) == ("<python-input-0>", "<python-input-0 2>")
    assert linecache.getline(same, 1) == "mine = 1\n"
    assert linecache.getline(other, 1) == "theirs = 2\n"
    assert show("<python-input-0>", "theirs = 2\n") == other


def test_a_script_is_known_by_its_path(tmp_path: Path, elsewhere: Callable[[Any], Any]) -> None:
    script = tmp_path / "script.py"
    script.write_text(BOOM)
    session: Session = {"__name__": "__main__"}
    exec(compile(BOOM, str(script), "exec"), session)

    told = story(elsewhere(session["boom"]))

    assert f'File "{script}", line 1, in boom' in told
    assert "# the guilty line" in told


def test_a_cell_that_a_debugger_wrote_to_a_file_outlives_the_file(
    tmp_path: Path, notebook: Notebook, elsewhere: Callable[[Any], Any]
) -> None:
    written = tmp_path / "1234.py"
    written.write_text(BOOM)

    moved = elsewhere(notebook(BOOM, str(written))["boom"])
    written.unlink()

    assert "# the guilty line" in story(moved)


def test_a_name_that_many_texts_share_takes_none_along(notebook: Notebook) -> None:
    session = notebook("def task(): pass\n", "<string>")

    assert source(session["task"].__code__) is None


def test_lines_that_python_keeps_by_code_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "task = lambda: 1\n"
    session: Session = {}
    exec(compile(text, "<python-input-0>", "exec"), session)
    by_code = {session["task"].__code__: [text]}
    monkeypatch.setattr(linecache, "_getlines_from_code", by_code.get, raising=False)

    assert source(session["task"].__code__) == text


# ── what else a task sees of itself ──────────────────────────────────────────────────


def test_a_task_can_read_its_own_source(notebook: Notebook, elsewhere: Callable[[Any], Any]) -> None:
    text = "\n\ndef task():  # a comment\n    return 1  # another\n"

    moved = elsewhere(notebook(text)["task"])

    assert inspect.getsource(moved) == text.lstrip()
    assert moved.__code__.co_filename == CELL


def test_logging_and_warnings_name_the_file(notebook: Notebook, elsewhere: Callable[[Any], Any]) -> None:
    text = (
        "import logging, warnings\n"
        "def task():\n"
        "    return logging.getLogger('x').findCaller()[:2]\n"
        "def warn(): warnings.warn('mind')\n"
    )

    found = elsewhere(notebook(text)["task"])()
    with pytest.warns(UserWarning, match="mind") as warned:
        elsewhere(notebook(text)["warn"])()

    assert found == (CELL, 3)
    assert warned[0].filename == CELL


# ── arguments, results and buckets ───────────────────────────────────────────────────


def test_the_lines_of_an_argument_travel_too(codec: Codec, worker: Codec, notebook: Notebook) -> None:
    session = notebook(BOOM + "class Model:\n    def fit(self): boom()\n")
    value = codec.dump_args("", (session["Model"](), session["boom"]))
    linecache.clearcache()

    (model, boom), _ = worker.load_args("", value)

    assert "def fit(self): boom()" in story(model.fit)
    assert "# the guilty line" in story(boom)


def test_a_long_cell_does_not_weigh_on_every_argument(
    codec: Codec, worker: Codec, notebook: Notebook
) -> None:
    short = len(codec.dump_args("", (notebook(BOOM)["boom"],)))
    long = codec.dump_args("", (notebook(BOOM + "# so long\n" * 10_000)["boom"],))
    linecache.clearcache()

    (boom,), _ = worker.load_args("", long)

    assert len(long) < short + 100
    assert f'File "{CELL}", line 1, in boom' in story(boom)


def test_the_text_of_a_cell_is_in_a_page_once(codec: Codec, notebook: Notebook) -> None:
    text = "".join(f"def task_{i}(): return {i}\n" for i in range(100))
    session = notebook(text)

    page = codec.dump_items("", 0, [session[f"task_{i}"] for i in range(100)])

    assert bytes(page).count(b"def task_7()") == 1


def test_a_bucket_of_a_map_reduce_keeps_the_lines(notebook: Notebook) -> None:
    data = dumps({"key": [notebook(BOOM)["boom"]]})
    linecache.clearcache()

    boom = pickle.loads(data)["key"][0]

    assert "# the guilty line" in story(boom)


# ── the digest ───────────────────────────────────────────────────────────────────────

SENDER = """
import linecache, sys
from pathlib import Path
from taskflow.blobs.files import FileBlobs
from taskflow.codec import Codec, Keyring
class Nowhere:
    def has(self, name): return False
    def put(self, name, parts): pass
# The same name as one object or as two.
name = "/tmp/kernel_7/1234.py"
other = "".join(name) if sys.argv[1] == "two" else name
text = "def task(): return __file__, (lambda: 1)()\\n"
session = {"__name__": "__main__", "__file__": other}
linecache.cache[name] = (len(text), None, text.splitlines(True), name)
exec(compile(text, name, "exec"), session)
print(Codec(Keyring.load(), Nowhere()).function(session["task"]))
"""


def test_equal_functions_have_the_same_digest_in_every_process() -> None:
    found = {
        subprocess.run(
            [sys.executable, "-c", SENDER, objects], capture_output=True, text=True, check=True
        ).stdout
        for objects in ("one", "two", "two")
    }

    assert len(found) == 1
