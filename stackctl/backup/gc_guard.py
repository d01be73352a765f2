"""``python -m stackctl.backup.gc_guard``: what MLflow's trash holds that nothing refers to any more.

``mlflow gc`` asks only whether a run was deleted, not whether a registered version was made from it. Kept here is what
a version of the registry comes from, and what is not deleted in a snapshot that is still retained: whoever restores
that snapshot's database alone finds the artifacts in the store.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import re
import sqlite3
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

_PARTS = re.compile(r"[/:]+")
_DELETED_VERSION = "Deleted_Internal"


@dataclass(frozen=True)
class Item:
    """Something in the trash: a ``run``, a logged ``model`` or an ``experiment``, and the experiment it belongs to."""

    kind: str
    id: str
    deleted_at: datetime
    experiment: str


@dataclass(frozen=True)
class Kept:
    """Something in the trash that stays there, and the reason."""

    kind: str
    id: str
    reason: str


@dataclass(frozen=True)
class Sweep:
    """What may be deleted for good, and what may not."""

    runs: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    experiments: tuple[str, ...] = ()
    kept: tuple[Kept, ...] = ()


@dataclass
class References:
    """What refers to runs, logged models and experiments: ``(kind, id)`` to the first reason found."""

    reasons: dict[tuple[str, str], str] = field(default_factory=dict)

    def add(self, kind: str, identity: str, reason: str) -> None:
        """Note one reference."""
        self.reasons.setdefault((kind, identity), reason)


def versions_in(database: Path, where: str, found: References) -> None:
    """Note what the registered versions in a database were made from, by run, by logged model and by location."""
    with _reading(database) as connection:
        logged = connection.execute("SELECT model_id FROM logged_models") if _has_models(connection) else ()
        models = {str(row[0]) for row in logged}
        runs = {str(row[0]) for row in connection.execute("SELECT run_uuid FROM runs")}
        rows = connection.execute(
            "SELECT name, version, run_id, source, storage_location FROM model_versions WHERE current_stage != ?",
            (_DELETED_VERSION,),
        ).fetchall()
    for name, version, run, source, location in rows:
        reason = f"{name} version {version}{where} comes from it"
        words = set(_PARTS.split(f"{source or ''}/{location or ''}")) | {str(run)}
        for kind, known in (("run", runs), ("model", models)):
            for identity in words & known:
                found.add(kind, identity, reason)


def active_in(database: Path, where: str, found: References) -> None:
    """Note the runs, logged models and experiments that are not deleted in a database."""
    with _reading(database) as connection:
        for kind, query in (
            ("run", "SELECT run_uuid FROM runs WHERE lifecycle_stage = 'active'"),
            ("model", "SELECT model_id FROM logged_models WHERE lifecycle_stage = 'active'"),
            ("experiment", "SELECT experiment_id FROM experiments WHERE lifecycle_stage = 'active'"),
        ):
            if kind == "model" and not _has_models(connection):
                continue
            for (identity,) in connection.execute(query):
                found.add(kind, str(identity), f"it is not deleted{where}")


def trash(database: Path) -> list[Item]:
    """Return what is deleted, but not for good."""
    queries = (
        ("run", "SELECT run_uuid, coalesce(deleted_time, 0), experiment_id FROM runs"),
        ("model", "SELECT model_id, last_updated_timestamp_ms, experiment_id FROM logged_models"),
        ("experiment", "SELECT experiment_id, coalesce(last_update_time, 0), experiment_id FROM experiments"),
    )
    items = []
    with _reading(database) as connection:
        for kind, query in queries:
            for identity, moment, experiment in connection.execute(f"{query} WHERE lifecycle_stage = 'deleted'"):
                items.append(Item(kind, str(identity), datetime.fromtimestamp(moment / 1000, UTC), str(experiment)))
    return items


def sweep(
    database: Path, snapshots: Iterable[tuple[str, Path]], *, older_than: timedelta, now: datetime | None = None
) -> Sweep:
    """Return what may be deleted for good.

    Args:
        database: MLflow's live database.
        snapshots: id and database of each snapshot that is retained.
        older_than: what was deleted later than that stays.
        now: the moment to count from.
    """
    found = References()
    versions_in(database, "", found)
    for identity, saved in snapshots:
        versions_in(saved, f" in the snapshot {identity}", found)
        active_in(saved, f" in the snapshot {identity}", found)
    limit = (now or datetime.now(UTC)) - older_than
    deleted: dict[str, list[str]] = {"run": [], "model": [], "experiment": []}
    kept: list[Kept] = []
    crowded = _experiments_in_use(database)
    for item in sorted(
        trash(database), key=lambda each: each.kind == "experiment"
    ):  # experiments last: they hold the others
        reason = found.reasons.get((item.kind, item.id))
        if item.deleted_at > limit:
            reason = f"it was deleted less than {_days(older_than)} ago"
        if item.kind == "experiment" and reason is None:
            reason = crowded.get(item.id)
        if reason is None:
            deleted[item.kind].append(item.id)
        else:
            kept.append(Kept(item.kind, item.id, reason))
            if item.kind != "experiment":
                crowded.setdefault(item.experiment, f"the {item.kind} {item.id} in it is kept")
    runs, models, experiments = (tuple(sorted(deleted[kind])) for kind in ("run", "model", "experiment"))
    return Sweep(runs, models, experiments, tuple(kept))


def _experiments_in_use(database: Path) -> dict[str, str]:
    """Return the experiments with something in them that is not deleted: with the experiment it would be lost."""
    used: dict[str, str] = {}
    with _reading(database) as connection:
        for kind, column, table in (("run", "run_uuid", "runs"), ("model", "model_id", "logged_models")):
            query = f"SELECT experiment_id, {column} FROM {table} WHERE lifecycle_stage = 'active'"  # noqa: S608 - constants
            for experiment, identity in connection.execute(query):
                used.setdefault(str(experiment), f"the {kind} {identity} in it is not deleted")
    return used


def _has_models(connection: sqlite3.Connection) -> bool:
    """Return whether a database knows logged models: that of a snapshot from before a change of schema may not."""
    return bool(connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'logged_models'").fetchone())


def _days(period: timedelta) -> str:
    return f"{period / timedelta(days=1):g} days"


@contextlib.contextmanager
def _reading(database: Path) -> Iterator[sqlite3.Connection]:
    with contextlib.closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        yield connection


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the sweep as JSON for the stack that the environment describes."""
    from stackctl.backup.restore_places import Live

    parser = argparse.ArgumentParser(prog="stackctl.backup.gc_guard")
    parser.add_argument("--older-than-days", type=float, default=0.0)
    given = parser.parse_args(arguments)
    live = Live.from_env()
    snapshots = [(each.id, each.folder / "db" / "mlflow.db") for each in live.repository.snapshots()]
    found = sweep(
        live.databases / "mlflow.db",
        [(identity, file) for identity, file in snapshots if file.is_file()],
        older_than=timedelta(days=given.older_than_days),
    )
    sys.stdout.write(json.dumps(asdict(found)) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
