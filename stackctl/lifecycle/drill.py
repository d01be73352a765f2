"""``stackctl backup drill``: restore a snapshot into a scratch stack, prove it, and say what a disaster would cost."""

from __future__ import annotations

import contextlib
import fcntl
import secrets
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
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

SCRATCH = ".stackctl-drill-"
LEAN: dict[str, dict[str, Any]] = {
    "backup": {"schedule": None, "ping_url": None, "drill_ping_url": None, "drill_schedule": None},
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
    """Restore a snapshot (None: the newest verified) into a scratch stack on free ports; that is destroyed then.

    It runs beside the stack itself, on the same engine. Its outcome is noted in MLflow where that answers.

    Raises:
        UsageError: there is no snapshot.
    """
    with on_this_machine(engine, snapshot, progress) as found:
        rest = Rest(stack.endpoints.mlflow, stack.mlflow_token())

        def note(told: Told, figures: dict[str, float]) -> None:
            with contextlib.suppress(StackctlError):  # it is no less true where MLflow does not answer
                record(rest, stack.name, told, figures)

        with contextlib.closing(rest):
            return practise(found, stack.settings.engine, stack.home.parent, progress, note=note)


def practise(
    found: Snapshot,
    engine_name: str,
    place: Path,
    progress: Progress,
    *,
    note: Callable[[Told, dict[str, float]], None],
    changed: Mapping[str, Mapping[str, Any]] | None = None,
) -> Drilled:
    """Restore ``found`` into a scratch stack below ``place`` and return what that measured.

    Args:
        found: the snapshot.
        engine_name: of the scratch stack.
        place: a folder on a disk with room; what is made in it is removed.
        progress: called with (subject, what happens).
        note: notes the outcome and its figures.
        changed: further settings of the scratch stack.
    """
    moment, began = datetime.now(UTC), time.monotonic()
    age = round((moment - found.at).total_seconds(), 1)
    try:
        done, phases = _restored(found, engine_name, place, progress, {**LEAN, **(changed or {})})
    except StackctlError as error:
        drilled = Drilled(found.id, age, _since(began), problems=(error.message,))
    else:
        files = sum(put["added"] + put["replaced"] + put["same"] for put in done.put.values())
        levels = done.golden["worst_levels"] if done.golden else None
        drilled = Drilled(found.id, age, round(sum(phases.values()), 1), phases, done.production, levels, files)
    outcome: Outcome = "verified" if drilled.ok else "failed"
    told = Told(moment, "drill", outcome, found.id, found.at, "; ".join(drilled.problems) or None)
    note(told, {"rpo_seconds": drilled.rpo_seconds, "rto_seconds": drilled.rto_seconds})
    return drilled


def _restored(
    found: Snapshot, engine_name: str, place: Path, progress: Progress, changed: Mapping[str, Mapping[str, Any]]
) -> tuple[Restored, dict[str, float]]:
    """Restore into a scratch stack; return what was done, and the seconds of each phase."""
    with _scratch(place) as folder:
        began = time.monotonic()
        made = make_stack(found, folder, engine_name, progress, changed=changed)
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


def _since(began: float) -> float:
    return round(time.monotonic() - began, 2)


@contextlib.contextmanager
def _scratch(place: Path) -> Iterator[Path]:
    """Yield a folder for a stack; what a drill left that was killed is removed first, services included."""
    for left in place.glob(f"{SCRATCH}*"):
        with _held(left) as abandoned:
            if abandoned:
                _remove(left)
    parent = Path(tempfile.mkdtemp(prefix=SCRATCH, dir=place))
    try:
        with _held(parent):
            yield parent / f"drill-{secrets.token_hex(4)}"
    finally:
        shutil.rmtree(parent, ignore_errors=True)


@contextlib.contextmanager
def _held(parent: Path) -> Iterator[bool]:
    """Hold a drill's folder; yield False where another drill is at work in it."""
    with (parent / "lock").open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


def _remove(parent: Path) -> None:
    """Destroy a scratch stack that nobody works with any more."""
    for folder in parent.glob("drill-*"):
        with contextlib.suppress(StackctlError):
            engine_of(Stack.from_folder(folder)).destroy()
    shutil.rmtree(parent, ignore_errors=True)
