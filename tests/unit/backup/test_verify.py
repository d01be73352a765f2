"""Whatever is done to a snapshot is named."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from support.backups import Backed

from stackctl.backup.repository import Snapshot
from stackctl.backup.restore_places import find
from stackctl.backup.verify import Verdict, check, check_new, verify

PHOTO = "data/inbound/photo.png"
LOG = f"objects/mlflow/0/{1:032x}/artifacts/log.txt"


@pytest.fixture(scope="module")
def taken(tmp_path_factory: pytest.TempPathFactory) -> Backed:
    """Return a stack's data with one snapshot of it."""
    backed = Backed(tmp_path_factory.mktemp("taken"))
    backed.log_run(1)
    backed.register(1)
    backed.take()
    return backed


@pytest.fixture
def snapshot(taken: Backed, tmp_path: Path) -> Snapshot:
    """Return a copy of the snapshot, to be spoilt."""
    original = taken.repository.find()
    shutil.copytree(original.folder, tmp_path / original.id)
    return Snapshot.load(tmp_path / original.id)


def _flip(file: Path) -> None:
    status, data = file.stat(), bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))  # as a disk does it


def _edit(file: Path, change: Callable[[dict[str, object]], None]) -> None:
    document = json.loads(file.read_text())
    change(document)
    file.write_text(json.dumps(document))


def _named(verdict: Verdict, path: str, words: str) -> bool:
    return path in verdict.damaged and any(path in text and words in text for text in verdict.problems)


def test_a_flipped_byte_is_named_when_every_byte_is_read(snapshot: Snapshot) -> None:
    _flip(snapshot.folder / LOG)
    assert _named(verify(snapshot), LOG, "bytes changed")
    assert verify(snapshot, deep=False).ok


def test_a_file_that_is_gone_shorter_or_more_is_named_without_reading_any(snapshot: Snapshot) -> None:
    (snapshot.folder / LOG).unlink()
    (snapshot.folder / "data/inbound/photo.png").write_bytes(b"a p")
    (snapshot.folder / "data/inbound/more.png").write_bytes(b"more")
    verdict = verify(snapshot, deep=False)
    assert _named(verdict, LOG, "missing")
    assert _named(verdict, "data/inbound/photo.png", "has 3 bytes, not 7")
    assert _named(verdict, "data/inbound/more.png", "not in the manifest")


@pytest.mark.parametrize("keep_digest", [False, True])
def test_an_edited_manifest_is_named(snapshot: Snapshot, taken: Backed, *, keep_digest: bool) -> None:
    import hashlib

    _edit(snapshot.folder / "manifest.json", lambda manifest: manifest["files"].pop(LOG))  # type: ignore[attr-defined]
    (snapshot.folder / LOG).unlink()
    if keep_digest:  # whoever edits the header as well is found by what the repository recorded
        digest = hashlib.sha256((snapshot.folder / "manifest.json").read_bytes()).hexdigest()
        _edit(snapshot.folder / "snapshot.json", lambda header: header.update(manifest=digest))
        snapshot = Snapshot.load(snapshot.folder)
    verdict = verify(snapshot, recorded=taken.repository.marks.recorded(snapshot.id))
    assert "manifest.json" in verdict.damaged


@pytest.mark.parametrize("recorded", [False, True])
def test_a_manifest_that_was_edited_with_its_header_says_nothing_of_later_snapshots(
    tmp_path: Path, *, recorded: bool
) -> None:
    import hashlib

    backed = Backed(tmp_path)
    backed.log_run(1)
    read, edited = backed.take(), backed.take()
    assert check_new(backed.repository, read).ok
    _edit(edited.folder / "manifest.json", lambda manifest: manifest["files"][PHOTO].__setitem__(0, "0" * 64))  # type: ignore[index]
    digest = hashlib.sha256((edited.folder / "manifest.json").read_bytes()).hexdigest()
    _edit(edited.folder / "snapshot.json", lambda header: header.update(manifest=digest))
    if recorded:  # then nothing gives it away but the bytes
        backed.repository.marks.record(edited.id, digest)
    found = check_new(backed.repository, later := backed.take())
    assert found.damaged == ((PHOTO,) if recorded else ())
    assert found.ok is verify(later).ok is not recorded


def test_a_manifest_that_is_gone_or_no_manifest_is_named(snapshot: Snapshot) -> None:
    (snapshot.folder / "manifest.json").write_text('{"files": []}')
    assert verify(snapshot).damaged == ("manifest.json",)
    (snapshot.folder / "manifest.json").unlink()
    assert not verify(Snapshot.load(snapshot.folder)).ok


def test_a_damaged_database_is_named(snapshot: Snapshot) -> None:
    file = snapshot.folder / "db" / "mlflow.db"
    data = file.read_bytes()
    file.write_bytes(data[:4096] + b"\xff" * 4096 + data[8192:])
    verdict = verify(snapshot, deep=False)
    assert any("db/mlflow.db" in text for text in verdict.problems)


def test_after_a_backup_only_what_is_new_is_read_and_all_of_it_when_the_rest_was_not_read_for_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from datetime import timedelta

    from stackctl.backup import verify as verify_module

    backed = Backed(tmp_path)
    backed.log_run(1)
    first = check_new(backed.repository, backed.take())
    assert first.bytes_read == sum(entry.size for entry in backed.repository.find().manifest.files.values())
    backed.shelf.objects["0/new"] = b"12345"
    second = backed.take()
    assert check_new(backed.repository, second).bytes_read == 5
    _flip(second.folder / LOG)
    assert check_new(backed.repository, backed.take()).ok
    monkeypatch.setattr(verify_module, "READ_AGAIN", timedelta())
    third = backed.take()
    assert check_new(backed.repository, third).damaged == (LOG,)
    monkeypatch.undo()
    last = backed.take()
    verdict = check_new(backed.repository, last)
    assert verdict.ok
    assert verdict.bytes_read == last.header["bytes"]


def test_what_was_found_is_remembered_and_a_damaged_snapshot_is_verified_no_more(taken: Backed) -> None:
    snapshot = taken.take()
    assert check(taken.repository, snapshot).ok
    assert snapshot.id in taken.repository.marks.verified()
    file = snapshot.folder / "db" / "mlflow.db"
    with sqlite3.connect(file) as connection:
        connection.execute("DELETE FROM tags")
    connection.close()
    assert check(taken.repository, snapshot).damaged == ("db/mlflow.db",)
    assert snapshot.id not in taken.repository.marks.verified()
    assert snapshot.id in taken.repository.marks.damaged()


def test_snapshots_that_share_a_damaged_file_are_damaged_too_and_none_of_them_is_restored_unasked(
    tmp_path: Path,
) -> None:
    backed = Backed(tmp_path)
    backed.log_run(1)
    alone = backed.take()
    shutil.copy2(alone.folder / LOG, alone.folder / "copy")
    (alone.folder / "copy").replace(alone.folder / LOG)  # its own file
    older, newer = backed.take(), backed.take()
    for each in (alone, older, newer):
        assert check(backed.repository, each).ok
    _flip(newer.folder / LOG)
    assert check(backed.repository, newer).also == (older.id,)
    assert backed.repository.marks.damaged()[older.id] == (LOG,)
    assert set(backed.repository.marks.verified()) == {alone.id}
    assert find(backed.repository, None).id == alone.id
    assert find(backed.repository, "latest").id == newer.id
