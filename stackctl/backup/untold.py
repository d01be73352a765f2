"""What MLflow has not been told of yet: kept beside the snapshots, and delivered as soon as it answers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from stackctl.backup.documents import alone, write_document
from stackctl.backup.freshness import Outcome, Told, fetch, record
from stackctl.backup.repository import Repository
from stackctl.errors import StackctlError
from stackctl.models.rest import Rest
from stackctl.stack import Stack

FILE = "untold.json"
LOCK = "untold.lock"
_MOST = 100
MOMENT = timedelta(milliseconds=1)
"""The least by which MLflow tells two moments apart."""


def tell(repository: Repository, stack: Stack, told: Told, figures: Mapping[str, float] | None = None) -> str | None:
    """Write one tagged run, or keep it for later where MLflow does not answer; return why it was kept, or None."""
    with alone(repository.state / LOCK):
        _keep(repository, [*_waiting(repository), {"told": _document(told), "figures": dict(figures or {})}])
        return _deliver(repository, stack)


def deliver(repository: Repository, stack: Stack) -> str | None:
    """Write the tagged runs that wait, oldest first; return why some still do, or None."""
    if not _waiting(repository):
        return None
    with alone(repository.state / LOCK):
        return _deliver(repository, stack)


def _deliver(repository: Repository, stack: Stack) -> str | None:
    waiting = _waiting(repository)
    while waiting:
        problem = tell_now(stack, _told(waiting[0]["told"]), waiting[0]["figures"])
        if problem is not None:
            return problem
        waiting = waiting[1:]
        _keep(repository, waiting)
    return None


def remind(repository: Repository, stack: Stack) -> str | None:
    """Tell MLflow of the snapshots that it knows nothing of, or thinks better of; return why that failed, or None.

    A database that was restored is older than they are.
    """
    rest = Rest(stack.endpoints.mlflow, stack.mlflow_token())
    try:
        known = fetch(rest, stack.name)
    except StackctlError as error:
        return f"MLflow was not told of the snapshots yet: {error.message}"
    finally:
        rest.close()
    said = {told.snapshot: told.outcome for told in reversed(known.told)}
    verified, damaged = repository.marks.verified(), repository.marks.damaged()
    for snapshot in repository.snapshots():
        found: Outcome | None = "damaged" if snapshot.id in damaged else "verified" if snapshot.id in verified else None
        if found is not None and said.get(snapshot.id) != found:
            why = "known before a restore" if found == "damaged" else None
            told = Told(datetime.now(UTC), "verify", found, snapshot.id, snapshot.at, why)
            if problem := tell(repository, stack, told):
                return problem
    return None


def retract(repository: Repository, stack: Stack, at: datetime) -> str | None:
    """Take back from MLflow that snapshots are verified which are not there any more; return why that failed, or None.

    Retention deletes older ones than the newest verified one: these would count again once that turns out to be
    damaged, which is told with the moment ``at``.
    """
    rest = Rest(stack.endpoints.mlflow, stack.mlflow_token())
    try:
        known = fetch(rest, stack.name)
    except StackctlError as error:
        return f"MLflow still counts on snapshots that were deleted: {error.message}"
    finally:
        rest.close()
    there = {snapshot.id for snapshot in repository.snapshots()}
    said = {told.snapshot: told for told in reversed(known.told) if told.outcome in {"verified", "damaged"}}
    for identity, before in said.items():
        if identity not in there and before.outcome == "verified":
            told = Told(at - MOMENT, "verify", "damaged", identity, before.taken_at, "it was deleted")
            if problem := tell(repository, stack, told):
                return problem
    return None


def tell_now(stack: Stack, told: Told, figures: Mapping[str, float] | None = None) -> str | None:
    """Write one tagged run; return why that was not possible, or None."""
    rest = Rest(stack.endpoints.mlflow, stack.mlflow_token())
    try:
        record(rest, stack.name, told, figures)
    except StackctlError as error:
        return f"MLflow was not told of it yet: {error.message}"
    finally:
        rest.close()
    return None


def _waiting(repository: Repository) -> list[dict[str, Any]]:
    try:
        document = json.loads((repository.state / FILE).read_bytes())
        return list(document["waiting"])
    except (OSError, ValueError, KeyError, TypeError):
        return []


def _keep(repository: Repository, waiting: list[dict[str, Any]]) -> None:
    file: Path = repository.state / FILE
    try:
        if waiting:
            write_document(file, {"waiting": waiting[-_MOST:]})
        else:
            file.unlink(missing_ok=True)
    except OSError as error:
        message = f"{file} cannot be written: {error.strerror}."
        raise StackctlError(message, "Look at backup.target in stack.yaml.") from error


def _document(told: Told) -> dict[str, Any]:
    return {key: value.isoformat() if isinstance(value, datetime) else value for key, value in asdict(told).items()}


def _told(document: Mapping[str, Any]) -> Told:
    taken = document["taken_at"]
    return Told(
        datetime.fromisoformat(document["at"]),
        document["kind"],
        document["outcome"],
        document["snapshot"],
        datetime.fromisoformat(taken) if taken else None,
        document["error"],
    )
