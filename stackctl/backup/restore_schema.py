"""``python -m stackctl.backup.restore_schema [REVISION]``: whether the MLflow installed here can read a database.

Without a revision it judges the live database.

An older database can be brought to its schema; one of a newer MLflow it cannot read. The revisions it knows are the
files of its migrations: reading them costs milliseconds, importing MLflow seconds.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stackctl.backup.restore_databases import revision_of

_REVISION = re.compile(r"""^revision\s*=\s*["'](\w+)["']""", re.MULTILINE)
_BEFORE = re.compile(r"""^down_revision\s*=\s*["'](\w+)["']""", re.MULTILINE)


def revisions(folder: Path) -> dict[str, str | None]:
    """Return the schema revisions that the migrations in ``folder`` lead to, and what each of them follows."""
    found: dict[str, str | None] = {}
    for file in folder.glob("*.py"):
        text = file.read_text(errors="replace")
        revision, before = _REVISION.search(text), _BEFORE.search(text)
        if revision:
            found[revision[1]] = before[1] if before else None
    return found


def head(known: dict[str, str | None]) -> str | None:
    """Return the newest revision: the one that none follows."""
    newest = set(known) - set(known.values())
    return newest.pop() if len(newest) == 1 else None


def judge(revision: str, known: dict[str, str | None]) -> dict[str, Any]:
    """Return how a database of this revision stands to an MLflow that knows these."""
    newest = head(known)
    state = "same" if revision == newest else "older" if revision in known else "unknown"
    return {"revision": revision, "head": newest, "state": state}


def migrations() -> Path:
    """Return the folder of the installed MLflow's migrations, without importing MLflow."""
    spec = importlib.util.find_spec("mlflow")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("mlflow")
    return Path(spec.origin).parent / "store" / "db_migrations" / "versions"


def main(arguments: Sequence[str]) -> int:
    """Print the judgement as JSON; its state is ``none`` where there is no database yet."""
    live = Path(os.environ.get("STACKCTL_BACKUP_DATABASES", "/var/lib/stackctl/mlflow")) / "mlflow.db"
    known = revisions(migrations())
    revision = arguments[0] if arguments else revision_of(live) if live.is_file() else None
    judged = judge(revision, known) if revision else {"revision": None, "head": head(known), "state": "none"}
    sys.stdout.write(json.dumps(judged) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
