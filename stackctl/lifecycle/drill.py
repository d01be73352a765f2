"""``stackctl backup drill``: restore a snapshot into a scratch stack, prove it, and say what a disaster would cost."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from stackctl.backup.freshness import Outcome, Told, record
from stackctl.backup.repository import Snapshot
from stackctl.engines import Engine, Progress, engine_of
from stackctl.errors import StackctlError
from stackctl.lifecycle.restore import Restored, restore
from stackctl.lifecycle.restore_elsewhere import make_stack, on_this_machine
from stackctl.models.rest import Rest
from stackctl.stack import Stack

LEAN: dict[str, dict[str, Any]] = {
    "backup": {"schedule": None, "ping_url": None, "drill_schedule": None},
    "deploy": {"policy": "manual"},
    "serving": {"staging": False},
}
"""A drill starts what answers people; nothing that acts by itself."""


@dataclass(frozen=True)
class Drilled:
    """What a drill measured.

    Attributes:
        snapshot: the snapshot's id.
        rpo_seconds: age of the snapshot when the drill began: the work that a disaster at that moment would cost.
        rto_seconds: from nothing to a model server whose golden images were right.
        phases: seconds of each phase.
        production: the version in Production, or None.
        worst_levels: how far its golden images were off at most.
        files: objects and files that were restored.
        problems: why the snapshot does not hold what it promises; empty where it does.
    """

    snapshot: str
    rpo_seconds: float
    rto_seconds: float
    phases: dict[str, float] = field(default_factory=dict)
    production: str | None = None
    worst_levels: int | None = None
    files: int = 0
    problems: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether the snapshot could be restored and proven."""
        return not self.problems

    def to_dict(self) -> dict[str, Any]:
        """Return it as a JSON document."""
        return {**asdict(self), "problems": list(self.problems), "ok": self.ok}


def drill(stack: Stack, engine: Engine, snapshot: str | None, progress: Progress) -> Drilled:
    """Restore a snapshot (None: the latest) into a scratch stack on free ports; the scratch stack is destroyed.

    It runs beside the stack itself, on the same engine. Its outcome is noted in MLflow where that answers.

    Raises:
        UsageError: there is no snapshot.
    """
    moment = datetime.now(UTC)
    with on_this_machine(engine, snapshot, progress) as found:
        age = (moment - found.at).total_seconds()
        began = time.monotonic()
        try:
            done, phases = _restored(stack, found, progress)
        except StackctlError as error:
            drilled = Drilled(found.id, round(age, 1), _since(began), problems=(error.message,))
        else:
            files = sum(put["added"] + put["replaced"] + put["same"] for put in done.put.values())
            levels = done.golden["worst_levels"] if done.golden else None
            needed = round(sum(phases.values()), 1)
            drilled = Drilled(found.id, round(age, 1), needed, phases, done.production, levels, files)
        _note(stack, drilled, moment, found.at)
    return drilled


def _restored(stack: Stack, found: Snapshot, progress: Progress) -> tuple[Restored, dict[str, float]]:
    """Restore into a scratch stack; return what was done, and the seconds of each phase."""
    with _scratch(stack) as folder:
        began = time.monotonic()
        made = make_stack(found, folder, stack.settings.engine, progress, changed=LEAN)
        other = engine_of(made)
        try:
            other.prepare(progress)
            word = other.snapshot_in(found.folder)
            ready = _since(began)
            done = restore(made, other, word, progress)
            return done, {"init": ready, **done.seconds}
        finally:
            progress("stack", "destroying the scratch stack")
            with contextlib.suppress(StackctlError):
                other.destroy()


def _note(stack: Stack, drilled: Drilled, at: datetime, taken_at: datetime) -> None:
    """Note the drill beside the backups; it is no less true where MLflow does not answer."""
    outcome: Outcome = "verified" if drilled.ok else "failed"
    told = Told(at, "drill", outcome, drilled.snapshot, taken_at, "; ".join(drilled.problems) or None)
    rest = Rest(stack.endpoints.mlflow, stack.mlflow_token())
    with contextlib.closing(rest), contextlib.suppress(StackctlError):
        record(rest, stack.name, told, {"rpo_seconds": drilled.rpo_seconds, "rto_seconds": drilled.rto_seconds})


def _since(began: float) -> float:
    return round(time.monotonic() - began, 2)


@contextlib.contextmanager
def _scratch(stack: Stack) -> Iterator[Path]:
    """Yield a folder for a stack beside the stack's own: a disk that has room for one is likely to have it for two."""
    parent = Path(tempfile.mkdtemp(prefix=f".{stack.name}-drill-", dir=stack.home.parent))
    try:
        yield parent / f"drill-{parent.name.rpartition('-')[2].lower().replace('_', 'x')}"
    finally:
        shutil.rmtree(parent, ignore_errors=True)
