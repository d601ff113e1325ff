"""joblib's `Parallel` under the cell that calls it, in a real kernel."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.notebook.test_showing import Kernel, errors_of, final, moves, once, text_of

pytest.importorskip("joblib")

PREPARED = """
%load_ext taskflow
%taskflow start -n 2
import sys, time
assert "joblib" not in sys.modules

def nap(x):
    time.sleep(0.02)
    print("napped", x)
    if x == 77:
        raise KeyError(x)
    return x
"""

IMPORTED = "from joblib import Parallel, delayed, parallel_config\n"
UNTIL_SHOWN = (
    "import threading\n"
    "for thread in threading.enumerate():\n"
    "    if 'display' in thread.name:\n"
    "        thread.join(30)"
)


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    kernel = Kernel(tmp_path_factory.mktemp("home"))
    assert errors_of(kernel.run(PREPARED)) == []
    yield kernel
    kernel.close()


def test_a_parallel_call_moves_while_the_cell_blocks(kernel: Kernel) -> None:
    heard = kernel.run(
        f"{IMPORTED}"
        "with parallel_config('taskflow'):\n"
        "    print(len(Parallel(n_jobs=2, verbose=5)(delayed(nap)(x) for x in range(70))))"
    )

    done = [snapshot["done"] for _, snapshot in moves(heard)]
    assert errors_of(heard) == []
    assert done == sorted(done)
    assert len(set(done)) >= 3
    assert (final(heard)["state"], final(heard)["done"], final(heard)["total"]) == ("succeeded", 70, 70)
    assert [each.kind for each in heard].count("display_data") == 1
    assert "70\n" in text_of(heard)
    assert "Done  70 out of  70" in text_of(heard)
    assert "napped" not in text_of(heard)  # it is shown with the run


def test_each_call_of_one_parallel_has_its_own(kernel: Kernel) -> None:
    heard = kernel.run(
        f"{IMPORTED}"
        "with Parallel(n_jobs=2, backend='taskflow') as parallel:\n"
        "    for _ in range(2):\n"
        "        parallel(delayed(nap)(x) for x in range(4))"
    )

    assert [each.kind for each in heard].count("display_data") == 2


def test_results_that_are_taken_one_by_one_are_shown_too(kernel: Kernel) -> None:
    heard = kernel.run(
        f"{IMPORTED}"
        "results = Parallel(n_jobs=2, backend='taskflow', return_as='generator')(\n"
        "    delayed(nap)(x) for x in range(9))\n"
        "next(results)"
    )
    rest = kernel.run(f"print(sum(results))\n{UNTIL_SHOWN}")

    assert [each.kind for each in heard + rest].count("display_data") >= 1
    assert "36" in text_of(rest)
    assert final(heard + rest)["state"] == "succeeded"


def test_a_failure_is_shown_with_its_cause(kernel: Kernel) -> None:
    heard = kernel.run(
        f"{IMPORTED}Parallel(n_jobs=2, backend='taskflow')(delayed(nap)(x) for x in range(70, 90))"
    )

    rest = kernel.run(UNTIL_SHOWN)

    (cause,) = final(heard + rest)["errors"]
    assert "KeyError" in cause["type"] or "KeyError" in str(cause)
    assert [error["ename"] for error in errors_of(heard)] == ["KeyError"]
    assert any("in nap" in line or "nap(x)" in line for line in errors_of(heard)[0]["traceback"])


def test_what_is_interrupted_is_cancelled(kernel: Kernel) -> None:
    heard = kernel.run(
        f"{IMPORTED}Parallel(n_jobs=2, backend='taskflow')(delayed(nap)(x) for x in range(1000, 3000))",
        once(lambda heard: len(moves(heard)) >= 2, kernel.interrupt),
    )

    assert [error["ename"] for error in errors_of(heard)] == ["KeyboardInterrupt"]
    assert final(heard)["state"] == "cancelled"
