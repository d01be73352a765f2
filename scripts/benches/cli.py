"""How quickly the command answers, beside the import of its own command-line library."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benches.report import Row
from benches.timing import medians
from stackctl.process import run

BAR = 4.0
"""Times the duration of ``python -c "import typer"``."""


def measure(*, quick: bool = False) -> Iterator[Row]:  # noqa: ARG001 - there is nothing to leave out
    """Yield the duration of --help, and of status on a stopped stack of either engine."""
    with tempfile.TemporaryDirectory() as scratch:
        commands = {"import typer": [sys.executable, "-c", "import typer"], "stackctl --help": ["stackctl", "--help"]}
        for engine in ("local", "docker"):
            folder = Path(scratch) / f"bench-{engine}"
            run(["stackctl", "-q", "init", folder, "--defaults", "--data", f"engine={engine}"])
            commands[f"stackctl status ({engine}, stopped)"] = ["stackctl", "-C", str(folder), "status"]
        seconds = medians(commands)
    base = seconds.pop("import typer")
    yield Row("python -c 'import typer'", base, "s")
    for name, value in seconds.items():
        ratio = value / base
        yield Row(name, value, "s", rival=base, bar=f"≤ {BAR:.0f} × import typer (is {ratio:.2f})", holds=ratio <= BAR)
