"""How many worker processes and threads there are for processors and memory."""

from __future__ import annotations

import pytest

from stackctl.batch.sizing import Sizes, sizes

GIB = 2**30


@pytest.mark.parametrize(
    ("workers", "cpus", "memory", "processes", "threads"),
    [
        ("auto", 2, 24 * GIB, 2, 1),
        ("auto", 1, 24 * GIB, 1, 1),
        ("auto", 16, 8 * GIB, 4, 4),  # memory for four 12-megapixel photos at once
        ("auto", 4, GIB, 1, 4),
        (1, 2, 24 * GIB, 1, 2),
        (8, 2, 24 * GIB, 8, 1),
        (3, 16, 24 * GIB, 3, 5),
    ],
)
def test_processors_and_memory_decide_sizes(workers: int, cpus: int, memory: int, processes: int, threads: int) -> None:
    found = sizes(workers, cpus, memory)
    assert (found.processes, found.threads) == (processes, threads)
    assert found.memory_per_worker * processes <= memory


def test_sizes_are_plain_numbers() -> None:
    assert sizes("auto", 2, 10 * GIB) == Sizes(2, 1, 4 * GIB)
