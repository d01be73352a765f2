"""A fresh verified snapshot before something that cannot be taken back: found, or taken now."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from stackctl.backup.freshness import read
from stackctl.engines import Engine, Progress
from stackctl.errors import StackctlError, Unhealthy
from stackctl.lifecycle.backup import ask, run_backup
from stackctl.models.rest import Rest
from stackctl.stack import Stack

FRESH = timedelta(hours=24)


def ensure_snapshot(stack: Stack, engine: Engine, progress: Progress) -> str:
    """Return the id of a verified snapshot of the last 24 hours; where there is none it is taken now.

    Raises:
        Unhealthy: MLflow does not answer.
        StackctlError: no snapshot could be taken.
    """
    rest = Rest(stack.endpoints.mlflow, stack.mlflow_token())
    try:
        known = read(rest, stack.name, FRESH)
    finally:
        rest.close()
    young = known.newest_verified is not None and datetime.now(UTC) - known.newest_verified < FRESH
    if young and known.snapshot in _right(stack, engine):
        progress("snapshot", f"{known.snapshot} is fresh and verified")
        return str(known.snapshot)
    return take_snapshot(stack, engine, progress)


def _right(stack: Stack, engine: Engine) -> set[str]:
    """Return the snapshots that the repository has and knows to be right: MLflow may remember one that is lost."""
    listed = ask(stack, engine, ["list"])["snapshots"]
    return {str(each["id"]) for each in listed if each["verified"] and not each["damaged"]}


def take_snapshot(stack: Stack, engine: Engine, progress: Progress) -> str:
    """Take a snapshot now and return its id.

    Raises:
        StackctlError: it failed; the hint names the way without one.
    """
    progress("snapshot", "taking one")
    try:
        done = run_backup(stack, engine)
    except StackctlError as error:
        raise type(error)(
            f"There is no fresh snapshot, and none could be taken: {error.message}",
            "Mend that, or add --no-backup to go on without one.",
        ) from error
    if not done.get("snapshot"):
        raise Unhealthy("There is no fresh snapshot, and none could be taken.", "See `stackctl backup list`.")
    progress("snapshot", f"{done['snapshot']} taken and verified")
    return str(done["snapshot"])
