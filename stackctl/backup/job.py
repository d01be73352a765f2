"""One backup from beginning to end: take, verify, tell MLflow, copy elsewhere, only then prune; pings all the way."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime

from stackctl.backup import targets, untold
from stackctl.backup.events import Events, Hooks, nothing, quiet
from stackctl.backup.freshness import Told
from stackctl.backup.pings import ping
from stackctl.backup.pruning import prune
from stackctl.backup.repository import Busy, Repository, Snapshot
from stackctl.backup.snapshot import take
from stackctl.backup.sources import Sources
from stackctl.backup.verify import check_new
from stackctl.errors import StackctlError, Unhealthy
from stackctl.stack import Stack


class Damaged(Unhealthy):
    """A snapshot is not what was written; ``snapshot`` is its id, and MLflow knows."""

    def __init__(self, snapshot: str, problem: str) -> None:
        super().__init__(f"The snapshot {snapshot} is not right: {problem}.", f"stackctl backup verify {snapshot}")
        self.snapshot = snapshot


@dataclass(frozen=True)
class Outcome:
    """How a backup ended.

    Attributes:
        exit: the exit status: 0, or that of the error.
        snapshot: the new snapshot's id, or None.
        message: what went wrong, or None.
        hint: what to do about it, or None.
    """

    exit: int
    snapshot: str | None = None
    message: str | None = None
    hint: str | None = None


def run(
    stack: Stack, sources: Sources, repository: Repository, events: Events = quiet, hooks: Hooks = nothing
) -> Outcome:
    """Take a backup and say how it ended; the last event is ``end``. Nothing but an interrupt comes out of it."""
    settings = stack.settings.backup
    _warn(events, ping(settings.ping_url, "start"))
    began = datetime.now(UTC)
    snapshot: Snapshot | None = None
    try:
        snapshot = _taken(stack, sources, repository, events, hooks, began)
        _afterwards(stack, repository, events, hooks)
        outcome = Outcome(0, snapshot.id)
    except (StackctlError, OSError) as raised:
        error = raised if isinstance(raised, StackctlError) else _of_the_disk(raised)
        if snapshot is None and not isinstance(error, Busy | Damaged):
            _tell_failure(stack, repository, events, began, error)
        name = error.snapshot if isinstance(error, Damaged) else snapshot.id if snapshot else None
        outcome = Outcome(error.code, name, error.message, error.hint)
        busy = isinstance(error, Busy)  # the one that is at work pings how it ends
    else:
        busy = False
    if not busy:
        text = outcome.message or f"snapshot {outcome.snapshot}"
        _warn(events, ping(settings.ping_url, "failure" if outcome.exit else "success", text))
    status = "failed" if outcome.exit else "ok"
    events(
        "end",
        status=status,
        exit=outcome.exit,
        snapshot=outcome.snapshot,
        message=outcome.message,
        hint=outcome.hint,
        seconds=round((datetime.now(UTC) - began).total_seconds(), 3),
    )
    return outcome


def _taken(
    stack: Stack, sources: Sources, repository: Repository, events: Events, hooks: Hooks, began: datetime
) -> Snapshot:
    """Take a snapshot, verify it, and tell MLflow of it.

    Raises:
        Damaged: it is not what was written.
    """
    clock = time.monotonic()
    snapshot = take(sources, repository, events=events, hooks=hooks)
    taken = time.monotonic()
    verdict = check_new(repository, snapshot, events=events)
    hooks("verified")
    figures = {
        "seconds": taken - clock,
        "verify_seconds": time.monotonic() - taken,
        **{name: float(snapshot.header[name]) for name in ("files", "bytes", "new_bytes") if name in snapshot.header},
    }
    problem = "; ".join(verdict.problems[:5]) if not verdict.ok else None
    if problem:
        _warn(events, untold.retract(repository, stack, began))
    told = Told(began, "backup", "damaged" if problem else "verified", snapshot.id, snapshot.at, problem)
    _warn(events, untold.tell(repository, stack, told, figures))
    hooks("told")
    for other in (each for each in repository.snapshots() if each.id in verdict.also):
        shared = f"shares what is damaged with {snapshot.id}"
        _warn(events, untold.tell(repository, stack, Told(began, "verify", "damaged", other.id, other.at, shared)))
    if problem:
        raise Damaged(snapshot.id, problem)
    return snapshot


def _afterwards(stack: Stack, repository: Repository, events: Events, hooks: Hooks) -> None:
    """Copy the snapshots elsewhere, then delete those that retention lets go, here and there."""
    settings = stack.settings.backup
    failures: list[StackctlError] = []
    copies = targets.of(settings, stack.name)
    for copy in copies:
        try:
            copy.send(repository, events)
        except StackctlError as error:
            failures.append(error)
    hooks("copied")
    decided = prune(repository, settings, now=datetime.now(UTC), events=events)
    if decided.refused:
        events("warning", text=f"nothing was deleted: {decided.refused}; see `stackctl backup prune`")
    else:
        for copy in copies if not failures else ():
            try:
                copy.prune(repository, events)
            except StackctlError as error:
                failures.append(error)
    hooks("pruned")
    if failures:
        message = " ".join(error.message for error in failures)
        raise StackctlError(f"The snapshot is there and verified, but: {message}", failures[0].hint)


def _tell_failure(stack: Stack, repository: Repository, events: Events, began: datetime, error: StackctlError) -> None:
    try:
        _warn(events, untold.tell(repository, stack, Told(began, "backup", "failed", error=error.message)))
    except StackctlError:  # the target is gone: MLflow can be told without it
        _warn(events, untold.tell_now(stack, Told(began, "backup", "failed", error=error.message)))


def _warn(events: Events, text: str | None) -> None:
    if text:
        events("warning", text=text)


def _of_the_disk(error: OSError) -> StackctlError:
    where = f" ({error.filename})" if error.filename else ""
    return StackctlError(
        f"The backup could not be finished: {error.strerror or error}{where}.",
        "Look at the disk of backup.target in stack.yaml; the snapshots before are as they were.",
    )
