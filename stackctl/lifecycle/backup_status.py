"""How old the newest verified backup is, and whether the next one will come: for ``status`` and ``doctor``."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from stackctl.errors import StackctlError
from stackctl.stack import Stack

if TYPE_CHECKING:
    from stackctl.backup.freshness import Freshness

_PATIENCE = 5.0


@dataclass(frozen=True)
class BackupReport:
    """What ``status`` says of backups.

    Attributes:
        document: what MLflow's tagged runs say (``Freshness.to_dict``), or None where nobody could ask.
        age: seconds since the newest verified snapshot was taken, or None.
        problems: what degrades the stack, each a sentence.
        note: what a person should know all the same, or None.
    """

    document: dict[str, Any] | None
    age: float | None
    problems: tuple[str, ...]
    note: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return it as a JSON document."""
        return {**(self.document or {}), "age_seconds": self.age, "problems": list(self.problems), "note": self.note}


@contextmanager
def asked(stack: Stack) -> Iterator[Future[Freshness]]:
    """Ask MLflow for the age of the newest verified snapshot, beside everything else that goes on in the block."""
    with ThreadPoolExecutor(1) as pool:
        yield pool.submit(read_freshness, stack)


def read_freshness(stack: Stack) -> Freshness:
    """Return how fresh the newest verified snapshot is.

    Raises:
        StackctlError: MLflow does not answer.
    """
    from stackctl.backup.freshness import read
    from stackctl.models.rest import Rest

    rest = Rest(stack.endpoints.mlflow, stack.mlflow_token(), timeout=_PATIENCE)
    try:
        return read(rest, stack.name, stack.settings.backup.max_age)
    finally:
        rest.close()


def report(stack: Stack, freshness: Future[Freshness], health: bytes, *, running: bool) -> BackupReport:
    """Return what to say of backups.

    Args:
        stack: the stack.
        freshness: what ``asked`` yields.
        health: what the scheduler's ``/health`` answered; empty: nothing.
        running: whether the scheduler runs; one that does not is a problem of its own.
    """
    from stackctl.lifecycle.backup import compare

    try:
        document = json.loads(health) if health else None
    except ValueError:
        document = None
    scheduled = stack.settings.backup.schedule is not None
    late = compare(stack, document).problem if running or not scheduled else None
    problems = [late] if late else []
    try:
        found = freshness.result()
    except StackctlError as error:
        return BackupReport(None, None, (*problems, f"the age of the newest backup is unknown: {error.message}"))
    if found.problem:
        problems.append(found.problem)
    there = document.get("snapshots") if isinstance(document, dict) else None
    if isinstance(there, list) and found.snapshot and found.snapshot not in there:
        problems.append(f"the newest verified snapshot {found.snapshot} is gone from the repository")
    age = (datetime.now(UTC) - found.newest_verified).total_seconds() if found.newest_verified else None
    return BackupReport(found.to_dict(), age, tuple(problems), found.note)
