"""``stackctl backup``: has the work done where the data is, and passes on what is said there."""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from stackctl.engines import Engine
from stackctl.errors import MissingPrerequisite, StackctlError, Unhealthy, UsageError
from stackctl.lifecycle.open_restore import refuse_half
from stackctl.process import ProcessFailed
from stackctl.stack import Stack

Heard = Callable[[dict[str, Any]], None]
"""Called with each event: ``event`` names it."""
_ERRORS: dict[int, type[StackctlError]] = {error.code: error for error in (UsageError, Unhealthy, MissingPrerequisite)}
_PATIENCE = 3.0


@dataclass(frozen=True)
class ScheduleReport:
    """The schedule that is declared against the one that lives.

    Attributes:
        declared: lines by job (``backup``, ``drill``) as stack.yaml has them, with the time zone.
        live: the same as the running scheduler has them, each with ``next`` and ``last``; None: it does not answer.
        problem: how they differ, as a sentence, or None.
    """

    declared: dict[str, dict[str, str]]
    live: dict[str, dict[str, Any]] | None
    problem: str | None

    def to_dict(self) -> dict[str, Any]:
        """Return the document that ``--json`` prints."""
        return {"declared": self.declared, "live": self.live, "agrees": self.problem is None, "problem": self.problem}


def run_backup(stack: Stack, engine: Engine, heard: Heard = lambda _event: None) -> dict[str, Any]:
    """Take a backup now and return its last event.

    Raises:
        StackctlError: it failed; the exit code is that of the error where the data is. Or a restore is half done:
            a snapshot of that would be the newest one.
    """
    refuse_half(stack)
    return _done(engine, ["python", "-m", "stackctl.backup.run"], "end", heard)


def ask(_stack: Stack, engine: Engine, words: Sequence[str], heard: Heard = lambda _event: None) -> dict[str, Any]:
    """Return what the repository answers to ``list``, ``show``, ``verify`` or ``prune`` and their arguments.

    Raises:
        StackctlError: it could not be answered.
    """
    return _done(engine, ["python", "-m", "stackctl.backup.ask", *words], "answer", heard)


def schedule_report(stack: Stack) -> ScheduleReport:
    """Compare the schedule of stack.yaml with that of the running scheduler."""
    return compare(stack, live_health(stack))


def compare(stack: Stack, health: dict[str, Any] | None) -> ScheduleReport:
    """Compare the schedule of stack.yaml with what the scheduler's ``/health`` says (None: it says nothing)."""
    settings = stack.settings.backup
    lines = {"backup": settings.schedule, "drill": settings.drill_schedule}
    declared = {name: {"line": line, "timezone": settings.timezone} for name, line in lines.items() if line}
    live = health.get("schedules") if health else None
    if "backup" not in declared:
        problem: str | None = "no backup is scheduled: stack.yaml has no backup.schedule"
    elif not isinstance(live, dict):
        problem = "the scheduler of backups does not answer"
        live = None
    else:
        wrong = [name for name in {**declared, **live} if not _same(declared.get(name), live.get(name))]
        problem = f"the schedule that runs is not the one in stack.yaml ({', '.join(wrong)})" if wrong else None
    return ScheduleReport(declared, live, problem)


def live_health(stack: Stack) -> dict[str, Any] | None:
    """Return what the running scheduler says of itself, or None."""
    connection = http.client.HTTPConnection("127.0.0.1", stack.settings.ports.backup, timeout=_PATIENCE)
    try:
        connection.request("GET", "/health")
        document = json.loads(connection.getresponse().read())
    except (OSError, http.client.HTTPException, ValueError):
        return None
    finally:
        connection.close()
    return document if isinstance(document, dict) else None


def _same(declared: dict[str, str] | None, live: Any) -> bool:
    if declared is None or not isinstance(live, dict):
        return declared is None and live is None
    return all(live.get(key) == value for key, value in declared.items())


def _done(engine: Engine, argv: Sequence[str], last: str, heard: Heard) -> dict[str, Any]:
    """Run a command where the data is, pass its events on, and return the one that ends it."""
    seen: dict[str, dict[str, Any]] = {}
    said: list[str] = []

    def on_line(line: str) -> None:
        event = _event(line)
        if event is None:
            said.append(line)
            return
        seen[str(event["event"])] = event
        if event["event"] not in {last, "end", "answer"}:
            heard(event)

    try:
        engine.run_once("backup", argv, on_line=on_line)
    except ProcessFailed as error:
        end = seen.get("end", {})
        if not end.get("message"):
            raise
        kind = _ERRORS.get(error.completed.returncode, StackctlError)
        raise kind(str(end["message"]), end.get("hint")) from error
    if last not in seen:
        raise StackctlError("\n".join(["The backup said nothing of its end:", *said[-20:]]), "See `stackctl doctor`.")
    return {key: value for key, value in seen[last].items() if key != "event"}


def _event(line: str) -> dict[str, Any] | None:
    try:
        document = json.loads(line)
    except ValueError:
        return None
    return document if isinstance(document, dict) and "event" in document else None
