"""Runs by their folders: found, listed, followed, seen to live and to have died."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stackctl import process
from stackctl.batch.events import EventLog
from stackctl.batch.outbox import FILE, Item, Outbox
from stackctl.batch.runs import RESUME, Run, Runs, RunState, follow, hold, state_of
from stackctl.errors import StackctlError, UsageError

COORDINATOR = """
import sys
import time
from pathlib import Path
from stackctl.batch.events import EventLog
from stackctl.batch.runs import hold
folder = Path(sys.argv[1])
held = hold(folder)
log = EventLog(folder / "events.jsonl")
log.say("begin", total=3, pending=2, skipped=1, known_bad=0)
time.sleep(600)
"""


@pytest.fixture
def runs(tmp_path: Path) -> Runs:
    return Runs(tmp_path)


def made(runs: Runs, name: str) -> Run:
    folder = runs.folder / "runs" / name
    folder.mkdir(parents=True)
    return Run(folder)


@pytest.fixture
def coordinated(runs: Runs) -> Iterator[tuple[Run, Any]]:
    """A run whose coordinator lives in a process of its own and waits."""
    run = runs.create()
    started = process.start([sys.executable, "-c", COORDINATOR, run.folder], log=run.log)
    try:
        yield run, started
    finally:
        process.stop(started)


def test_runs_are_listed_newest_first_and_found_by_any_part_of_their_name(runs: Runs) -> None:
    old, new = made(runs, "20261120-080501-ab12"), made(runs, "20261121-080501-cd34")
    made_by_others = runs.folder / "runs" / "notes"
    made_by_others.mkdir()
    assert [run.id for run in runs.all()] == [new.id, old.id]
    assert runs.find(None) == new
    assert runs.find("ab12") == old
    with pytest.raises(UsageError, match="2 runs have 080501") as caught:
        runs.find("080501")
    assert old.id in str(caught.value.hint)
    with pytest.raises(UsageError, match="no run ffff") as caught:
        runs.find("ffff")
    assert new.id in str(caught.value.hint)


def test_without_runs_a_person_is_told_how_to_start_one(runs: Runs) -> None:
    with pytest.raises(UsageError) as caught:
        runs.find(None)
    assert caught.value.hint == "Start one with `stackctl batch run`."


def test_old_runs_make_room_but_neither_one_that_goes_on_nor_one_that_mlflow_does_not_know(runs: Runs) -> None:
    names = [f"20261121-0805{second:02}-ab12" for second in range(8)]
    goes_on, undelivered, *_ = [made(runs, name) for name in names]
    held = hold(goes_on.folder)
    outbox = Outbox(undelivered.folder / FILE)
    outbox.put(Item("log", "run", {"params": {"a": "b"}}))
    outbox.close()
    runs.prune(3)
    assert [run.id for run in runs.all()] == [*names[:-4:-1], *names[1::-1]]
    os.close(held)


def test_a_run_is_held_by_one_process(runs: Runs) -> None:
    run = runs.create()
    assert not run.alive()
    held = hold(run.folder)
    assert run.alive()
    with pytest.raises(StackctlError, match="has a coordinator already"):
        hold(run.folder)
    os.close(held)
    assert not run.alive()


def test_events_are_followed_to_the_end_and_torn_lines_are_waited_for(runs: Runs) -> None:
    run = runs.create()
    held = hold(run.folder)
    events = follow(run)
    assert next(events) == {}
    with run.events.open("w") as handle:
        handle.write('{"event": "begin", "total": 1, "pending": 1}\n{"event": "ima')
        handle.flush()
        assert next(events)["event"] == "begin"
        assert next(events) == {}
        handle.write('ge", "status": "done"}\n{"event": "end", "status": "ok", "exit": 0}\n')
    os.close(held)
    assert [event["event"] for event in events] == ["image", "end"]


def test_a_coordinator_that_is_killed_is_noticed_and_the_person_told_to_run_it_again(
    coordinated: tuple[Run, Any],
) -> None:
    run, started = coordinated
    events = follow(run)
    for event in events:
        if event.get("event") == "begin":
            break
    assert state_of(run).phase == "running"
    started.kill()
    started.wait()
    last = [event for event in events if event][-1]
    assert (last["event"], last["exit"], last["hint"]) == ("end", 1, RESUME)
    assert "gone without a word" in last["message"]
    state = state_of(run)
    assert (state.phase, state.hint, state.pending) == ("died", RESUME, 2)


def test_a_coordinator_that_cannot_start_is_noticed_at_once_with_the_end_of_its_log(runs: Runs) -> None:
    run = runs.create()
    run.log.write_text("first line\nNo module named distributed\n")
    (last,) = follow(run, started=lambda: False)
    assert "did not start" in last["message"]
    assert "No module named distributed" in last["message"]


def test_the_state_of_a_run_with_many_events_is_read_from_their_edges(runs: Runs) -> None:
    run = runs.create()
    held = hold(run.folder)
    log = EventLog(run.events)
    log.say("begin", total=9000, pending=8000, skipped=1000, known_bad=3)
    log.say_all(
        [("image", {"name": f"photo-{number:06}.png", "status": "done", "seconds": 0.1}) for number in range(8000)]
    )
    log.say(
        "progress",
        done=8000,
        quarantined=2,
        pending=0,
        skipped=0,
        images_per_s=12.5,
        pixels_per_s=1e6,
        eta_s=0,
        workers=2,
    )
    state = state_of(run)
    assert (state.phase, state.total, state.done, state.skipped, state.workers) == ("running", 9000, 8000, 1000, 2)
    log.say("progress", done=8000, skipped=1, pending=0)
    assert state_of(run).skipped == 1001
    log.say("waiting", why="the disk is full")
    assert (state_of(run).phase, state_of(run).message) == ("waiting", "the disk is full")
    log.say("progress", done=8000, skipped=1, pending=0)
    assert (state_of(run).phase, state_of(run).message) == ("waiting", "the disk is full"), (
        "until it says that it goes on"
    )
    log.say("resumed")
    assert state_of(run).phase == "running"
    log.say("end", status="threshold", exit=1, message="Too many.", hint="Look.")
    os.close(held)
    state = state_of(run)
    assert (state.phase, state.exit, state.message, state.hint, state.live) == (
        "threshold",
        1,
        "Too many.",
        "Look.",
        False,
    )


def test_a_state_is_one_json_document() -> None:
    assert json.loads(json.dumps(RunState().to_dict()))["phase"] == "starting"
