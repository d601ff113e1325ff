"""Affinity and quotas, from files that look like the kernel's."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from taskflow import cores
from taskflow.cores import cpu_count, memory_limit_bytes


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine of eight cores without limits; its control groups are files below this folder."""
    groups = tmp_path / "cgroup"
    groups.mkdir()
    real = cores._read

    def read(path: Path) -> str | None:
        return real(tmp_path / "self" if path == Path("/proc/self/cgroup") else path)

    monkeypatch.setattr(cores, "_GROUPS", groups)
    monkeypatch.setattr(cores, "_read", read)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    return groups


def inside(kernel: Path, path: str) -> Path:
    """Put this process into a group of version 2."""
    (kernel.parent / "self").write_text(f"0::{path}\n")
    group = kernel / path.strip("/")
    group.mkdir(parents=True, exist_ok=True)
    return group


def test_without_limits_every_core_counts(kernel: Path) -> None:
    assert cpu_count() == 8
    assert memory_limit_bytes() is None


def test_affinity_counts(kernel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 3}, raising=False)

    assert cpu_count() == 2


@pytest.mark.parametrize(("quota", "count"), [("200000 100000", 2), ("150000 100000", 2), ("5000 100000", 1)])
def test_the_quota_of_a_group_counts(kernel: Path, quota: str, count: int) -> None:
    (inside(kernel, "/docker/abc") / "cpu.max").write_text(quota)

    assert cpu_count() == count


def test_a_group_without_a_quota_counts_for_nothing(kernel: Path) -> None:
    (inside(kernel, "/user/1") / "cpu.max").write_text("max 100000")

    assert cpu_count() == 8


def test_the_quota_of_a_group_above_counts(kernel: Path) -> None:
    (inside(kernel, "/pod/container") / "cpu.max").write_text("max 100000")
    (kernel / "pod" / "cpu.max").write_text("300000 100000")

    assert cpu_count() == 3


def test_the_smallest_quota_on_the_way_up_counts(kernel: Path) -> None:
    (inside(kernel, "/pod/container") / "cpu.max").write_text("400000 100000")
    (kernel / "pod" / "cpu.max").write_text("100000 100000")

    assert cpu_count() == 1


def test_the_first_version_of_groups_counts_too(kernel: Path) -> None:
    (kernel / "cpu").mkdir()
    (kernel / "cpu" / "cpu.cfs_quota_us").write_text("250000")
    (kernel / "cpu" / "cpu.cfs_period_us").write_text("100000")
    (kernel / "memory").mkdir()
    (kernel / "memory" / "memory.limit_in_bytes").write_text("1000000")

    assert cpu_count() == 3
    assert memory_limit_bytes() == 1_000_000


def test_no_quota_in_the_first_version_is_minus_one(kernel: Path) -> None:
    (kernel / "cpu").mkdir()
    (kernel / "cpu" / "cpu.cfs_quota_us").write_text("-1")
    (kernel / "cpu" / "cpu.cfs_period_us").write_text("100000")

    assert cpu_count() == 8


def test_the_smallest_memory_limit_counts(kernel: Path) -> None:
    (inside(kernel, "/pod/container") / "memory.max").write_text("max")
    (kernel / "pod" / "memory.max").write_text("5000000")
    assert memory_limit_bytes() == 5_000_000

    (kernel / "pod" / "container" / "memory.max").write_text("9000000")
    assert memory_limit_bytes() == 5_000_000


def test_a_system_without_affinity_counts_its_cores(kernel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: None)

    assert cpu_count() == 1
