"""``python -m taskflow.worker``, and the file that `taskflow.worker.process.spawn` runs by its path."""

from __future__ import annotations

import sys
from pathlib import Path

if not __package__:
    _home = str(Path(__file__).resolve().parents[2])
    if _home not in sys.path:
        sys.path.insert(0, _home)

from taskflow.worker.process import main

if __name__ == "__main__":
    sys.exit(main())
