"""A restore on plain folders: interrupted at every single change, run again, undone."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import sqlite3
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from support.small_snapshot import NOW, THEN, Scene, contents_of, make_database, scene, write
from support.sudden_end import ends_at

from stackctl.backup import restore_databases
from stackctl.backup.events import quiet
from stackctl.backup.manifest import FILE, Entry, Manifest, sha256_of
from stackctl.backup.restore_places import find
from stackctl.backup.restore_run import apply, check, finish, plan, undo
from stackctl.backup.restore_schema import head, judge, migrations, revisions
from stackctl.errors import StackctlError, UsageError

STEP = 3
"""Every third change is tried; the offset differs from test to test."""


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Path]:
    """Return a folder in memory where there is one: what is tried a hundred times need not wait for a disk."""
    place = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=place if os.access(place, os.W_OK) else tmp_path) as folder:
        yield Path(folder)


@pytest.fixture
def small(tmp_path: Path) -> Scene:
    return scene(tmp_path / "one")


def whole(small: Scene, only: Any = None) -> dict[str, Any]:
    apply(small.live, small.snapshot, only, quiet)
    found = check(small.live, small.snapshot, only, quiet)
    finish(small.live, small.snapshot, only, quiet)
    return found


def assert_then(small: Scene) -> None:
    assert small.row() == "then"
    assert small.artifacts() == THEN
    data = contents_of(small.live.folder / "data")
    assert data == {"outbound/a.png": "a then", "outbound/b.png": "b", "inbound/late.png": "late"}
    assert not small.live.kept.exists()
    assert sorted(file.name for file in small.live.databases.iterdir()) == ["mlflow.db"]


def test_a_restore_brings_back_what_the_snapshot_has_and_keeps_nothing_that_came_later(small: Scene) -> None:
    assert plan(small.live, small.snapshot, None, quiet)["revision"] == "abc123"
    assert whole(small)["problems"] == []
    assert_then(small)


def test_a_restore_that_ends_suddenly_at_any_change_ends_right_when_it_is_run_again(memory: Path) -> None:
    for number in range(1, 1000, STEP):
        small = scene(memory / str(number))
        ended = ends_at(number, partial(whole, small))
        assert small.row() in {"now", "then"}
        if small.row() == "then" and not ended:  # the database never comes before its objects
            assert THEN.items() <= small.artifacts().items()
        whole(small)
        assert_then(small)
        if ended:
            assert number > 3 * STEP
            return


def test_a_restore_that_ends_suddenly_at_any_change_can_be_undone(memory: Path) -> None:
    for number in range(2, 1000, STEP):
        small = scene(memory / str(number))
        ended = ends_at(number, partial(apply, small.live, small.snapshot, None, quiet))
        undo(small.live, quiet)
        assert small.row() == "now"
        assert NOW.items() <= small.artifacts().items()
        assert (small.live.folder / "data/outbound/a.png").read_text() == "a now"
        if ended:
            assert number > 3 * STEP
            return


def test_what_is_written_once_the_services_run_again_survives_the_end_of_the_restore(small: Scene) -> None:
    apply(small.live, small.snapshot, None, quiet)
    written = {"3/fresh/artifacts/a.txt": "written after", "2/new/artifacts/later.txt": "written again"}
    write(small.live.stack.var / "artifacts", written)
    finish(small.live, small.snapshot, None, quiet)
    assert small.artifacts() == {**THEN, **written}


def test_links_the_pipeline_and_other_folders_come_back_and_settings_stay(small: Scene) -> None:
    manifest = Manifest.load(small.snapshot.folder / FILE)
    then = {"stack.yaml": "name: then", "pipeline/MLproject": "then", "datasets/a/b.csv": "then"}
    write(small.snapshot.folder / "stack", then)
    more = {f"stack/{path}": Entry(sha256_of(small.snapshot.folder / "stack" / path), len(then[path])) for path in then}
    links = {"data/inbound/link": "late.png", "stack/datasets/newest": "a"}
    changed = replace(manifest, files={**manifest.files, **more}, links=links)
    (small.snapshot.folder / FILE).write_text(json.dumps(changed.to_dict()))
    write(small.live.folder, {"pipeline/MLproject": "now", "pipeline/new.py": "now"})
    plan(small.live, small.snapshot, None, quiet)
    apply(small.live, small.snapshot, None, quiet)
    home = small.live.folder
    assert contents_of(home / "pipeline") == {"MLproject": "then", "new.py": "now"}
    assert (home / "datasets/newest/b.csv").read_text() == "then"
    assert (home / "data/inbound/link").read_text() == "late"
    assert (home / "stack.yaml").read_text().startswith("name: small")
    undo(small.live, quiet)
    assert (home / "pipeline/MLproject").read_text() == "now"


def test_a_part_alone_leaves_the_others_as_they_are(tmp_path: Path) -> None:
    database, results = scene(tmp_path / "db"), scene(tmp_path / "outbound")
    assert whole(database, "db")["problems"] == []
    assert (database.row(), database.artifacts()) == ("then", NOW)
    whole(results, "outbound")
    assert (results.row(), results.artifacts()) == ("now", NOW)
    assert contents_of(results.live.folder / "data")["outbound/b.png"] == "b"


def test_a_damaged_snapshot_changes_nothing(small: Scene) -> None:
    (small.snapshot.folder / "objects/mlflow/1/run/artifacts/same.txt").write_text("Same")
    with pytest.raises(StackctlError, match=r"is damaged: objects/mlflow/.*same\.txt is not what"):
        plan(small.live, small.snapshot, None, quiet)
    assert small.artifacts() == NOW


def test_the_journal_of_a_crashed_server_is_not_played_into_the_restored_database(small: Scene) -> None:
    (small.live.databases / "mlflow.db-journal").write_bytes(b"\xd9\xd5\x05\xf9 \xa1c\xd7" + b"\0" * 504)
    whole(small)
    assert_then(small)


def test_check_names_an_object_that_differs(small: Scene) -> None:
    apply(small.live, small.snapshot, None, quiet)
    (small.live.stack.var / "artifacts/1/run/artifacts/same.txt").write_text("Same")
    problems = check(small.live, small.snapshot, None, quiet)["problems"]
    assert problems == ["s3://mlflow/1/run/artifacts/same.txt is missing or differs from the snapshot"]


def test_secrets_of_webhooks_that_another_key_keeps_do_not_stop_mlflow(tmp_path: Path) -> None:
    from cryptography.fernet import Fernet

    ours, theirs = Fernet.generate_key(), Fernet.generate_key()
    file = tmp_path / "mlflow.db"
    make_database(file, "then")
    with contextlib.closing(sqlite3.connect(file)) as connection, connection:
        connection.executescript(
            "CREATE TABLE webhooks (webhook_id TEXT, name TEXT, secret TEXT, status TEXT);"
            "CREATE TABLE webhook_events (webhook_id TEXT);"
        )
        for name, key in (("stackctl-serving", theirs), ("chat", theirs), ("mail", ours)):
            row = (name, name, Fernet(key).encrypt(b"secret").decode(), "ACTIVE")
            connection.execute("INSERT INTO webhooks VALUES (?, ?, ?, ?)", row)
    assert restore_databases.drop_foreign_webhooks(file, ours.decode()) == ["chat"]
    with contextlib.closing(sqlite3.connect(file)) as connection:
        rows = connection.execute("SELECT name, secret IS NULL, status FROM webhooks ORDER BY name").fetchall()
    assert rows == [("chat", 1, "DISABLED"), ("mail", 0, "ACTIVE")]
    other = base64.urlsafe_b64encode(b"x" * 32).decode()
    assert restore_databases.drop_foreign_webhooks(file, other) == ["mail"]


def test_a_snapshot_is_found_by_its_id_the_beginning_of_it_or_its_folder(small: Scene) -> None:
    repository = small.live.repository
    words = (None, "latest", "20261114", small.snapshot.id, str(small.snapshot.folder))
    assert {find(repository, word).id for word in words} == {small.snapshot.id}
    with pytest.raises(UsageError, match="no folder of a snapshot"):
        find(repository, str(small.live.folder))


def test_mlflow_knows_its_own_schema_and_none_of_the_future() -> None:
    known = revisions(migrations())
    newest = head(known)
    assert newest is not None
    assert judge(newest, known)["state"] == "same"
    assert judge(str(known[newest]), known)["state"] == "older"
    assert judge("ffffffffffff", known)["state"] == "unknown"
