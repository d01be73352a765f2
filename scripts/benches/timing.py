"""Time whole processes, in turns, so that a machine that slows down slows both sides."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from stackctl.process import run


def medians(commands: Mapping[str, Sequence[str]], *, runs: int = 9, cwd: Path | None = None) -> dict[str, float]:
    """Return the median wall seconds of each command; they take turns, one warm-up round first."""
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    for round_number in range(runs + 1):
        for name, argv in commands.items():
            began = time.perf_counter()
            run(argv, cwd=cwd, check=False)
            if round_number:
                seconds[name].append(time.perf_counter() - began)
    return {name: statistics.median(values) for name, values in seconds.items()}
