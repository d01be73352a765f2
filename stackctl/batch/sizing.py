"""How many worker processes, and how many threads each, for the processors and the memory that there are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

LEAST_MEMORY = 1536 * 2**20
"""Bytes for one worker process where there are fewer of them than processors for its sake: enough for a 12-megapixel
photo enlarged four times to PNG."""
MEMORY_SHARE = 0.8
"""Share of the memory that all worker processes may use together."""


@dataclass(frozen=True)
class Sizes:
    """How the worker processes are made.

    Attributes:
        processes: how many.
        threads: of inference and encoding in each.
        memory_per_worker: bytes that one may use for an image, itself included.
    """

    processes: int
    threads: int
    memory_per_worker: int


def free_memory() -> int:
    """Return the bytes of memory that are free for workers: on the machine, or within the cgroup's limit."""
    import psutil
    from distributed.system import MEMORY_LIMIT

    return int(min(psutil.virtual_memory().available, MEMORY_LIMIT))


def sizes(workers: int | Literal["auto"], cpus: int, memory: int) -> Sizes:
    """Return the sizes for ``cpus`` processors and ``memory`` bytes that are free.

    One process per processor: while one of them decodes, encodes or writes, the others compute. Threads share that out
    less well; they only take processors that memory leaves without a process.

    Args:
        workers: how many processes were asked for; ``auto`` chooses by what was measured.
        cpus: what the scheduler grants (``imaging.cpu.usable_cores``: affinity and cgroup quota).
        memory: bytes (what is free, or the cgroup's limit where that is less).
    """
    usable = int(memory * MEMORY_SHARE)
    wanted = min(cpus, usable // LEAST_MEMORY) if workers == "auto" else workers
    processes = max(1, wanted)
    return Sizes(processes, max(1, cpus // processes), usable // processes)
