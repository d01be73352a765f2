"""Snapshots in their order, whatever the clock says; and nobody but one at work."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from support.backups import Backed

from stackctl.backup.repository import Busy, Repository
from stackctl.backup.snapshot import take
from stackctl.backup.verify import verify
from stackctl.errors import StackctlError, UsageError


@pytest.fixture
def backed(tmp_path: Path) -> Backed:
    """Return a stack's data."""
    backed = Backed(tmp_path)
    backed.log_run(1)
    return backed


def test_a_clock_that_goes_back_and_forth_changes_no_order(backed: Backed) -> None:
    now = datetime(2026, 11, 21, 5, 0, tzinfo=UTC)
    moments = [now, now - timedelta(days=8), now + timedelta(days=8), now, now]
    taken = [take(backed.sources, backed.repository, now=lambda moment=moment: moment) for moment in moments]  # type: ignore[misc]
    assert [snapshot.at for snapshot in taken] == moments
    assert [snapshot.id for snapshot in backed.repository.snapshots()] == [snapshot.id for snapshot in taken]
    assert len({snapshot.id for snapshot in taken}) == 5
    assert (backed.repository.root / "latest").resolve() == taken[-1].folder.resolve()
    assert taken[-1].header["new_bytes"] == 0
    assert all(verify(snapshot).ok for snapshot in taken)


def test_a_removed_snapshot_is_gone_as_a_whole_and_the_others_stay_right(backed: Backed) -> None:
    first, second = backed.take(), backed.take()
    with backed.repository.lock("prune"):
        backed.repository.remove(second.id)
    assert (backed.repository.root / "latest").resolve() == first.folder.resolve()
    assert verify(first).ok
    assert backed.repository.marks.recorded(second.id) is None
    with backed.repository.lock("prune"):
        backed.repository.remove(first.id)
    assert backed.repository.latest() is None
    assert not (backed.repository.root / "latest").is_symlink()
    assert verify(backed.take()).ok


def test_a_removal_that_was_interrupted_is_finished_by_the_next_backup(backed: Backed) -> None:
    first = backed.take()
    first.folder.rename(backed.repository.root / f".removed-{first.id}")
    second = backed.take()
    assert [path.name for path in backed.repository.root.glob(".*")] == []
    assert [snapshot.id for snapshot in backed.repository.snapshots()] == [second.id]


def test_readers_share_the_repository_and_keep_writers_out(backed: Backed) -> None:
    backed.repository.prepare()
    other = Repository(backed.repository.root)
    with backed.repository.lock("restore", shared=True), other.lock("drill", shared=True), pytest.raises(Busy):
        backed.take()
    with backed.repository.lock("backup"), pytest.raises(Busy, match="backup since"), other.lock(shared=True):
        pass


def test_a_snapshot_is_found_by_the_beginning_of_its_id(backed: Backed) -> None:
    snapshot = backed.take()
    assert backed.repository.find(snapshot.id[:12]).id == backed.repository.find("latest").id == snapshot.id
    with pytest.raises(UsageError) as unknown:
        backed.repository.find("1999")
    assert snapshot.id in str(unknown.value.hint)


def test_a_folder_that_lost_its_header_is_no_snapshot_and_is_named(backed: Backed) -> None:
    snapshot = backed.take()
    (snapshot.folder / "snapshot.json").write_text("{")
    assert backed.repository.snapshots() == []
    assert backed.repository.unreadable() == [snapshot.folder]
    assert verify(backed.take()).ok


def test_a_target_that_cannot_be_made_says_where(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(StackctlError, match="backup target"):
        Repository(tmp_path / "file" / "backups").prepare()


def test_a_target_without_the_snapshots_that_mlflow_knows_of_is_suspicious(backed: Backed) -> None:
    def said() -> list[tuple[str, str]]:
        told: list[tuple[str, str]] = []
        take(backed.sources, backed.repository, events=lambda event, **more: told.append((event, more.get("text", ""))))
        return [(event, text) for event, text in told if "snapshot" in text and "secrets" not in text]

    assert said()[0][0] == "note"
    assert said() == []
    run = backed.log_run(2)
    with backed.sql() as connection:
        tags = [(run, "stackctl.stack", "tested"), (run, "stackctl.backup.snapshot", "20260101T000000Z-abcd")]
        connection.executemany("INSERT INTO tags VALUES (?, ?, ?)", tags)
    backed.repository.root.rename(backed.folder / "unmounted")
    ((event, text),) = said()
    assert event == "warning"
    assert "Is the right disk mounted" in text


def test_a_target_that_goes_away_meanwhile_is_a_failure(backed: Backed) -> None:
    import shutil

    with pytest.raises(StackctlError):
        backed.take(lambda step: shutil.rmtree(backed.repository.root) if step == "listed" else None)
