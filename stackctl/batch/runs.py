"""The runs of a stack: one folder each, and what its files say of how far the run is.

A run's coordinator holds a lock on a file in its folder for as long as it lives, so everybody can see whether it does:
also after ``kill -9``, and from another container.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from stackctl.batch import events
from stackctl.errors import StackctlError, UsageError

Phase = Literal["starting", "running", "waiting", "done", "incomplete", "threshold", "cancelled", "failed", "died"]
LIVE: tuple[Phase, ...] = ("starting", "running", "waiting")
KEPT = 50
"""How many ended runs are kept."""
COPIES = "copies"
"""Marks a run of whose folders there may be copies in the store."""
START_SECONDS = 60.0
"""How long a process that was started may take until it holds its run's lock."""
POLL_SECONDS = 0.1
HEAD_BYTES, TAIL_BYTES = 16 * 1024, 256 * 1024
"""Of a long list of events the first and the last bytes tell how far a run is: figures come every second."""
ID = re.compile(r"\d{8}-\d{6}-[0-9a-f]{4}")
RESUME = "Run the same command again: it goes on where this one stopped."


@dataclass(frozen=True)
class Run:
    """One run's folder.

    Attributes:
        folder: where its files lie.
    """

    folder: Path

    @property
    def id(self) -> str:
        """Its name."""
        return self.folder.name

    @property
    def events(self) -> Path:
        """What happened, one JSON object per line."""
        return self.folder / events.FILE

    @property
    def log(self) -> Path:
        """What the coordinator wrote otherwise."""
        return self.folder / "log.txt"

    @property
    def report(self) -> Path:
        """The report of a run that ended."""
        return self.folder / "report.json"

    @property
    def created(self) -> datetime:
        """When it was made, from its name (UTC)."""
        return datetime.strptime(self.id[:15], "%Y%m%d-%H%M%S").replace(tzinfo=UTC)

    def order(self) -> dict[str, Any]:
        """Return what it was told to do; empty where that cannot be read."""
        return _document(self.folder / "order.json")

    def alive(self) -> bool:
        """Return whether its coordinator lives."""
        return _locked(self.folder / "lock")

    def cancel(self) -> None:
        """Ask its coordinator to finish the images it works on and to end."""
        (self.folder / "cancel").touch()

    @property
    def cancelling(self) -> bool:
        """Whether it was asked to end."""
        return (self.folder / "cancel").exists()

    def log_tail(self, lines: int = 8) -> str:
        """Return the end of its log."""
        with contextlib.suppress(OSError):
            return "\n".join(self.log.read_text(errors="replace").strip().splitlines()[-lines:])
        return ""


@dataclass(frozen=True)
class RunState:
    """How far a run is; counts are of images.

    ``before`` is how many were done before the run began, ``skipped`` all that needed no work; ``pixels`` are those of
    the inputs that were to do when it began.
    """

    phase: Phase = "starting"
    total: int = 0
    done: int = 0
    before: int = 0
    skipped: int = 0
    quarantined: int = 0
    known_bad: int = 0
    pending: int = 0
    pixels: float = 0.0
    images_per_s: float = 0.0
    pixels_per_s: float = 0.0
    eta_s: float | None = None
    workers: int = 0
    message: str | None = None
    hint: str | None = None
    exit: int | None = None

    @property
    def live(self) -> bool:
        """Whether it goes on."""
        return self.phase in LIVE

    def after(self, event: dict[str, Any]) -> RunState:
        """Return the state that follows from one more event."""
        known = {name: event[name] for name in _FIGURES if event.get(name) is not None}
        match event.get("event"):
            case "begin":
                return replace(self, **{**known, "phase": "running", "before": known.get("skipped", 0)})
            case "progress":
                known["skipped"] = self.before + known.get("skipped", 0)
                going: dict[str, Any] = {} if self.phase == "waiting" else {"phase": "running", "message": None}
                return replace(self, **{**known, **going, "eta_s": event.get("eta_s")})
            case "waiting":
                return replace(self, phase="waiting", message=str(event.get("why") or ""))
            case "resumed":
                return replace(self, phase="running", message=None)
            case "end":
                return replace(
                    self,
                    phase=_end(str(event.get("status"))),
                    message=event.get("message"),
                    hint=event.get("hint"),
                    exit=int(event.get("exit", 1)),
                    eta_s=None,
                    **known,
                )
            case _:
                return self

    def to_dict(self) -> dict[str, Any]:
        """Return it as a JSON document."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


_FIGURES = frozenset(RunState.__dataclass_fields__) - {"phase", "message", "hint", "exit"}


def _end(status: str) -> Phase:
    """Return the phase of a run that ended with this status."""
    ends: tuple[Phase, ...] = ("incomplete", "threshold", "cancelled")
    return "done" if status == "ok" else next((phase for phase in ends if phase == status), "failed")


class Runs:
    """The runs below a stack's ``var/batch``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def create(self) -> Run:
        """Make the folder of a new run; old ones make room."""
        (self.folder / "runs").mkdir(parents=True, exist_ok=True)
        self.prune(KEPT - 1)
        while True:
            name = f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
            with contextlib.suppress(FileExistsError):
                (self.folder / "runs" / name).mkdir()
                return Run(self.folder / "runs" / name)

    def all(self) -> list[Run]:
        """Return every run, the newest first."""
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            found = [entry for entry in os.scandir(self.folder / "runs") if ID.fullmatch(entry.name)]
            return [Run(Path(entry.path)) for entry in sorted(found, key=lambda entry: entry.name, reverse=True)]
        return []

    def find(self, word: str | None) -> Run:
        """Return the run that ``word`` names, by its id or any part of it that no other has; None: the newest.

        Raises:
            UsageError: there is none, or more than one.
        """
        runs = self.all()
        if not runs:
            raise UsageError("No batch was run yet.", "Start one with `stackctl batch run`.")
        if word is None:
            return runs[0]
        found = [run for run in runs if run.id == word] or [run for run in runs if word in run.id]
        if len(found) == 1:
            return found[0]
        what = f"{len(found)} runs have {word} in their names" if found else f"There is no run {word}"
        named = ", ".join(run.id for run in (found or runs)[:5])
        raise UsageError(
            f"{what}.", f"{'They are' if found else 'The latest are'}: {named}. See `stackctl batch list`."
        )

    def live(self) -> list[Run]:
        """Return the runs that go on, the newest first."""
        return [run for run in self.all() if run.alive()]

    def prune(self, keep: int = KEPT) -> None:
        """Delete the oldest runs that ended; one that left copies, or of which MLflow does not know all, stays."""
        from stackctl.batch.tracking import undelivered

        for run in self.all()[keep:]:
            if not (run.alive() or (run.folder / COPIES).exists() or undelivered(run.folder)):
                shutil.rmtree(run.folder, ignore_errors=True)


