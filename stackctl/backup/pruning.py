"""Deletes the snapshots that retention lets go: never without a verified one, never after the source shrank."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from stackctl.backup.events import Events, quiet
from stackctl.backup.repository import Repository, Snapshot, write_document
from stackctl.backup.retention import Plan, Policy, Size, plan, shrinkage
from stackctl.backup.schedule import Schedule
from stackctl.stack.backup_settings import BackupSettings

ACCEPTED = "accepted.json"


@dataclass(frozen=True)
class Pruned:
    """What was decided, and the ids that are gone."""

    plan: Plan
    removed: tuple[str, ...]


def planned(repository: Repository, settings: BackupSettings, now: datetime) -> Plan:
    """Return what the settings keep and remove of the repository as it is."""
    snapshots = repository.snapshots()
    sizes = [(snapshot.id, size_of(snapshot)) for snapshot in snapshots]
    damaged = repository.damaged()
    return plan(
        snapshots,
        Policy.of(settings, Schedule("* * * * *", settings.timezone).zone),
        now=now,
        verified=[name for name in repository.verified() if name not in damaged],
        shrunk=shrinkage(sizes, settings.shrink_limit, _accepted(repository)),
    )


def prune(repository: Repository, settings: BackupSettings, *, now: datetime, events: Events = quiet) -> Pruned:
    """Delete what the settings let go.

    Raises:
        StackctlError: something else works in the repository.
    """
    with repository.lock("prune"):
        decided = planned(repository, settings, now)
        for name in decided.remove:
            repository.remove(name)
            events("removed", snapshot=name)
        return Pruned(decided, decided.remove)


def accept(repository: Repository) -> None:
    """Let the size of the newest snapshot be the right one from now on, though the source shrank."""
    newest = repository.latest()
    if newest is not None:
        write_document(repository.state / ACCEPTED, {"snapshot": newest.id})


def size_of(snapshot: Snapshot) -> Size:
    """Return how much of the source a snapshot holds."""
    header: Mapping[str, object] = snapshot.header
    return Size(int(str(header.get("files", 0))), int(str(header.get("bytes", 0))))


def _accepted(repository: Repository) -> str | None:
    try:
        name = json.loads((repository.state / ACCEPTED).read_bytes())["snapshot"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return str(name)
