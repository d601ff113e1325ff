"""Where a run was made: machine, versions, how busy it was, and who is missing."""

from __future__ import annotations

import json
import os
import platform
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.subjects import load

_ASK = """
import importlib.metadata as m, json, sys
found = {}
for name in sys.argv[1:]:
    try:
        found[name] = m.version(name)
    except m.PackageNotFoundError:
        found[name] = None
print(json.dumps(found))
"""
_COMMON = ("numpy", "pandas")
_BUSY = 0.3


@dataclass
class Setting:
    """Where a run was made.

    Attributes:
        pythons: The interpreter of each subject.
        missing: Why a subject cannot be measured here.
        versions: Of every distribution that takes part; where two environments differ, both.
        load: Processes that wanted a processor in the last minute, before and after the run.
    """

    pythons: dict[str, str] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    load: list[float] = field(default_factory=lambda: [os.getloadavg()[0]])

    def python_of(self, subject: str) -> str:
        """Its interpreter."""
        return self.pythons[subject]

    def look_again(self) -> None:
        """At the end of the run."""
        self.load.append(os.getloadavg()[0])

    @property
    def was_busy(self) -> bool:
        """Whether others were at work as the run began."""
        return self.load[0] > _BUSY * (os.cpu_count() or 1)

    def describe(self) -> str:
        """The machine and the versions, in two sentences."""
        machine = ", ".join(
            (
                f"{platform.system()} {platform.release().split('-')[0]} {platform.machine()}",
                f"{os.cpu_count()} CPUs ({_cpu()})",
                f"{os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 2**30:.0f} GB",
                f"Python {platform.python_version()}",
                f"SQLite {sqlite3.sqlite_version}",
            )
        )
        return f"{machine}. Versions: " + ", ".join(f"{k} {v}" for k, v in self.versions.items()) + "."


def look_around(subjects: Sequence[str], rivals: Path) -> Setting:
    """See who is here. A rival whose first distribution is not installed is missing."""
    setting = Setting()
    python_of_rivals = rivals / "bin" / "python"
    for name in subjects:
        subject = load(name)
        python = str(python_of_rivals) if subject.is_rival else sys.executable
        if subject.is_rival and not python_of_rivals.exists():
            setting.missing[name] = "not installed"
            continue
        setting.pythons[name] = python
        found = versions_of(python, (*subject.packages, *_COMMON))
        if subject.packages and found[subject.packages[0]] is None:
            setting.missing[name] = "not installed"
        for package, version in found.items():
            known = setting.versions.get(package)
            if version is not None and version not in (known or "").split(" and "):
                setting.versions[package] = version if known is None else f"{known} and {version}"
    return setting


def versions_of(python: str, packages: Sequence[str]) -> dict[str, str | None]:
    """The versions of distributions in the environment of an interpreter; `None` for what is not there."""
    done = subprocess.run([python, "-c", _ASK, *packages], capture_output=True, text=True, check=True)
    found: dict[str, str | None] = json.loads(done.stdout)
    return found


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or "unknown"
