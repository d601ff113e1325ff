"""Notebooks as tasks: a notebook is called with parameters, and its cells run in a worker.

::

    report = Notebook("report.ipynb", output="reports/{region}.ipynb")
    client.submit(report, region="north")
    client.map(report, grid(region=["north", "south"], year=[2025, 2026]))
    flow.add(report, region="north", total=flow.add(count, "north"))

The text of the notebook travels with the call. Parameters are those of papermill: assigned in a cell of their
own, behind the one with the tag ``parameters``. The kernel belongs to the task, and ends with it, however it
ends.
"""

from taskflow.contrib.notebooks.notebook import Notebook, grid, run_notebook
from taskflow.contrib.notebooks.recorded import NotebookResult, record

__all__ = ["Notebook", "NotebookResult", "grid", "record", "run_notebook"]
