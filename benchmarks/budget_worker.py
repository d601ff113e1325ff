"""The worker process of `benchmarks.budget`: taskflow's own, with probes; its children have them too."""

from __future__ import annotations

import os
import sys
from pathlib import Path

FOLDER = "TASKFLOW_BENCH_PROBES"

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    if os.environ.get(FOLDER):
        from benchmarks.budget import WORKER
        from benchmarks.probes import Probes

        Probes(Path(os.environ[FOLDER]), "worker", WORKER, forked="child")
    from taskflow.worker.process import main

    sys.exit(main())
