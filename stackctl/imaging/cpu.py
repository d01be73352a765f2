"""How many threads this process may really use: affinity and cgroup quota, not the host's cores."""

from __future__ import annotations

import math
import os
from pathlib import Path


def usable_cores(root: Path = Path("/")) -> int:
    """Return the number of cores the scheduler grants this process, at least 1.

    `root` is where /proc and /sys are looked for.
    """
    try:
        allowed = len(os.sched_getaffinity(0))
    except AttributeError:  # not Linux
        allowed = os.cpu_count() or 1
    quotas = [quota for quota in _quotas(root) if quota > 0]
    return max(1, min([allowed, *(math.ceil(quota) for quota in quotas)]))


def _quotas(root: Path) -> list[float]:
    """Return the CPU quotas (in cores) of this process's cgroup and its ancestors, versions 2 and 1."""
    base = root / "sys/fs/cgroup"
    found: list[float] = []
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        folder = base if not controllers else base / "cpu"
        if controllers and "cpu" not in controllers.split(","):
            continue
        parts = [part for part in path.split("/") if part and part != ".."]
        for depth in range(len(parts) + 1):
            found += _quota_of(folder.joinpath(*parts[:depth]))
    return found or _quota_of(base)


def _quota_of(folder: Path) -> list[float]:
    limit, _, period = _read(folder / "cpu.max").strip().partition(" ")
    if limit.isdigit() and period.isdigit():
        return [int(limit) / int(period)]
    quota, period = _read(folder / "cpu.cfs_quota_us").strip(), _read(folder / "cpu.cfs_period_us").strip()
    if quota.isdigit() and period.isdigit():  # "-1" is no limit
        return [int(quota) / int(period)]
    return []


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
