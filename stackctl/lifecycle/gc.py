"""``stackctl gc``: empty MLflow's trash, except of what a registered version or a retained snapshot refers to."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from stackctl.engines import Engine, Progress
from stackctl.errors import StackctlError, UsageError
from stackctl.process import ProcessFailed
from stackctl.stack import Stack


@dataclass(frozen=True)
class Collected:
    """What was deleted for good (or would be), and what was kept and why.

    Attributes:
        runs: ids of runs.
        models: ids of logged models.
        experiments: ids of experiments.
        kept: ``kind``, ``id`` and ``reason`` of each item that stays in the trash.
        snapshot: the snapshot that has what was deleted; None: none was asked for.
        dry_run: whether nothing was deleted.
    """

    runs: tuple[str, ...]
    models: tuple[str, ...]
    experiments: tuple[str, ...]
    kept: tuple[dict[str, str], ...]
    snapshot: str | None
    dry_run: bool

    @property
    def count(self) -> int:
        """How many items were deleted for good."""
        return len(self.runs) + len(self.models) + len(self.experiments)

    def to_dict(self) -> dict[str, Any]:
        """Return it as a JSON document."""
        return {
            "runs": list(self.runs),
            "models": list(self.models),
            "experiments": list(self.experiments),
            "kept": list(self.kept),
            "snapshot": self.snapshot,
            "dry_run": self.dry_run,
        }


def collect(
    stack: Stack,
    engine: Engine,
    progress: Progress,
    *,
    older_than_days: float = 30.0,
    backup: bool = True,
    dry_run: bool = False,
) -> Collected:
    """Delete for good what MLflow's trash holds and nothing refers to.

    Args:
        stack: the stack.
        engine: how it runs.
        progress: called with (subject, what happens).
        older_than_days: what was deleted later than that stays.
        backup: take a snapshot first, unless there is a fresh verified one.
        dry_run: only say what would be deleted.

    Raises:
        UsageError: MLflow is not the stack's own.
        StackctlError: no snapshot could be taken; nothing was deleted.
    """
    if stack.settings.mlflow.kind != "bundled":
        raise UsageError("MLflow is not this stack's own: its trash is emptied where it runs.")
    snapshot = None
    if backup and not dry_run:
        from stackctl.lifecycle.fresh_snapshot import ensure_snapshot

        snapshot = ensure_snapshot(stack, engine, progress)
    progress("trash", "looking for what refers to it")
    argv = ["python", "-m", "stackctl.backup.gc_guard", "--older-than-days", str(older_than_days)]
    found = json.loads(engine.run_once("backup", argv).stdout.strip().splitlines()[-1])
    wanted = {kind: found[kind] for kind in ("runs", "models", "experiments")}
    if not dry_run and any(wanted.values()):
        progress("trash", f"deleting {sum(map(len, wanted.values()))} items")
        try:
            engine.run_once("mlflow", ["python", "-m", "stackctl.lifecycle.gc_worker", json.dumps(wanted)])
        except ProcessFailed as error:
            raise StackctlError(f"MLflow's gc ended early: {error.message}", "Run `stackctl gc` again.") from error
    return Collected(
        tuple(wanted["runs"]),
        tuple(wanted["models"]),
        tuple(wanted["experiments"]),
        tuple(found["kept"]),
        snapshot,
        dry_run,
    )