def hold(folder: Path) -> int:
    """Hold a run's lock until this process ends; return the descriptor that must stay open.

    Raises:
        StackctlError: another process holds it.
    """
    handle = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    for patience in (0.05,) * 10:  # whoever asks whether it is held holds it for a moment
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return handle
        time.sleep(patience)
    os.close(handle)
    raise StackctlError(f"The run {folder.name} has a coordinator already.")


def state_of(run: Run, *, started: Callable[[], bool] | None = None) -> RunState:
    """Return how far a run is, from the edges of its events and from whether its coordinator lives.

    Args:
        run: the run.
        started: whether its process is there, for the moments before it holds its lock.
    """
    alive = run.alive()  # asked first: what it writes before it ends is read after
    state = RunState()
    for event in _edges(run.events):
        state = state.after(event)
    if state.live and not alive and not _may_start(run, started):
        phase: Phase = "cancelled" if run.cancelling else "died"
        return replace(state.after(_end_of_dead(run)), phase=phase)
    return state


def follow(run: Run, *, started: Callable[[], bool] | None = None) -> Iterator[dict[str, Any]]:
    """Yield a run's events from its first to its end, as they come.

    A coordinator that is gone without a word gets an ``end`` here, so the last event is always one. While nothing
    happens an empty event comes every tenth of a second, so that the caller can do something else.

    Args:
        run: the run.
        started: whether its process is there, for the moments before it holds its lock.
    """
    deadline = time.monotonic() + START_SECONDS
    offset = 0
    while True:
        over = _is_over(run, started, deadline)  # asked first: what it writes before it ends is read after
        news = False
        for event, after in events.read(run.events, offset):
            offset, news, deadline = after, True, 0.0
            yield event
            if event.get("event") == "end":
                return
        if over and not news:
            yield _end_of_dead(run)
            return
        if not news:
            yield {}
            time.sleep(POLL_SECONDS)


def _is_over(run: Run, started: Callable[[], bool] | None, deadline: float) -> bool:
    """Return whether a run's coordinator is gone, or has not come by the deadline."""
    if run.alive():
        return False
    return time.monotonic() > deadline or (started is not None and not started() and not run.alive())


def _events(lines: list[bytes]) -> Iterator[dict[str, Any]]:
    for line in lines:
        with contextlib.suppress(ValueError):
            event = json.loads(line)
            if isinstance(event, dict):
                yield event


def _edges(file: Path) -> Iterator[dict[str, Any]]:
    try:
        with file.open("rb") as handle:
            size = handle.seek(0, os.SEEK_END)
            handle.seek(0)
            yield from _events(handle.read(HEAD_BYTES).split(b"\n"))
            if size > HEAD_BYTES:
                handle.seek(max(0, size - TAIL_BYTES))
                yield from _events(handle.read().split(b"\n"))
    except FileNotFoundError:
        return


def _end_of_dead(run: Run) -> dict[str, Any]:
    """Return the last event in place of a coordinator that is gone without a word."""
    if run.cancelling:
        message = f"The run {run.id} was ended before its images in flight were done."
        return {"event": "end", "status": "cancelled", "exit": 130, "message": message, "hint": RESUME}
    told = run.log_tail()
    what = "is gone without a word (killed, or out of memory)" if (run.folder / "lock").exists() else "did not start"
    message = f"The coordinator of run {run.id} {what}." + (f" Its log ends:\n{told}" if told else "")
    return {"event": "end", "status": "failed", "exit": 1, "message": message, "hint": RESUME}


def _may_start(run: Run, started: Callable[[], bool] | None) -> bool:
    if (run.folder / "lock").exists() or time.time() - _ready_at(run) > START_SECONDS:
        return False
    return started is None or started()


def _ready_at(run: Run) -> float:
    """Return when a run was ready to start: to bring its images may have taken long."""
    with contextlib.suppress(OSError):
        return (run.folder / "order.json").stat().st_mtime
    return run.created.timestamp()


def _locked(file: Path) -> bool:
    try:
        handle = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


def _document(file: Path) -> dict[str, Any]:
    with contextlib.suppress(OSError, ValueError):
        found = json.loads(file.read_text())
        if isinstance(found, dict):
            return found
    return {}
