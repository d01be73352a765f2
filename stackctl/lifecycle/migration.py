"""A change of MLflow's schema needs a way back: a snapshot is taken before a newer MLflow opens an older database."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from stackctl.distribution import carried
from stackctl.engines import Engine, Progress
from stackctl.errors import StackctlError
from stackctl.stack import Stack

FILE = "mlflow.json"


def prepare_migration(stack: Stack, engine: Engine, progress: Progress, *, backup: bool = True) -> str | None:
    """Take a snapshot if MLflow's start would migrate its database; return its id, or None where none was needed.

    Args:
        stack: the stack that is about to start.
        engine: how it runs.
        progress: called with (subject, what happens).
        backup: False goes on without a snapshot.

    Raises:
        StackctlError: the database is newer than this MLflow, or no snapshot could be taken. Nothing was started.
    """
    if stack.settings.mlflow.kind != "bundled" or _known(stack) == _pinned():
        return None
    judged = _judged(engine)
    if judged["state"] == "unknown":
        raise StackctlError(
            f"MLflow's database has schema {judged['revision']}; this MLflow's newest is {judged['head']}.",
            "Run the version of stackctl that it was used with, or `stackctl restore` a snapshot from before.",
        )
    if judged["state"] != "older":
        return None
    if not backup:
        progress("schema", f"from {judged['revision']} to {judged['head']}, without a snapshot: there is no way back")
        return None
    from stackctl.lifecycle.fresh_snapshot import take_snapshot

    progress("schema", f"MLflow will change it from {judged['revision']} to {judged['head']}: a snapshot first")
    if stack.settings.store.kind == "minio":
        engine.prepare(progress)
        engine.up(["store"], progress)
    return take_snapshot(stack, engine, progress)


def remember(stack: Stack) -> None:
    """Note which MLflow the database belongs to now: while it stays the same, nothing needs to be asked."""
    file = stack.state / FILE
    if stack.settings.mlflow.kind == "bundled" and _known(stack) != _pinned():
        file.parent.mkdir(parents=True, exist_ok=True)
        fresh = file.with_name(f".{FILE}.new")
        fresh.write_text(json.dumps({"version": _pinned()}) + "\n")
        fresh.replace(file)


def _known(stack: Stack) -> str | None:
    file: Path = stack.state / FILE
    try:
        return str(json.loads(file.read_text())["version"])
    except (OSError, ValueError, KeyError):
        return None


def _pinned() -> str:
    found = re.search(r"^mlflow==(\S+)", carried("constraints.txt").read_text(), re.MULTILINE)
    return found[1] if found else ""


def _judged(engine: Engine) -> dict[str, Any]:
    done = engine.run_once("mlflow", ["python", "-m", "stackctl.backup.restore_schema"])
    judged: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return judged
