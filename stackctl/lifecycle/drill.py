"""``stackctl backup drill``: restore a snapshot into a scratch stack, prove it, and say what a disaster would cost."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from stackctl.engines import Engine, Progress, engine_of
from stackctl.errors import StackctlError
from stackctl.lifecycle.restore import Restored, restore
from stackctl.lifecycle.restore_elsewhere import make_stack, on_this_machine
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
        artifacts: objects that were restored.
    """

    snapshot: str
    rpo_seconds: float
    rto_seconds: float
    phases: dict[str, float]
    production: str | None
    worst_levels: int | None
    artifacts: int

    def to_dict(self) -> dict[str, Any]:
        """Return it as a JSON document."""
        return asdict(self)


def drill(stack: Stack, engine: Engine, progress: Progress, *, snapshot: str | None = None) -> Drilled:
    """Restore a snapshot (the latest: none named) into a scratch stack on free ports; the scratch stack is destroyed.

    It runs on the engine of the stack itself, beside it.

    Raises:
        UsageError: there is no snapshot.
        StackctlError: the snapshot could not be restored, or is not what it promises: the backup does not work.
    """
    began, moment = time.monotonic(), datetime.now(UTC)
    with on_this_machine(engine, snapshot, progress) as found, _scratch(stack) as folder:
        made = make_stack(found, folder, stack.settings.engine, progress, changed=LEAN)
        other = engine_of(made)
        ready = time.monotonic()
        try:
            other.prepare(progress)
            done = restore(made, other, other.snapshot_in(found.folder), progress)
            seconds = time.monotonic() - began
        finally:
            progress("stack", "destroying the scratch stack")
            with contextlib.suppress(StackctlError):
                other.destroy()
        return _drilled(done, found.at, moment, seconds, ready - began)


def _drilled(done: Restored, at: datetime, moment: datetime, seconds: float, prepared: float) -> Drilled:
    return Drilled(
        snapshot=done.snapshot,
        rpo_seconds=round((moment - at).total_seconds(), 1),
        rto_seconds=round(seconds, 1),
        phases={"init": round(prepared, 2), **done.seconds},
        production=done.production,
        worst_levels=done.golden["worst_levels"] if done.golden else None,
        artifacts=sum(put["added"] + put["replaced"] + put["same"] for put in done.put.values()),
    )


@contextlib.contextmanager
def _scratch(stack: Stack) -> Iterator[Path]:
    """Yield a folder for a stack beside the stack's own: a disk that has room for one is likely to have it for two."""
    parent = Path(tempfile.mkdtemp(prefix=f".{stack.name}-drill-", dir=stack.home.parent))
    try:
        yield parent / f"drill-{parent.name.rpartition('-')[2].lower().replace('_', 'x')}"
    finally:
        shutil.rmtree(parent, ignore_errors=True)
