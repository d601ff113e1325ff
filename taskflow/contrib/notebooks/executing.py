"""One execution of a notebook, in a kernel of its own."""

from __future__ import annotations

import asyncio
import contextvars
import math
import os
import tempfile
import threading
import time
from collections.abc import Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from taskflow.contrib.notebooks.places import place_of_failed, write
from taskflow.contrib.notebooks.recorded import NotebookResult, recorded, trace_of, value_of
from taskflow.errors import CellFailed, ConfigError, nearest
from taskflow.pools.saying import report

__all__ = ["Execution", "Terms", "in_loop"]

SAVE_S = 1.0
"""So often, at most, it is saved between two cells: what is killed leaves what it had."""
_SOURCE_CHARS = 2_000


@dataclass(frozen=True, slots=True)
class Terms:
    """How a notebook is run; see `Notebook`.

    Args:
        name, path: What it is called, and where it was.
        kernel_name, cell_timeout, start_timeout, cwd: As of `Notebook`.
    """

    name: str
    path: str
    kernel_name: str | None = None
    cell_timeout: float | None = None
    start_timeout: float = 60.0
    cwd: str | None = None

    def kernel_of(self, notebook: Any) -> str:
        """The name of the kernel."""
        return self.kernel_name or str(notebook.metadata.get("kernelspec", {}).get("name") or "python3")


class Execution:
    """One execution of a notebook.

    Args:
        terms: How it is run.
        notebook: It, with its parameters.
        output: Where it is written, if it is.
    """

    def __init__(self, terms: Terms, notebook: Any, output: str | None) -> None:
        self._terms, self._notebook, self._output = terms, notebook, output
        self._todo = [
            (at, cell)
            for at, cell in enumerate(notebook.cells)
            if cell.cell_type == "code" and cell.source.strip()
        ]
        self._values: dict[str, Any] = {}
        self._saved_at = self._began = time.monotonic()

    async def run(self) -> NotebookResult:
        """Run all cells in a kernel of its own."""
        report(done=0, total=len(self._todo), desc="cells")
        client = self._client()
        with tempfile.TemporaryDirectory(prefix="taskflow-kernel-", ignore_cleanup_errors=True) as folder:
            try:
                await self._start(client, Path(folder))
                for number, (at, cell) in enumerate(self._todo, 1):
                    await self._step(client, number, at, cell)
            except BaseException:
                client.shutdown_kernel = "immediate"
                raise
            finally:
                await _end(client)
                if self._output is not None:
                    self._save(self._output)
        return self._result()

    def _client(self) -> Any:
        from nbclient import NotebookClient

        return NotebookClient(
            self._notebook,
            startup_timeout=math.ceil(self._terms.start_timeout),
            kernel_name=self._terms.kernel_of(self._notebook),
        )

    async def _start(self, client: Any, folder: Path) -> None:
        from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel

        env = os.environ | {"PYDEVD_DISABLE_FILE_VALIDATION": "1"}  # a line of the debugger in each kernel
        try:
            manager = client.create_kernel_manager()
            if manager.kernel_spec.language == "python":  # not all others know sockets of files
                manager.transport, manager.connection_file = "ipc", str(folder / "kernel.json")
            await client.async_start_new_kernel(cwd=self._terms.cwd or str(Path.cwd()), env=env)
        except NoSuchKernel as error:
            known = KernelSpecManager().find_kernel_specs()
            raise ConfigError(
                f"The worker has no kernel {error.name!r} for {self._terms.path}."
                f"{nearest(error.name, known)} It has {', '.join(sorted(known)) or 'none'}."
            ) from None
        await client.async_start_new_kernel_client()

    async def _step(self, client: Any, number: int, at: int, cell: Any) -> None:
        from nbclient.exceptions import CellExecutionError, DeadKernelError

        limit = asyncio.timeout(self._terms.cell_timeout)
        try:
            async with limit:
                await client.async_execute_cell(cell, at)
        except CellExecutionError as error:
            raise self._failed(number, cell, error.ename, error.evalue, trace_of(cell)) from None
        except (TimeoutError, DeadKernelError):  # nbclient takes any end of its wait for that of the kernel
            if limit.expired():
                late = f"it took longer than {self._terms.cell_timeout:g} s"
                raise self._failed(number, cell, "TimeoutError", late, "") from None
            if (task := asyncio.current_task()) is not None and task.cancelling():
                raise asyncio.CancelledError from None
            raise self._failed(number, cell, "DeadKernelError", "the kernel died", "") from None
        new = recorded(cell)
        self._values |= new
        report(done=number, **{name: value for name, value in new.items() if _is_short(value)})
        if self._output is not None and time.monotonic() - self._saved_at >= SAVE_S:
            self._save(self._output)
            self._saved_at = time.monotonic()

    def _failed(self, number: int, cell: Any, kind: str, text: str, trace: str) -> CellFailed:
        """What went wrong in which cell, and where what ran before it is."""
        self._notebook.metadata["papermill"]["exception"] = True
        self._output = self._output or str(place_of_failed(self._terms.name))
        source = cell.source[:_SOURCE_CHARS]
        shown = "\n".join(f"    {line}" for line in source.splitlines())
        parts = (
            f"Cell {number} of {len(self._todo)} of {self._terms.path} raised {kind}: {text}\n{shown}",
            trace,
            f"The notebook as far as it ran is in {self._output}.",
        )
        return CellFailed(
            "\n".join(part for part in parts if part),
            cell=number, source=source, ename=kind, evalue=text, traceback=trace, notebook=self._output,
        )  # fmt: skip

    def _save(self, place: str) -> None:
        import nbformat

        self._notebook.metadata["papermill"] |= {"output_path": place, "duration": self._took_s}
        write(place, nbformat.writes(self._notebook))

    @property
    def _took_s(self) -> float:
        return round(time.monotonic() - self._began, 3)

    def _result(self) -> NotebookResult:
        import nbformat

        last = self._todo[-1][1] if self._todo else None
        return NotebookResult(
            self._terms.name,
            self._output,
            self._values,
            None if last is None else value_of(last),
            len(self._todo),
            self._took_s,
            nbformat.writes(self._notebook) if self._output is None else None,
        )


async def _end(client: Any) -> None:
    """End the kernel, at once when something went wrong, and all that spoke to it."""
    if client.km is None:
        return
    from jupyter_core.utils import ensure_async

    try:
        if client.km.has_kernel:
            await ensure_async(client.km.shutdown_kernel(now=client.shutdown_kernel == "immediate"))
    finally:
        if client.kc is not None:
            await ensure_async(client.kc.stop_channels())
        await ensure_async(client.km.cleanup_resources())


def in_loop(execution: Coroutine[Any, Any, NotebookResult]) -> NotebookResult:
    """Run it to its end: in a thread beside the loop that runs here, if one does."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(execution)
    found: list[NotebookResult] = []
    failed: list[BaseException] = []

    def beside() -> None:
        try:
            found.append(asyncio.run(execution))
        except BaseException as error:  # noqa: BLE001 - it is raised where it was asked for
            failed.append(error)

    here = contextvars.copy_context()
    thread = threading.Thread(target=here.run, args=[beside], name="taskflow notebook")
    thread.start()
    thread.join()
    if failed:
        raise failed[0]
    return found[0]


def _is_short(value: Any) -> bool:
    return isinstance(value, (bool, int, float)) or (isinstance(value, str) and len(value) <= 60)
