"""Are the tests of the machine good? Break the machine in small ways and see whether they notice.

::

    python tests/model/mutate.py                 every mutant
    python tests/model/mutate.py --sample 100    some of them, chosen by --seed
    python tests/model/mutate.py --within room   those in these functions
    python tests/model/mutate.py --only 17,203   these, by number
    python tests/model/mutate.py --list          only say what would be tried

Each mutant changes one thing in ``taskflow/machine``: a comparison, a constant, an operator, ``and`` for
``or``, a condition, or leaves a statement out. It is *killed* when the contract suite or the random
histories of the memory store fail or take too long. A mutant that survives is a test to write, unless no
test could tell it from the original.
"""

from __future__ import annotations

import argparse
import ast
import copy
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
MACHINE = Path("taskflow/machine")
FILES = (
    *("rows.py", "parts.py", "needs.py", "ending.py", "releasing.py", "growing.py"),
    *("claiming.py", "settling.py", "reaping.py", "cancelling.py", "rerunning.py"),
)
PYTEST = (
    "-m",
    "pytest",
    "-x",
    "-q",
    "--no-header",
    "-p",
    "no:cacheprovider",
    "-p",
    "no:randomly",
    "--hypothesis-seed=0",
)
ROUNDS = (
    ("tests/contract/test_stores.py", "-k", "Memory"),
    ("tests/model/test_histories.py", "-k", "memory_store_lives_as_the_oracle"),
)
COMPARISONS = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip
CHANGES: dict[type[ast.AST], tuple[str, ...]] = {
    ast.Compare: ("other comparison",),
    ast.BoolOp: ("and for or",),
    ast.BinOp: ("other operator",),
    ast.AugAssign: ("other operator", "left out"),
    ast.Constant: ("other constant",),
    ast.If: ("always", "never"),
    ast.IfExp: ("always", "never"),
} | dict.fromkeys((ast.UnaryOp, ast.Assign, ast.Break, ast.Continue, ast.Expr), ("left out",))
OPERATORS = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult}


@dataclass(frozen=True)
class Mutant:
    """One change: what it is in words, and the text of the changed file."""

    number: int
    file: str
    function: str
    line: int
    change: str
    text: str

    def __str__(self) -> str:
        return f"{self.number:4} {self.file}:{self.line} {self.function}: {self.change}"


def mutants() -> list[Mutant]:
    """Every mutant of every file."""
    found: list[Mutant] = []
    for file in FILES:
        tree = ast.parse((ROOT / MACHINE / file).read_text(encoding="utf-8"))
        for function, node, change in _changes(tree):
            before = ast.unparse(node)
            twin = copy.deepcopy(tree)
            _apply(twin, _place(tree, node), change)
            what = f"{change}: {before[:70]!r}"
            found.append(Mutant(len(found), file, function, node.lineno, what, ast.unparse(twin)))
    return found


def _place(tree: ast.AST, node: ast.AST) -> int:
    return next(i for i, other in enumerate(ast.walk(tree)) if other is node)


def _changes(tree: ast.Module) -> Iterator[tuple[str, ast.expr | ast.stmt, str]]:
    for function in (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)):
        for statement in function.body:
            for node in ast.walk(statement):
                if isinstance(node, ast.expr | ast.stmt):
                    yield from ((function.name, node, change) for change in _changes_of(node))


def _changes_of(node: ast.expr | ast.stmt) -> tuple[str, ...]:
    kind = type(node)
    if isinstance(node, ast.BinOp | ast.AugAssign) and type(node.op) not in OPERATORS:
        return ()
    if isinstance(node, ast.Compare) and type(node.ops[0]) not in COMPARISONS:
        return ()
    if isinstance(node, ast.Constant) and type(node.value) not in (bool, int, float):
        return ()
    if isinstance(node, ast.UnaryOp) and not isinstance(node.op, ast.Not | ast.USub):
        return ()
    if isinstance(node, ast.Expr) and not isinstance(node.value, ast.Call):
        return ()
    return CHANGES.get(kind, ())


