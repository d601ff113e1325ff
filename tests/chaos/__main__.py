"""``make chaos``: the long form. Exit code 1 when anything was lost, wrong or double."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
import tempfile
from dataclasses import fields
from pathlib import Path
from statistics import median

from tests.chaos.storm import BACK_S, Size, Storm, returns


def main() -> int:
    options = _options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # and so clean up
    logging.getLogger("taskflow").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory(prefix="tf-chaos-", ignore_cleanup_errors=True) as place:
        home = Path(place)
        for name in ("HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME"):
            os.environ[name] = place
        for name in ("XDG_RUNTIME_DIR", "TASKFLOW_KEY", "TASKFLOW_KEY_FILE", "TASKFLOW_URL"):
            os.environ.pop(name, None)
        (home / "storm").mkdir(mode=0o700)
        (home / "returns").mkdir(mode=0o700)
        holds = True
        if not options.only_returns:
            size = Size(**{field.name: getattr(options, field.name) for field in fields(Size)})
            report = Storm(home / "storm", size, options.kind).run()
            print(report.table(), flush=True)
            for name, items in report.verdict.faults.items():
                print(f"{name}: {items[:5]}")
            holds = report.holds
        if options.cycles:
            found = sorted(returns(home / "returns", options.cycles, options.kind))
            late = sum(seconds > BACK_S for seconds in found)
            print(
                f"all workers at work after a server was away, {len(found)} times:"
                f" median {median(found):.2f} s, longest {found[-1]:.2f} s, later than {BACK_S:.0f} s: {late}"
            )
            holds = holds and not late
    return 0 if holds else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos")
    for field in fields(Size):
        kind = float if field.name.endswith("_s") else int
        parser.add_argument(f"--{field.name.replace('_', '-')}", type=kind, default=field.default)
    parser.add_argument("--kind", choices=("valkey", "redis"), default="valkey")
    parser.add_argument("--cycles", type=int, default=50, help="how often the server is away and comes back")
    parser.add_argument("--only-returns", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
