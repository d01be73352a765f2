"""What a snapshot holds, and what the next one shares with it."""

from __future__ import annotations

import os
import shutil
import socket
from datetime import timedelta
from pathlib import Path

import pytest
from support.backups import Backed, restored, runs_in
from support.local_stack import make_local_stack

from stackctl.backup import rsync
from stackctl.backup.repository import Busy
from stackctl.backup.space import NoRoom
from stackctl.backup.verify import verify
from stackctl.errors import MissingPrerequisite, StackctlError
from stackctl.process import run
from stackctl.stack.environment import local_environment
from stackctl.store.errors import StoreGone


@pytest.fixture
def backed(tmp_path: Path) -> Backed:
    """Return a stack's data with one run and one model version."""
    backed = Backed(tmp_path)
    backed.log_run(1)
    backed.register(1)
    return backed


def test_a_snapshot_holds_everything_and_latest_leads_to_it(backed: Backed) -> None:
    snapshot = backed.take()
    assert restored(snapshot) == backed.contents()
    assert runs_in(snapshot) == {f"{1:032x}"}
    assert {"stack/stack.yaml", "stack/pipeline/MLproject", "stack/versions.json"} <= set(snapshot.manifest.files)
    assert snapshot.manifest.versions["schemas"] == {"mlflow.db": "dc11669786a5"}
    assert snapshot.manifest.parts["objects"]["buckets"] == {"mlflow": "mlflow"}
    assert (backed.repository.root / "latest").resolve() == snapshot.folder.resolve()
    assert snapshot.manifest.closure.checked == 1
    assert verify(snapshot).problems == ()


def test_a_second_snapshot_of_the_same_shares_every_file_and_reads_no_object(backed: Backed) -> None:
    first = backed.take()
    backed.shelf.reads.clear()
    second = backed.take()
    assert backed.shelf.reads == []
    assert second.header["new_bytes"] == 0
    for path in first.manifest.files:
        assert (first.folder / path).samefile(second.folder / path), path


def test_what_changed_is_new_and_the_snapshot_before_keeps_what_it_had(backed: Backed) -> None:
    before = backed.contents()
    first = backed.take()
    key = next(iter(backed.shelf.objects))
    backed.shelf.objects[key] = b"another content of another length"
    (backed.inbound / "photo.png").write_bytes(b"another photo")
    backed.log_run(2)
    second = backed.take()
    assert restored(second) == backed.contents()
    assert restored(first) == before
    assert runs_in(first) < runs_in(second)
    assert verify(first).ok
    assert verify(second).ok


def test_what_was_deleted_is_in_the_snapshot_before_only(backed: Backed) -> None:
    first = backed.take()
    backed.shelf.objects.clear()
    shutil.rmtree(backed.inbound)
    second = backed.take()
    assert restored(second) == {}
    assert second.manifest.counts["objects/mlflow"] == {"files": 0, "bytes": 0}
    assert len(restored(first)) == 4
    assert verify(first).ok


def test_names_that_are_odd_links_and_empty_files_come_along(backed: Backed) -> None:
    (backed.inbound / os.fsdecode(b"not utf-8 \xff.png")).write_bytes(b"x")
    (backed.inbound / "new\nline %s *.png").write_bytes(b"")
    (backed.inbound / "link").symlink_to("photo.png")
    backed.shelf.objects["0/with space/ü%20+#?.bin"] = b"odd"
    snapshot = backed.take()
    del (contents := backed.contents())["data/inbound/link"]
    assert restored(snapshot) == contents
    assert snapshot.manifest.links == {"data/inbound/link": "photo.png"}
    assert verify(snapshot).problems == ()


def test_an_artifact_folder_is_copied_where_the_store_is_a_folder(backed: Backed) -> None:
    from dataclasses import replace

    from stackctl.backup.snapshot import take
    from stackctl.backup.sources import Bucket

    artifacts = backed.folder / "artifacts"
    for key, data in backed.shelf.objects.items():
        (artifacts / key).parent.mkdir(parents=True, exist_ok=True)
        (artifacts / key).write_bytes(data)
    sources = replace(backed.sources, buckets=(Bucket("mlflow", "mlflow", folder=artifacts),))
    first = take(sources, backed.repository)
    second = take(sources, backed.repository)
    assert restored(first) == restored(second) == backed.contents()
    assert second.header["new_bytes"] == 0
    assert first.manifest.closure.checked == 1


def test_a_stack_whose_mlflow_is_elsewhere_has_no_database_and_says_so(backed: Backed) -> None:
    from dataclasses import replace

    from stackctl.backup.snapshot import take

    snapshot = take(replace(backed.sources, databases=(), buckets=()), backed.repository)
    assert "MLflow is elsewhere" in snapshot.manifest.parts["db"]["why"]
    assert verify(snapshot).ok


@pytest.mark.parametrize("trouble", ["store gone", "database gone", "database damaged"])
def test_a_source_that_fails_leaves_nothing_half_and_the_snapshot_before_as_it_was(
    backed: Backed, trouble: str
) -> None:
    first = backed.take()
    kept = backed.database.read_bytes()
    backed.log_run(2)
    match trouble:
        case "store gone":
            backed.shelf.gone = True
        case "database gone":
            backed.database.unlink()
        case _:
            backed.database.write_bytes(kept[:4096] + b"\xff" * 4096 + kept[8192:])
    with pytest.raises(StackctlError):
        backed.take()
    assert backed.repository.partial() == []
    assert [snapshot.id for snapshot in backed.repository.snapshots()] == [first.id]
    assert verify(first).ok


