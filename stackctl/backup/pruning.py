"""Deletes the snapshots that retention lets go: never without a verified one, never after the source shrank."""

from __future__ import annotations

import json
from datetime import datetime

from stackctl.backup.documents import write_document
from stackctl.backup.events import Events, quiet
from stackctl.backup.repository import Repository, Snapshot
from stackctl.backup.retention import Plan, Policy, Sizes, plan, shrinkage
from stackctl.backup.schedule import Schedule
from stackctl.stack.backup_settings import BackupSettings

ACCEPTED = "accepted.json"


def planned(repository: Repository, settings: BackupSettings, now: datetime) -> Plan:
    """Return what the settings keep and remove of the repository as it is."""
    snapshots = repository.snapshots()
    accepted = _accepted(repository)
    if snapshots and snapshots[-1].sequence < accepted:  # all were lost, and numbers began anew
        accepted = 0
    sizes = [(each.id, size_of(each)) for each in snapshots if each.sequence >= accepted]
    return plan(
        snapshots,
        Policy.of(settings, Schedule("* * * * *", settings.timezone).zone),
        now=now,
        verified=repository.marks.verified().keys(),
        damaged=repository.marks.damaged(),
        shrunk=shrinkage(sizes, settings.shrink_limit),
    )


def prune(repository: Repository, settings: BackupSettings, *, now: datetime, events: Events = quiet) -> Plan:
    """Delete what the settings let go, and return what was decided.

    Raises:
        StackctlError: something else works in the repository.
    """
    with repository.lock("prune"):
        decided = planned(repository, settings, now)
        damaged = repository.marks.damaged()
        for name in decided.remove:
            repository.remove(name)
            events("removed", snapshot=name, damaged=name in damaged)
        return decided


def accept(repository: Repository) -> None:
    """Let the size of the newest snapshot be the right one from now on, though the source shrank."""
    newest = repository.latest()
    if newest is not None:
        write_document(repository.state / ACCEPTED, {"snapshot": newest.id, "sequence": newest.sequence})


def size_of(snapshot: Snapshot) -> Sizes:
    """Return how much of the source a snapshot holds, by part."""
    sizes: Sizes = snapshot.header.get("sizes", {})
    return sizes


def _accepted(repository: Repository) -> int:
    """Return the number of the snapshot whose size was accepted last: what is older does not count any more."""
    try:
        return int(json.loads((repository.state / ACCEPTED).read_bytes())["sequence"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0
