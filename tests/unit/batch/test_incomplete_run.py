"""A folder of inputs that cannot be read: named, never silently left out, and no reason not to do the others."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from stackctl.batch import elsewhere
from stackctl.batch.coordinator import Coordinator, Ended
from stackctl.batch.events import EventLog, read
from stackctl.batch.order import Order, OrderedModel


def dry_run(folder: Path) -> tuple[Ended, list[dict[str, Any]]]:
    """Do a dry run between two folders."""
    run = folder / "batch" / "runs" / "run"
    run.mkdir(parents=True, exist_ok=True)
    first, second, third = (str(folder / part) for part in ("in", "out", "bad"))
    order = Order("run", "now", first, second, third, OrderedModel("m", "1", "sha256:aa"), dry_run=True)
    events = EventLog(run / "events.jsonl")
    ended = Coordinator(run, order, events, stop=lambda: False).run()  # type: ignore[arg-type]
    events.close()
    return ended, [event for event, _ in read(run / "events.jsonl")]


def test_a_folder_that_cannot_be_read_is_named_and_the_run_is_no_success(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for part in ("in/a.png", "in/locked/b.png", "in/sub/c.png", "out/x", "bad/x"):
        (tmp_path / part).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / part).write_bytes(b"x")
    scandir = os.scandir

    def locked(folder: str | Path) -> os._ScandirIterator[str]:
        if Path(folder).name == "locked":
            raise PermissionError(errno.EACCES, "Permission denied")
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", locked)
    ended, events = dry_run(tmp_path)
    why = f"{tmp_path / 'in' / 'locked'} cannot be read: Permission denied."
    assert (ended.status, ended.exit) == ("incomplete", 1)
    assert why in str(ended.message)
    assert {"event": "note", "text": f"Not looked at: {why}"}.items() <= events[0].items()
    [begun] = [event for event in events if event["event"] == "begin"]
    assert begun["total"] == begun["pending"] == 2


def test_an_image_that_could_not_be_brought_is_named_and_the_run_is_no_success(tmp_path: Path) -> None:
    for part in ("in", "out", "bad", "batch/runs/run"):
        (tmp_path / part).mkdir(parents=True)
    elsewhere.leave_behind(tmp_path / "batch" / "runs" / "run", ["a.png stays behind."])
    ended, events = dry_run(tmp_path)
    assert (ended.status, ended.exit) == ("incomplete", 1)
    assert events[0]["text"] == "Not looked at: a.png stays behind."
