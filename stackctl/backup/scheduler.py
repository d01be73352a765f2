"""``python -m stackctl.backup.scheduler``: takes a backup whenever the crontab line says so, and tells how it stands.

It judges nothing: whether backups are recent enough is read elsewhere (``freshness``), so this process may be dead.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from stackctl import process
from stackctl.backup import untold
from stackctl.backup.manifest import HEADER
from stackctl.backup.place import Place
from stackctl.backup.repository import Repository
from stackctl.backup.schedule import Schedule
from stackctl.errors import StackctlError
from stackctl.models.deployer_health import Health, serve_health
from stackctl.models.versions import iso

STATE_FILE = "schedule.json"
BACKUP = ("-m", "stackctl.backup.run", "--scheduled")
DRILL = ("-m", "stackctl.lifecycle.scheduled_drill")
LOOK_SECONDS = 5.0
BEAT_SECONDS = 30.0
TELL_SECONDS = 60.0
RETRIES = 2
RETRY_AFTER = timedelta(minutes=15)
LONGEST_RUN = timedelta(hours=24)


@dataclass
class Job:
    """Something that is done on a schedule.

    Attributes:
        name: ``backup`` or ``drill``.
        schedule: when.
        command: what the interpreter runs.
        since: the moment up to which everything that was due was done.
        failures: how often it failed in a row.
        last: when it last ended, and its exit status.
    """

    name: str
    schedule: Schedule
    command: tuple[str, ...]
    since: datetime
    failures: int = 0
    last: tuple[datetime, int] | None = None

    def due(self, now: datetime) -> bool:
        """Return whether it has to run now: its moment has come, or a failed one is tried again."""
        if 0 < self.failures <= RETRIES and self.last is not None and abs(now - self.last[0]) >= RETRY_AFTER:
            return True
        return self.schedule.due(self.since, now)

    def done(self, began: datetime, now: datetime, status: int) -> None:
        """Note how a run ended."""
        self.since, self.last = began, (now, status)
        self.failures = self.failures + 1 if status else 0


class SchedulerHealth(Health):
    """What ``GET /health`` says: the live schedule, when it is due next, how the last run ended, what there is."""

    def __init__(self, repository: Path) -> None:
        super().__init__()
        self._repository = repository
        self.jobs: dict[str, Job] = {}
        self.running: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the document."""
        now = datetime.now(UTC)
        return {
            **super().to_dict(),
            "schedules": {
                name: {
                    "line": job.schedule.line,
                    "timezone": job.schedule.timezone,
                    "next": iso(job.schedule.after(now)),
                    "last": {"at": iso(job.last[0]), "exit": job.last[1]} if job.last else None,
                }
                for name, job in self.jobs.items()
            },
            "running": self.running,
            "snapshots": snapshot_names(self._repository),
        }


def snapshot_names(repository: Path) -> list[str]:
    """Return the names of the complete snapshots, oldest first; cheap, and empty where there is no repository."""
    with contextlib.suppress(OSError):
        return sorted(header.parent.name for header in (repository / "snapshots").glob(f"[!.]*/{HEADER}"))
    return []


