"""What a person is shown of what a backup says."""

from __future__ import annotations

import pytest

from stackctl.cli.backup_progress import watched
from stackctl.cli.output import Terminal

EVENTS = (
    {"event": "step", "name": "objects/mlflow", "done": 1, "bytes": 2048},
    {"event": "step", "name": "objects", "state": "done", "seconds": 1.0},
    {"event": "note", "text": "This is the first snapshot."},
    {"event": "warning", "text": "0/a is gone, though its run is active."},
    {"event": "removed", "snapshot": "X", "damaged": True},
)


def test_warnings_are_shown_as_such_and_even_where_nothing_else_is(capsys: pytest.CaptureFixture[str]) -> None:
    with watched(Terminal()) as heard:
        for event in EVENTS:
            heard(dict(event))
    said = capsys.readouterr().err
    assert "⚠ 0/a is gone, though its run is active." in said
    assert "  This is the first snapshot." in said
    assert [line for line in said.splitlines() if "objects" in line] == ["  objects/mlflow 1 file  2 KiB"]
    assert "  deleted X, which was damaged" in said
    with watched(Terminal(quiet=True)) as heard:
        for event in EVENTS:
            heard(dict(event))
    assert capsys.readouterr().err == "⚠ 0/a is gone, though its run is active.\n"
