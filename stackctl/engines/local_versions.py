"""Which version of which software a local service runs."""

from __future__ import annotations

import sys
from pathlib import Path

from stackctl import __version__


def version_of(service: str, python: Path) -> str | None:
    """Return the version of the package that a service runs, read from its environment without importing it."""
    if service == "store":
        return None
    if service != "mlflow":
        return __version__
    from importlib import metadata

    folders = [str(folder) for folder in python.parent.parent.glob("lib/python3*/site-packages")]
    if str(python) == sys.executable:
        folders = sys.path
    found = next(iter(metadata.distributions(name="mlflow", path=folders)), None)
    return found.version if found else None
