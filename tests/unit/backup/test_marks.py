"""Marks of snapshots, set by several at once."""

from __future__ import annotations

import multiprocessing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from support.backups import Backed

from stackctl.backup.repository import Repository, Snapshot
from stackctl.backup.verify import Gone, check
from stackctl.errors import StackctlError

NOW = datetime(2026, 11, 21, 5, 0, tzinfo=UTC)
WRITERS, EACH = 3, 20


def mark(root: Path, ids: list[str], together: Any) -> None:
    marks = Repository(root).marks
    together.wait()
    for identity in ids:
        marks.mark_verified(identity, NOW, read=NOW)
        if identity.endswith("0"):
            marks.mark_damaged(identity, ["a"], NOW)


def test_a_verification_beside_a_backup_loses_no_mark(tmp_path: Path) -> None:
    repository = Repository(tmp_path)
    repository.prepare()
    ids = [[f"{writer}-{number:02}" for number in range(EACH)] for writer in range(WRITERS)]
    for identity in (each for group in ids for each in group):
        (repository.home / identity).mkdir()
    context = multiprocessing.get_context("fork")
    together = context.Barrier(WRITERS)
    writers = [context.Process(target=mark, args=(tmp_path, group, together)) for group in ids]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    everything = {each for group in ids for each in group}
    assert set(repository.marks.damaged()) == {each for each in everything if each.endswith("0")}
    assert set(repository.marks.verified()) == {each for each in everything if not each.endswith("0")}


def test_a_snapshot_that_is_deleted_while_it_is_verified_is_not_called_damaged(tmp_path: Path) -> None:
    backed = Backed(tmp_path)
    snapshot = backed.take()
    backed.take()

    def delete(event: str, **fields: Any) -> None:
        if snapshot.folder.is_dir():
            backed.repository.remove(snapshot.id)

    with pytest.raises(Gone, match="was deleted while it was read"):
        check(backed.repository, Snapshot.load(snapshot.folder), events=delete)
    assert backed.repository.marks.damaged() == {}


def test_marks_that_cannot_be_kept_are_an_error_with_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(StackctlError, match=r"marks\.lock cannot be written") as raised:
        Repository(tmp_path / "gone").marks.mark_verified("X", NOW)
    assert "backup.target" in str(raised.value.hint)
