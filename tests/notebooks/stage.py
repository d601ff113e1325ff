"""The example notebooks, and a home that is theirs alone to run them in."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

__all__ = ["NOTEBOOKS", "ROOT", "checked", "environment"]

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))

_HOMES = (
    "HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME",
    "IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR",
)  # fmt: skip
_FOREIGN = ("PYTEST_", "TASKFLOW_", "XDG_")
_CELL_S = 120


def environment(home: Path, url: str | None = None) -> dict[str, str]:
    """The environment of a kernel that knows nothing of this user.

    Args:
        home: Everything that Jupyter and taskflow keep goes there.
        url: The store of the notebooks; by default the embedded one in that home.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN)}
    return {
        **kept,
        **{name: str(home / name.lower()) for name in _HOMES},
        **({"TASKFLOW_URL": url} if url else {}),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{kept.get('PATH', '')}",
    }


def checked(notebook: Path, home: Path, url: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run a notebook in a kernel of its own; outputs of cells that are tagged for it are compared."""
    command = [
        sys.executable, "-m", "pytest", "-q", "-c", str(ROOT / "notebooks" / "pytest.ini"),
        "--nbval-lax", "--nbval-current-env", "--nbval-cell-timeout", str(_CELL_S),
        "--nbval-sanitize-with", str(Path(__file__).with_name("sanitize.cfg")), str(notebook),
    ]  # fmt: skip
    return subprocess.run(
        command, cwd=ROOT, env=environment(home, url), capture_output=True, text=True, check=False,
        timeout=5 * _CELL_S,
    )  # fmt: skip
