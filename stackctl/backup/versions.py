"""Versions of everything that a snapshot was taken with: what somebody who restores it in years will want to know."""

from __future__ import annotations

import contextlib
import platform
import sqlite3
from pathlib import Path
from typing import Any
from urllib.parse import quote

from stackctl import __version__
from stackctl.backup.sources import Sources

FILE = "versions.json"
TIMEOUT = 3.0


def collect(sources: Sources, databases: Path, *, rsync: str) -> dict[str, Any]:
    """Return the versions; what cannot be learnt is null.

    Args:
        sources: they say where MLflow is.
        databases: the folder with copies of its databases.
        rsync: the version of rsync.
    """
    return {
        "stackctl": __version__,
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "rsync": rsync,
        "mlflow": _mlflow(sources.mlflow),
        "schemas": {file.name: _schema(file) for file in sorted(databases.glob("*.db"))},
    }


def _mlflow(url: str | None) -> str | None:
    """Return the version of a running MLflow server."""
    import httpx

    if url is None:
        return None
    with contextlib.suppress(httpx.HTTPError, httpx.InvalidURL):
        answer = httpx.get(f"{url.rstrip('/')}/version", timeout=TIMEOUT)
        text = answer.text.strip()
        return text if answer.is_success and len(text) < 40 else None
    return None


def _schema(database: Path) -> str | None:
    """Return the revision of a database's schema, as alembic keeps it."""
    uri = f"file:{quote(str(database))}?mode=ro&immutable=1"
    with contextlib.suppress(sqlite3.Error), contextlib.closing(sqlite3.connect(uri, uri=True)) as connection:
        for table in ("alembic_version", "alembic_version_auth"):
            with contextlib.suppress(sqlite3.OperationalError):
                row = connection.execute(f"SELECT version_num FROM {table}").fetchone()  # noqa: S608
                if row:
                    return str(row[0])
    return None
