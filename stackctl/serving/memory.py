"""The model server's memory: how much it may use, how much it uses, and whether the kernel ended a process for it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from stackctl.errors import UsageError

MIB = 1024 * 1024
UNLIMITED = 1 << 60  # cgroup v1 writes "no limit" as a huge number
PARENT_BYTES = 64 * MIB  # measured: 46 to 50 MiB (docs/decisions/0040)
LOADED_BYTES = 320 * MIB  # a version at rest, with room: 214 to 271 MiB
SMALLEST_REQUEST = 64 * MIB
PATIENCE = 0.95  # of the limit: past it a process is ended here, before the kernel ends one of its own choice
UNITS = {"k": 1024, "m": MIB, "g": 1024 * MIB}
_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Memory:
    """What the model server may use.

    Attributes:
        limit: bytes for all its processes together, or None: no limit is known.
        cgroup: folder of the control group whose events tell of processes killed for memory, or None.
    """

    limit: int | None = None
    cgroup: Path | None = None

    @classmethod
    def read(cls, environ: Mapping[str, str], *, proc: Path = Path("/proc/self"), root: Path = Path("/")) -> Memory:
        """Return the limit: ``STACKCTL_SERVING_MEMORY`` (a number of bytes, or with k, m, g) or the control group's.

        Raises:
            UsageError: the variable cannot be read.
        """
        groups = list(_groups(proc, root / "sys/fs/cgroup"))
        limits = [(limit, group) for group in groups if (limit := _limit_of(group)) is not None]
        limit, group = min(limits, key=lambda found: found[0], default=(None, groups[0] if groups else None))
        if text := environ.get("STACKCTL_SERVING_MEMORY"):
            asked = _bytes(text)
            limit = asked if limit is None else min(asked, limit)
        return cls(limit, group)

    def request_limit(self, concurrency: int) -> int:
        """Return the bytes that a version's process may use for one request, itself included; 0: no limit.

        So counts ``imaging.peak_bytes``, which refuses what would need more. In a flip two versions are loaded.
        """
        if self.limit is None:
            return 0
        return LOADED_BYTES + max(SMALLEST_REQUEST, (self.limit - PARENT_BYTES - 2 * LOADED_BYTES) // concurrency)

    def exceeded(self, pids: Iterable[int]) -> int | None:
        """Return how much this process and ``pids`` use together, in bytes, if that is too much."""
        if self.limit is None:
            return None
        used = sum(resident(pid) for pid in (os.getpid(), *pids))
        return used if used > self.limit * PATIENCE else None

    def kernel_kills(self) -> int:
        """Return how many processes of the control group the kernel has killed because memory ran out."""
        if self.cgroup is None:
            return 0
        for name in ("memory.events", "memory.oom_control"):
            text = _text(self.cgroup / name) or ""
            for line in text.splitlines():
                if line.startswith("oom_kill "):
                    return int(line.split()[1])
        return 0


def resident(pid: int) -> int:
    """Return the resident bytes of a process that no file backs; 0 once it is gone."""
    text = _text(Path(f"/proc/{pid}/statm"))
    if not text:
        return 0
    pages = text.split()
    return max(0, int(pages[1]) - int(pages[2])) * _PAGE


def in_mib(size: float) -> str:
    """Return a size in words."""
    return f"{size / MIB:.0f} MiB"


def _groups(proc: Path, mount: Path) -> Iterable[Path]:
    """Yield this process's control group and those above it, for memory, under version 2 or 1, innermost first."""
    for line in (_text(proc / "cgroup") or "").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "memory":
            base = mount / "memory"
        elif not controllers and (mount / "cgroup.controllers").is_file():
            base = mount
        else:
            continue
        inner = (base / path.lstrip("/")).resolve()
        if not inner.is_relative_to(base.resolve()) or not inner.is_dir():
            inner = base  # inside a container the path may be the host's: its own group is the mount
        while True:
            yield inner
            if inner == base.resolve() or inner == base:
                break
            inner = inner.parent


def _limit_of(group: Path) -> int | None:
    for name in ("memory.max", "memory.limit_in_bytes"):
        text = (_text(group / name) or "").strip()
        if text.isdecimal() and 0 < int(text) < UNLIMITED:
            return int(text)
    return None


def _bytes(text: str) -> int:
    number, unit = (text[:-1], text[-1].lower()) if text[-1:].lower() in UNITS else (text, "")
    if not number.isdecimal() or int(number) == 0:
        raise UsageError(f"STACKCTL_SERVING_MEMORY is {text!r}; it takes a size, for instance 2g.")
    return int(number) * UNITS.get(unit, 1)


def _text(file: Path) -> str | None:
    try:
        return file.read_text()
    except OSError:
        return None
