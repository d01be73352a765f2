"""``restore`` and ``gc`` where nothing can be done: they say what is missing and change nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.cli import Cli
from support.local_stack import make_local_stack


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    return Cli(make_local_stack(tmp_path / "stack").home)


def test_options_that_need_another_one_say_which(cli: Cli) -> None:
    assert "Add --into DIR" in cli.fails(2, "restore", "--new-stack")
    assert "Add --new-stack" in cli.fails(2, "restore", "--engine", "docker")
    assert "Leave out --identity" in cli.fails(2, "restore", "--only", "db", "--identity", "key.txt")
    assert "key.txt cannot be read" in cli.fails(2, "restore", "--identity", "key.txt")


def test_without_a_snapshot_there_is_nothing_to_restore_and_nothing_is_stopped(cli: Cli) -> None:
    for words in (("restore", "--yes"), ("restore",), ("restore", "20260101"), ("restore", "no/such/folder")):
        said = cli.fails(2, *words)
        assert "There is no snapshot in" in said or "no/such/folder is no folder of a snapshot" in said
        assert "This replaces" not in said, "nobody is asked about a snapshot that is not there"
    assert "No restore is open here" in cli.fails(1, "restore", "--undo")
    assert cli.folder is not None
    assert not (cli.folder / ".stackctl" / "restore.json").exists()


def test_no_backup_is_warned_of_loudly(cli: Cli) -> None:
    assert cli.folder is not None
    note = cli.folder / ".stackctl" / "restore.json"
    note.parent.mkdir(exist_ok=True)
    note.write_text('{"snapshot": "ID", "only": null, "state": "applying"}')  # nothing starts on half a restore
    assert "there is no way back" in cli.fails(1, "up", "--no-backup", "--quiet")
    assert "what is deleted now is gone for good" in cli.fails(2, "gc", "--no-backup", "--quiet")


def test_gc_without_mlflow_deletes_nothing_because_no_snapshot_can_be_found_or_taken(cli: Cli) -> None:
    assert "MLflow cannot be reached" in cli.fails(3, "gc", "--yes")
