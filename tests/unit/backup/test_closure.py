"""What a database refers to is there, or is named."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.backups import Backed

from stackctl.backup.closure import LiveObjects, closure
from stackctl.backup.verify import verify


@pytest.fixture
def backed(tmp_path: Path) -> Backed:
    """Return a stack's data with a run and two versions."""
    backed = Backed(tmp_path)
    backed.log_run(1)
    backed.register(1)
    backed.register(2)
    return backed


def test_a_version_that_lacks_a_file_or_has_another_is_named_and_the_snapshot_is_not_verified(backed: Backed) -> None:
    del backed.shelf.objects[f"0/models/m-{1:032x}/artifacts/network.onnx"]
    backed.shelf.objects[f"0/models/m-{2:032x}/artifacts/extra"] = b"was not logged"
    snapshot = backed.take()
    found = snapshot.manifest.closure
    assert [sentence.split(" is ")[0] for sentence in found.incomplete] == [
        "Version 1 of super-resolution",
        "Version 2 of super-resolution",
    ]
    assert set(found.incomplete) <= set(verify(snapshot).problems)


def test_a_version_without_any_file_is_named_also_without_a_digest(backed: Backed) -> None:
    with backed.sql() as connection:
        connection.execute("DELETE FROM model_version_tags")
    backed.shelf.objects = {key: data for key, data in backed.shelf.objects.items() if f"m-{1:032x}" not in key}
    assert "has no files below" in backed.take().manifest.closure.incomplete[0]


def test_versions_that_are_not_ready_or_deleted_are_none_and_others_stores_are_noted(backed: Backed) -> None:
    row = ("INSERT INTO model_versions VALUES ('m', ?, ?, NULL, ?, ?)",)
    with backed.sql() as connection:
        connection.execute(*row, (1, "mlflow-artifacts:/gone", "PENDING_REGISTRATION", "None"))
        connection.execute(*row, (2, "mlflow-artifacts:/gone", "READY", "Deleted_Internal"))
        connection.execute(*row, (3, "s3://elsewhere/model", "READY", "None"))
    found = backed.take().manifest.closure
    assert found.holds
    assert found.checked == 3
    assert "s3://elsewhere/model" in found.notes[0]


def test_sources_by_run_and_by_logged_model_are_followed(backed: Backed) -> None:
    run = backed.log_run(7)
    model = f"m-{8:032x}"
    with backed.sql() as connection:
        connection.execute(
            "INSERT INTO logged_models VALUES (?, 'net', ?, 2, 'active')",
            (model, f"mlflow-artifacts:/0/models/{model}/artifacts"),
        )
        for version, source in ((1, f"runs:/{run}/model"), (2, f"models:/{model}")):
            connection.execute(
                "INSERT INTO model_versions VALUES ('m', ?, ?, NULL, 'READY', 'None')", (version, source)
            )
    backed.shelf.objects[f"0/{run}/artifacts/model/MLmodel"] = b"by run"
    assert len(backed.take().manifest.closure.incomplete) == 2
    backed.shelf.objects[f"0/models/{model}/artifacts/MLmodel"] = b"logged"
    found = backed.take().manifest.closure
    assert found.holds
    assert found.checked == 5


def test_an_object_that_vanished_from_an_active_run_is_named_once_and_from_a_deleted_one_not(backed: Backed) -> None:
    deleted = backed.log_run(2)
    backed.take()
    with backed.sql() as connection:
        connection.execute("UPDATE runs SET lifecycle_stage = 'deleted' WHERE run_uuid = ?", (deleted,))
    vanished = [key for key in backed.shelf.objects if "/artifacts/log.txt" in key]
    for key in vanished:
        del backed.shelf.objects[key]
    snapshot = backed.take()
    assert snapshot.manifest.closure.vanished == (f"0/{1:032x}/artifacts/log.txt",)
    assert verify(snapshot).ok
    assert backed.take().manifest.closure.vanished == ()


def test_a_row_that_refers_to_nothing_is_named_and_the_snapshot_is_taken_all_the_same(backed: Backed) -> None:
    with backed.sql() as connection:
        connection.execute("INSERT INTO tags VALUES ('no such run', 'key', 'value')")
    snapshot = backed.take()
    assert "refers to a row of runs that is not there" in snapshot.manifest.closure.incomplete[0]
    assert not verify(snapshot).ok


def test_live_objects_can_be_checked_as_well(backed: Backed) -> None:
    snapshot = backed.take()
    database = snapshot.folder / "db" / "mlflow.db"
    assert closure(database, LiveObjects(backed.shelf)).holds
    backed.shelf.objects[f"0/models/m-{2:032x}/artifacts/network.onnx"] = b"another network"
    assert "Version 2" in closure(database, LiveObjects(backed.shelf)).incomplete[0]