def test_a_store_that_fails_half_way_is_not_read_again_from_the_start(backed: Backed) -> None:
    for number in range(2, 40):
        backed.log_run(number)

    def fail(key: str) -> None:
        backed.shelf.gone = len(backed.shelf.reads) > 20

    backed.shelf.before_read = fail
    with pytest.raises(StackctlError, match="object store failed"):
        backed.take()
    backed.shelf.gone = False
    backed.shelf.before_read = lambda _key: None
    already = set(backed.shelf.reads)
    backed.shelf.reads.clear()
    snapshot = backed.take()
    assert already.isdisjoint(backed.shelf.reads)
    assert restored(snapshot) == backed.contents()


def test_a_second_backup_at_the_same_time_is_told_who_is_at_work(backed: Backed) -> None:
    told: list[str] = []

    def again(step: str) -> None:
        if step == "objects":
            with pytest.raises(Busy) as refused:
                backed.take()
            told.append(refused.value.message)

    snapshot = backed.take(again)
    assert str(os.getpid()) in told[0]
    assert verify(snapshot).ok


def test_a_file_whose_bytes_changed_in_a_snapshot_is_not_shared_with_the_next(backed: Backed) -> None:
    from stackctl.backup.verify import check

    first = backed.take()
    for path in ("objects/mlflow/0/" + f"{1:032x}" + "/artifacts/log.txt", "data/inbound/photo.png", "db/mlflow.db"):
        file = first.folder / path
        status, data = file.stat(), bytearray(file.read_bytes())
        data[-1] ^= 1
        file.write_bytes(data)
        os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert len(check(backed.repository, first).damaged) == 3
    second = backed.take()
    assert restored(second) == backed.contents()
    assert check(backed.repository, second).ok


def test_without_rsync_the_command_that_installs_it_is_told(
    backed: Backed, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "apt-get").write_text("#!/bin/sh\n")
    (tmp_path / "bin" / "apt-get").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    with pytest.raises(MissingPrerequisite) as missing:
        backed.take()
    assert missing.value.code == 4
    assert "sudo apt-get install rsync" in str(missing.value.hint)
    assert not backed.repository.root.exists()


def test_an_rsync_that_fails_is_a_failure(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "target").write_text("a file is in the way")
    with pytest.raises((StackctlError, FileExistsError)):
        rsync.copy_tree(tmp_path / "source", tmp_path / "target", [])


def test_a_file_that_may_not_be_read_is_named_with_what_lets_it_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = tmp_path / "bin" / "rsync"
    fake.parent.mkdir()
    fake.write_text("#!/bin/sh\necho 'rsync: failed to open \"/photos/a.png\": Permission denied (13)'; exit 23\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", str(fake.parent), prepend=os.pathsep)
    with pytest.raises(StackctlError, match=r"a\.png") as caught:
        rsync.copy_tree(tmp_path, tmp_path / "target", [])
    assert f"user {os.getuid()}" in str(caught.value.hint)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk takes root")
def test_a_target_that_is_full_or_becomes_full_says_so_and_keeps_the_snapshot_before(backed: Backed) -> None:
    disk = backed.repository.root
    disk.mkdir()
    run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", disk])
    try:
        first = backed.take()
        (backed.inbound / "large.png").write_bytes(os.urandom(12 << 20))
        with pytest.raises(NoRoom, match="are free"):
            backed.take()
        (backed.inbound / "large.png").unlink()

        def fill(step: str) -> None:
            if step == "listed":
                status = os.statvfs(disk)
                with (disk / "somebody else's").open("wb") as handle:
                    os.posix_fallocate(handle.fileno(), 0, status.f_bavail * status.f_frsize)

        backed.log_run(2)
        with pytest.raises(NoRoom, match="is full"):
            backed.take(fill)
        assert backed.repository.partial() == []
        assert verify(first).ok
        (disk / "somebody else's").unlink()
        assert restored(backed.take()) == backed.contents()
    finally:
        run(["umount", disk])


def test_a_store_that_is_paused_is_given_up_like_one_that_is_gone(
    backed: Backed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes connections and never answers: the operating system does that for a process that was stopped."""
    from dataclasses import replace

    from stackctl.backup.snapshot import take
    from stackctl.backup.sources import Sources
    from stackctl.store import urls

    monkeypatch.setattr(urls, "TIMEOUT", timedelta(seconds=0.5))
    monkeypatch.setattr(urls, "RETRY_TIMEOUT", timedelta(seconds=0.1))
    first = backed.take()
    stack = make_local_stack(tmp_path / "other", store="minio")
    with socket.create_server(("127.0.0.1", stack.settings.ports.store)):
        paused = Sources.from_env({**local_environment(stack), "MLFLOW_TRACKING_URI": "http://127.0.0.1:9"}).buckets
        with pytest.raises(StoreGone, match="The object store failed"):
            take(replace(backed.sources, buckets=paused), backed.repository)
    assert backed.repository.partial() == []
    assert [snapshot.id for snapshot in backed.repository.snapshots()] == [first.id]
