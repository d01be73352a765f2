"""``python -m stackctl.lifecycle.schema_worker``: bring MLflow's database to the schema of the MLflow installed here.

MLflow's own server does that only where a whole table is missing; where columns are new it refuses to start. A copy is
changed and then takes the database's place: interrupted, the database is as it was. Nothing may have it open.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from stackctl.backup.documents import flush
from stackctl.backup.restore_databases import SIDECARS
from stackctl.backup.sqlite_copy import copy_database
from stackctl.process import run


def upgrade(live: Path) -> None:
    """Change the schema of ``live`` to the newest that this MLflow knows.

    Raises:
        StackctlError: it cannot be copied or changed; it is as it was.
    """
    fresh = live.with_name(f".{live.name}.upgrading")
    _remove(fresh)
    try:
        copy_database(live, fresh)
        run([sys.executable, "-m", "mlflow", "db", "upgrade", f"sqlite:///{fresh.resolve()}"])
        flush(fresh)
        for name in SIDECARS:  # the copy has what a journal would have rolled back
            live.with_name(live.name + name).unlink(missing_ok=True)
        fresh.replace(live)
        flush(live.parent)
    finally:
        _remove(fresh)


def _remove(database: Path) -> None:
    for name in ("", *SIDECARS):
        database.with_name(database.name + name).unlink(missing_ok=True)


def main() -> int:
    """Upgrade the live database; returns the exit status."""
    upgrade(Path(os.environ.get("STACKCTL_BACKUP_DATABASES", "/var/lib/stackctl/mlflow")) / "mlflow.db")
    return 0


if __name__ == "__main__":
    sys.exit(main())
