"""What ``stackctl backup`` makes of what is said where the data is, and what ``status`` makes of the schedule."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, cast

import pytest

from stackctl.backup.freshness import Freshness
from stackctl.engines import Engine
from stackctl.errors import MissingPrerequisite, StackctlError, Unhealthy
from stackctl.lifecycle import open_restore
from stackctl.lifecycle.backup import ask, compare, run_backup
from stackctl.lifecycle.backup_status import report
from stackctl.process import Completed, ProcessFailed
from stackctl.stack import Stack

LIVE = {"schedules": {"backup": {"line": "0 5 * * 6", "timezone": "UTC", "next": "2026-11-28T05:00:00Z", "last": None}}}


def stack_of(folder: Path, text: str = "") -> Stack:
    (folder / "stack.yaml").write_text(f"name: mine\n{text or 'backup: {}'}")
    return Stack.from_folder(folder)


class Saying:
    """An engine whose command says these lines and ends with this status."""

    def __init__(self, status: int, *lines: dict[str, Any] | str) -> None:
        self.status = status
        self.lines = [line if isinstance(line, str) else json.dumps(line) for line in lines]
        self.asked: list[str] = []

    def run_once(self, environment: str, argv: Sequence[str], *, on_line: Callable[[str], None]) -> Completed:
        assert environment == "backup"
        self.asked = list(argv)
        for line in self.lines:
            on_line(line)
        done = Completed(tuple(argv), self.status, "\n".join(self.lines), "")
        if self.status:
            raise ProcessFailed(done)
        return done


def engine(status: int, *lines: dict[str, Any] | str) -> Engine:
    return cast("Engine", Saying(status, *lines))


def test_events_are_passed_on_and_the_last_one_is_the_answer(tmp_path: Path) -> None:
    heard: list[dict[str, Any]] = []
    step = {"event": "step", "name": "objects", "done": 1}
    end = {"event": "end", "status": "ok", "exit": 0, "snapshot": "X", "seconds": 1.0}
    done = run_backup(stack_of(tmp_path), engine(0, "a warning of some library", step, end), heard.append)
    assert heard == [step]
    assert done["snapshot"] == "X"


@pytest.mark.parametrize(("status", "kind"), [(1, StackctlError), (3, Unhealthy), (4, MissingPrerequisite)])
def test_what_fails_there_fails_here_with_the_same_words_and_exit_code(
    tmp_path: Path, status: int, kind: type[StackctlError]
) -> None:
    end = {"event": "end", "status": "failed", "exit": status, "message": "No rsync.", "hint": "Install it."}
    with pytest.raises(kind, match="No rsync") as raised:
        run_backup(stack_of(tmp_path), engine(status, end))
    assert (raised.value.code, raised.value.hint) == (status, "Install it.")


def test_half_a_restore_is_not_backed_up(tmp_path: Path) -> None:
    stack = stack_of(tmp_path)
    open_restore.begin(stack, "OLD")
    with pytest.raises(StackctlError, match="restore of the snapshot OLD has not ended"):
        run_backup(stack, engine(0, {"event": "end", "snapshot": "X"}))
    open_restore.applied(stack)
    assert run_backup(stack, engine(0, {"event": "end", "snapshot": "X"}))["snapshot"] == "X"


def test_a_command_that_is_killed_is_an_error_and_never_a_success(tmp_path: Path) -> None:
    with pytest.raises(ProcessFailed):
        run_backup(stack_of(tmp_path), engine(137, {"event": "step", "name": "objects"}))
    with pytest.raises(StackctlError, match="said nothing of its end"):
        ask(stack_of(tmp_path), engine(0, "nothing of use"), ["list"])


@pytest.mark.parametrize(
    ("text", "live", "problem"),
    [
        ("", LIVE, None),
        ("backup: {schedule: '0 5 * * 0'}", LIVE, "the schedule that runs is not the one in stack.yaml (backup)"),
        ("backup: {timezone: Europe/Berlin}", LIVE, "the schedule that runs is not the one in stack.yaml (backup)"),
        ("backup: {drill_schedule: '0 5 1 * *'}", LIVE, "the schedule that runs is not the one in stack.yaml (drill)"),
        ("backup: {schedule: null}", LIVE, "no backup is scheduled: stack.yaml has no backup.schedule"),
        ("", None, "the scheduler of backups does not answer"),
        ("", {"schedules": {}}, "the schedule that runs is not the one in stack.yaml (backup)"),
    ],
)
def test_declared_and_live_schedule_are_compared(
    tmp_path: Path, text: str, live: dict[str, Any] | None, problem: str | None
) -> None:
    assert compare(stack_of(tmp_path, text), live).problem == problem


def answered(freshness: Freshness | StackctlError) -> Future[Freshness]:
    future: Future[Freshness] = Future()
    if isinstance(freshness, StackctlError):
        future.set_exception(freshness)
    else:
        future.set_result(freshness)
    return future


def test_status_says_what_is_wrong_with_backups_and_nothing_where_all_is_well(tmp_path: Path) -> None:
    stack = stack_of(tmp_path)
    health = json.dumps({**LIVE, "snapshots": ["X"]}).encode()
    assert report(stack, answered(Freshness(snapshot="X")), health, running=True).problems == ()
    gone = report(stack, answered(Freshness(snapshot="Y")), health, running=True)
    assert gone.problems == ("the newest verified snapshot Y is gone from the repository",)
    old = report(stack, answered(Freshness(problem="too old")), health, running=True)
    assert old.problems == ("too old",)
    away = report(stack, answered(Unhealthy("MLflow cannot be reached.")), health, running=True)
    assert away.problems == ("the age of the newest backup is unknown: MLflow cannot be reached.",)
    # A scheduler that is not there is a service that is stopped: the list of services says that already.
    assert report(stack, answered(Freshness()), b"", running=False).problems == ()