def _apply(tree: ast.AST, place: int, change: str) -> None:
    node = list(ast.walk(tree))[place]
    if change == "other comparison" and isinstance(node, ast.Compare):
        node.ops[0] = COMPARISONS[type(node.ops[0])]()
    elif change == "and for or" and isinstance(node, ast.BoolOp):
        node.op = ast.Or() if isinstance(node.op, ast.And) else ast.And()
    elif change == "other operator" and isinstance(node, ast.BinOp | ast.AugAssign):
        node.op = OPERATORS[type(node.op)]()
    elif change == "other constant" and isinstance(node, ast.Constant):
        node.value = not node.value if isinstance(node.value, bool) else node.value + 1  # type: ignore[operator]
    elif change in ("always", "never") and isinstance(node, ast.If | ast.IfExp):
        node.test = ast.Constant(change == "always")
    else:
        _replace(tree, node, ast.Pass() if isinstance(node, ast.stmt) else node.operand)  # type: ignore[attr-defined]


def _replace(tree: ast.AST, old: ast.AST, new: ast.AST) -> None:
    for parent in ast.walk(tree):
        for name, value in ast.iter_fields(parent):
            if value is old:
                setattr(parent, name, new)
            elif isinstance(value, list) and any(item is old for item in value):
                value[:] = [new if item is old else item for item in value]


class Workshop:
    """A copy of the package and its tests, in which one file is changed at a time."""

    def __init__(self, folder: Path, timeout_s: float) -> None:
        self._folder = folder
        self._timeout_s = timeout_s
        for name in ("taskflow", "tests"):
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "pyproject.toml", folder)

    def survives(self, mutant: Mutant | None) -> bool:
        """Whether no test notices."""
        if mutant is None:
            return self._passes()
        place = self._folder / MACHINE / mutant.file
        original = place.read_text(encoding="utf-8")
        try:
            place.write_text(mutant.text, encoding="utf-8")
            return self._passes()
        finally:
            place.write_text(original, encoding="utf-8")

    def _passes(self) -> bool:
        return all(self._run(tests) for tests in ROUNDS)

    def _run(self, tests: tuple[str, ...]) -> bool:
        paths = {"PYTHONPATH": str(self._folder), "PYTHONDONTWRITEBYTECODE": "1"}
        env = os.environ | paths | {"TASKFLOW_SHRINK": "0"}
        try:
            done = subprocess.run(
                [sys.executable, *PYTEST, *tests],
                cwd=self._folder, env=env, capture_output=True, timeout=self._timeout_s, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return False
        return done.returncode == 0


def main() -> int:
    """Try mutants; the exit code is 1 when one survived."""
    options = _options()
    chosen = mutants()
    if options.only:
        numbers = {int(number) for number in options.only.split(",")}
        chosen = [mutant for mutant in chosen if mutant.number in numbers]
    if options.within:
        chosen = [mutant for mutant in chosen if mutant.function in options.within.split(",")]
    if options.sample and options.sample < len(chosen):
        chosen = sorted(random.Random(options.seed).sample(chosen, options.sample), key=lambda m: m.number)
    if options.list:
        print(*chosen, sep="\n")
        return 0
    with tempfile.TemporaryDirectory() as folder:
        return _try(chosen, Workshop(Path(folder), options.timeout))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Break the machine in small ways; see whether the tests notice."
    )
    parser.add_argument("--sample", type=int, help="try so many, chosen at random")
    parser.add_argument("--seed", type=int, default=0, help="of the choice")
    parser.add_argument("--within", help="only in these functions, with commas")
    parser.add_argument("--only", help="numbers of mutants, with commas")
    parser.add_argument("--timeout", type=float, default=120, help="seconds for one round of tests")
    parser.add_argument("--list", action="store_true", help="say what would be tried")
    return parser.parse_args()


def _try(chosen: list[Mutant], workshop: Workshop) -> int:
    if not workshop.survives(None):
        print("the tests fail without any change: mend that first")
        return 2
    start, survivors = time.monotonic(), []
    for done, mutant in enumerate(chosen, 1):
        if workshop.survives(mutant):
            survivors.append(mutant)
            print(f"survived {mutant}", flush=True)
        if done % 25 == 0:
            print(
                f"{done} tried, {done - len(survivors)} killed, {time.monotonic() - start:.0f} s", flush=True
            )
    print(f"{len(chosen)} mutants, {len(chosen) - len(survivors)} killed, {len(survivors)} survived")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
