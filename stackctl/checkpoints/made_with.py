"""What an artefact was made with, for the record that lies beside it."""

from __future__ import annotations

import platform
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version


def made_with(packages: Sequence[str]) -> dict[str, str]:
    """Return the machine's architecture, Python's version and that of each of ``packages`` that is installed."""
    found = {"machine": platform.machine(), "python": platform.python_version()}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def say(line: str) -> None:
    """Write a line of progress where whoever started this process reads it."""
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()
