"""`Notebook`: one that can be called."""

from __future__ import annotations

import ast
import itertools
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from taskflow.contrib.notebooks.executing import Execution, Terms, in_loop
from taskflow.contrib.notebooks.places import filled, read
from taskflow.contrib.notebooks.recorded import NotebookResult, as_plain
from taskflow.errors import ConfigError, MissingExtra, UsageError, nearest

__all__ = ["Notebook", "grid", "run_notebook"]


class Notebook:
    """A notebook that can be called: `Client.submit`, `Client.map`, `Workflow.add` and ``app.task`` take it.

    Args:
        path: Where it is: read now and here, so that it runs as it is now, wherever the worker is. A file, or
            with fsspec a URL.
        output: Where the executed notebook is written: a file of the worker's host, or with fsspec a URL;
            names of parameters in braces are filled in, ``{id}`` is the id of the task. Without it the result
            has it.
        kernel_name: The kernel; by default the one that the notebook names.
        cell_timeout: Seconds that a cell may take. Of the whole, `Options.time_limit` is the limit.
        start_timeout: Seconds that the kernel may take to start.
        cwd: Where it runs; by default where the task does.

    Attributes:
        name: Its file name, without the ending.

    Raises:
        ConfigError: It cannot be read, or is no notebook.

    Example:
        ``client.submit(Notebook("train.ipynb"), depth=3).result()["score"]``
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        output: str | os.PathLike[str] | None = None,
        kernel_name: str | None = None,
        cell_timeout: float | None = None,
        start_timeout: float = 60.0,
        cwd: str | os.PathLike[str] | None = None,
    ) -> None:
        self.path = os.fspath(path)
        self.name = self.__name__ = self.__qualname__ = Path(self.path).stem
        self._output = None if output is None else os.fspath(output)
        self._terms = Terms(
            self.name,
            self.path,
            kernel_name,
            cell_timeout,
            start_timeout,
            None if cwd is None else os.fspath(cwd),
        )
        self._text = read(self.path)
        self._cells = _cells(self._text, self.path)

    @property
    def parameters(self) -> tuple[str, ...] | None:
        """The names that its cell with the tag ``parameters`` assigns; `None` when it takes any."""
        for cell in self._cells:
            if "parameters" in cell.get("metadata", {}).get("tags", ()):
                return _assigned("".join(cell.get("source", "")))
        return None

    def __call__(self, parameters: Mapping[str, Any] | None = None, /, **more: Any) -> NotebookResult:
        """Run it here: in the worker, when it was submitted.

        Args:
            parameters: By name; items of a map come so.
            **more: More of them.

        Raises:
            CellFailed: A cell raised, took too long, or ended the kernel.
            UsageError: It has no such parameter (the nearest is named), or a value that has no text.
        """
        given = {name: as_plain(name, value) for name, value in {**(parameters or {}), **more}.items()}
        known = self.parameters
        for name in [] if known is None else given.keys() - known:
            raise UsageError(f"{self.path} has no parameter {name!r}.{nearest(name, known or ())}")
        output = None if self._output is None else filled(self._output, given)
        return in_loop(Execution(self._terms, self._prepared(given), output).run())

    def _prepared(self, parameters: Mapping[str, Any]) -> Any:
        """The notebook with its parameters, and nothing of what it showed before."""
        try:
            import nbformat
            from papermill.parameterize import parameterize_notebook
        except ImportError:
            raise MissingExtra(
                "A notebook as a task needs papermill: pip install 'jupyter-taskflow[papermill]'"
            ) from None
        notebook = nbformat.v4.upgrade(nbformat.reads(self._text, as_version=4))
        notebook.metadata["papermill"] = {"input_path": self.path, "parameters": {}}
        for cell in notebook.cells:
            cell.metadata.setdefault("tags", [])
            if cell.cell_type == "code":
                cell.outputs, cell.execution_count = [], None
        if not parameters:
            return notebook
        language = notebook.metadata.get("kernelspec", {}).get("language") or "python"
        return parameterize_notebook(
            notebook,
            dict(parameters),
            kernel_name=self._terms.kernel_of(notebook),
            language=language,
        )

    def __repr__(self) -> str:
        return f"<Notebook {self.path}>"


def run_notebook(
    path: str | os.PathLike[str], parameters: Mapping[str, Any] | None = None, /, **options: Any
) -> NotebookResult:
    """Run a notebook here: as a task, in the worker, which reads it there.

    Args:
        path: Where it is.
        parameters: By name.
        **options: Those of `Notebook`.
    """
    return Notebook(path, **options)(parameters)


def grid(**values: Iterable[Any]) -> list[dict[str, Any]]:
    """All combinations of values of parameters, to be mapped over.

    Example:
        >>> grid(region=["north", "south"], year=[2026])
        [{'region': 'north', 'year': 2026}, {'region': 'south', 'year': 2026}]
    """
    return [dict(zip(values, chosen, strict=True)) for chosen in itertools.product(*values.values())]


def _cells(text: str, path: str) -> list[dict[str, Any]]:
    try:
        cells = json.loads(text)["cells"]
    except (ValueError, KeyError, TypeError):
        raise ConfigError(
            f"{path} is no notebook of format 4: open it in Jupyter once and save it."
        ) from None
    return list(cells)


def _assigned(source: str) -> tuple[str, ...] | None:
    """The names that Python assigns; `None` for another language."""
    try:
        lines = ast.parse(source).body
    except SyntaxError:
        return None
    targets = [t for line in lines if isinstance(line, ast.Assign) for t in line.targets]
    targets += [line.target for line in lines if isinstance(line, ast.AnnAssign)]
    return tuple(target.id for target in targets if isinstance(target, ast.Name))