class Scheduler:
    """Runs jobs when they are due, one at a time.

    Args:
        place: where it runs.
        health: what it tells.
        now: the present moment.
        execute: runs a job's command and returns its exit status.
        rest: waits some seconds.
    """

    def __init__(
        self,
        place: Place,
        health: SchedulerHealth,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        execute: Callable[[Sequence[str], Health], int] | None = None,
        rest: Callable[[float], None] = time.sleep,
    ) -> None:
        self._health = health
        self._now = now
        self._execute = execute or run_command
        self._rest = rest
        self._place = place
        self._repository = Repository(place.repository)
        self._file = place.repository / "state" / STATE_FILE
        settings = place.settings
        lines = (("backup", settings.schedule, BACKUP), ("drill", settings.drill_schedule, DRILL))
        known = self._remembered()
        for name, line, command in lines:
            if line is not None:
                schedule = Schedule(line, settings.timezone)
                health.jobs[name] = Job(name, schedule, command, known.get((name, str(schedule)), now()))
        self._remember()

    def run(self) -> NoReturn:
        """Run for ever."""
        told = 0.0
        while True:
            self.step()
            if time.monotonic() - told > TELL_SECONDS:
                told = time.monotonic()
                self._tell_what_waits()
            self._rest(LOOK_SECONDS)

    def step(self) -> list[str]:
        """Do what is due and return the names of the jobs that ran."""
        self._health.beat()
        ran = []
        for job in self._health.jobs.values():
            began = self._now()
            job.since = min(job.since, began)  # the clock was ahead: what it saw then has yet to come
            if not job.due(began):
                continue
            self._health.running = job.name
            self._health.tell(job.name, f"is due ({job.schedule})")
            try:
                status = self._execute(job.command, self._health)
            finally:
                self._health.running = None
            job.done(began, self._now(), status)
            self._remember()
            self._health.tell(job.name, "done" if status == 0 else f"failed (exit status {status})")
            ran.append(job.name)
        return ran

    def _tell_what_waits(self) -> None:
        """Tell MLflow of runs that it did not hear of when they ended."""
        try:
            problem = untold.deliver(self._repository, self._place.stack)
        except StackctlError as error:
            problem = error.message
        if problem:
            self._health.tell("mlflow", problem)

    def _remembered(self) -> dict[tuple[str, str], datetime]:
        """Return since when each schedule counts; a changed line begins anew, and does not catch up with itself."""
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
            entries = json.loads(self._file.read_text())["since"]
            return {(each["job"], each["schedule"]): datetime.fromisoformat(each["at"]) for each in entries}
        return {}

    def _remember(self) -> None:
        entries = [
            {"job": job.name, "schedule": str(job.schedule), "at": job.since.isoformat()}
            for job in self._health.jobs.values()
        ]
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            fresh = self._file.with_suffix(".new")
            fresh.write_text(json.dumps({"since": entries}))
            fresh.replace(self._file)
        except OSError as error:  # a target that is gone is the backup's failure, not the end of the scheduler
            self._health.tell("repository", f"{self._file.parent} cannot be written: {error.strerror}")


def run_command(command: Sequence[str], health: Health) -> int:
    """Run a job's command to its end, show its lines in the log, and return its exit status."""
    status = 1
    with _beating(health):
        try:
            argv = [sys.executable, *command]
            process.run(argv, on_line=_show, timeout=LONGEST_RUN.total_seconds())
            status = 0
        except process.ProcessFailed as error:
            status = error.completed.returncode
        except StackctlError as error:
            health.tell("failed", error.message)
    return status


def _show(line: str) -> None:
    print(line, file=sys.stderr, flush=True)  # noqa: T201 - the service's log


@contextlib.contextmanager
def _beating(health: Health) -> Iterator[None]:
    """Show that the scheduler lives while it waits for a command, which has a time limit of its own."""
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(BEAT_SECONDS):
            health.beat()

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()


def main() -> int:
    """Run until SIGTERM or SIGINT; return the exit status."""
    signal.signal(signal.SIGTERM, _interrupt)
    os.umask(0o077)
    try:
        place = Place.from_env()
        health = SchedulerHealth(place.repository)
        scheduler = Scheduler(place, health)
        with serve_health(health, place.host, place.port):
            schedules = "; ".join(f"{job.name} {job.schedule}" for job in health.jobs.values())
            health.tell("waiting", schedules or "nothing is scheduled")
            scheduler.run()
    except KeyboardInterrupt:
        return 0
    except (StackctlError, OSError) as error:
        words = (error.message, error.hint) if isinstance(error, StackctlError) else (str(error), None)
        print(" ".join(word for word in words if word), file=sys.stderr)  # noqa: T201 - the service's log
        return error.code if isinstance(error, StackctlError) else StackctlError.code
    return 0


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
