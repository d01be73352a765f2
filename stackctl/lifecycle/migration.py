"""A change of MLflow's schema needs a way back: a snapshot is taken before an older database is brought up to date."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

from stackctl.distribution import carried
from stackctl.engines import Engine, Progress
from stackctl.errors import StackctlError
from stackctl.process import ProcessFailed
from stackctl.stack import Stack

FILE = "mlflow.json"
DECIDE = ("compose.yaml", "compose.override.yaml", "supervisord.conf")
"""Files of a stack's folder in which a person may name another MLflow than the pinned one."""


def prepare_migration(stack: Stack, engine: Engine, progress: Progress, *, backup: bool = True) -> str | None:
    """Bring an older database of MLflow's to its schema, a snapshot first; return that one's id, or None without one.

    Args:
        stack: the stack that is about to start.
        engine: how it runs.
        progress: called with (subject, what happens).
        backup: False goes on without a snapshot.

    Raises:
        StackctlError: the database is newer than this MLflow, or no snapshot could be taken. Nothing was started.
    """
    if stack.settings.mlflow.kind != "bundled" or _known(stack) == _installed(stack):
        return None
    engine.prepare(progress)
    judged = _judged(engine)
    if judged["state"] == "unknown":
        raise StackctlError(
            f"MLflow's database has schema {judged['revision']}; this MLflow's newest is {judged['head']}.",
            "Run the MLflow (or stackctl) that it was used with, or `stackctl restore` a snapshot from before.",
        )
    if judged["state"] != "older":
        return None
    change = f"from {judged['revision']} to {judged['head']}"
    progress("schema", f"{change}: a snapshot first" if backup else f"{change}, and no snapshot is taken before")
    snapshot = _snapshot(stack, engine, progress) if backup else None
    engine.down()  # an older MLflow that still runs would write to a database that is replaced
    try:
        engine.run_once("mlflow", ["python", "-m", "stackctl.lifecycle.schema_worker"])
    except ProcessFailed as error:
        raise StackctlError(
            f"MLflow's database could not be changed: {error.message}",
            "It is as it was: the version of stackctl that it was used with still works with it.",
        ) from error
    progress("schema", f"changed {change}")
    return snapshot


def forget(stack: Stack) -> None:
    """Have the next start look at the database's schema: another database takes its place."""
    (stack.state / FILE).unlink(missing_ok=True)


def remember(stack: Stack) -> None:
    """Note which MLflow the database belongs to now: while it stays the same, nothing needs to be asked."""
    file = stack.state / FILE
    if stack.settings.mlflow.kind == "bundled" and _known(stack) != _installed(stack):
        file.parent.mkdir(parents=True, exist_ok=True)
        fresh = file.with_name(f".{FILE}.new")
        fresh.write_text(json.dumps({"installed": _installed(stack)}) + "\n")
        fresh.replace(file)


def _snapshot(stack: Stack, engine: Engine, progress: Progress) -> str:
    from stackctl.lifecycle.fresh_snapshot import take_snapshot

    if stack.settings.store.kind == "minio":
        engine.up(["store"], progress)
    return take_snapshot(stack, engine, progress)


def _known(stack: Stack) -> str | None:
    file: Path = stack.state / FILE
    try:
        return str(json.loads(file.read_text())["installed"])
    except (OSError, ValueError, KeyError):
        return None


def _installed(stack: Stack) -> str:
    """Return what changes with the MLflow that the stack runs: the pinned version, and files that may name another."""
    found = re.search(r"^mlflow==(\S+)", carried("constraints.txt").read_text(), re.MULTILINE)
    files = (stack.home / name for name in DECIDE)
    texts = hashlib.sha256(b"\0".join(file.read_bytes() if file.is_file() else b"" for file in files))
    return f"{found[1] if found else ''} {texts.hexdigest()[:16]}"


def _judged(engine: Engine) -> dict[str, Any]:
    done = engine.run_once("mlflow", ["python", "-m", "stackctl.backup.restore_schema"])
    judged: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return judged
