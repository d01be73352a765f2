"""One stack with the database of an older MLflow: brought up to date, led back, restored in parts and elsewhere, swept.

The tests tell one story and build on each other.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from support.cli import Cli
from support.mlflow_contents import Contents
from support.older_mlflow import FILES, MODEL, RUN, SCHEMA, make_older_database, schema_of
from support.ports import usual_ports
from support.served import url_of
from support.stacks import Stacks

from stackctl.backup.freshness import TAKEN_TAG
from stackctl.backup.restore_schema import head, migrations, revisions
from stackctl.stack import Stack
from stackctl.store.urls import bucket_folder

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

WEIGHTS = next(key for key in FILES if key.endswith("weights"))


@dataclass
class Scene:
    """A stack that was upgraded.

    Attributes:
        stacks: where it and further ones lie.
        cli: its command line.
        said: what the ``up`` said that changed the schema.
        contents: what its MLflow holds.
    """

    stacks: Stacks
    cli: Cli
    said: str
    contents: Contents

    @property
    def folder(self) -> Path:
        """The stack's folder."""
        assert self.cli.folder is not None
        return self.cli.folder

    @property
    def database(self) -> Path:
        """MLflow's live database."""
        return self.folder / "var" / "mlflow" / "mlflow.db"

    @property
    def artifacts(self) -> Path:
        """The artifact bucket."""
        return bucket_folder(Stack.from_folder(self.folder), "mlflow")

    def snapshots(self) -> list[str]:
        """Return the ids of the snapshots, oldest first."""
        return [each["id"] for each in self.cli.json("backup", "list")["snapshots"]]

    def old(self) -> Path:
        """Return the folder of the snapshot that was taken before the schema changed."""
        return self.folder / "var" / "backups" / "snapshots" / self.snapshots()[0]

    def add_run(self, name: str) -> str:
        """Log a run, and return its id."""
        body = {"experiment_id": "1", "run_name": name, "start_time": 1}
        return str(self.contents.call("POST", "runs/create", body)["run"]["info"]["run_id"])


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    stacks = Stacks(tmp_path_factory.mktemp("variants"))
    try:
        cli = stacks.make("older", "local", "store=folder")
        assert cli.folder is not None
        made = Scene(stacks, cli, "", Contents(url_of(cli, "mlflow")))
        make_older_database(sys.executable, made.database)
        for key, data in FILES.items():
            file = made.artifacts / key
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data)
        made.said = cli.run("up").stderr
        yield made
    finally:
        stacks.destroy()


def assert_holds_the_old(contents: Contents) -> None:
    run = contents.runs()[RUN]
    assert (run["info"]["run_name"], run["info"]["status"]) == ("old", "FINISHED")
    assert run["params"] == [("größe", "ü 100 %")]
    assert [each["value"] for each in run["metrics"]["psnr"]] == [27.5, 28.25]
    assert set(run["artifacts"]) == set(FILES)
    model = contents.models()[MODEL]
    assert model["aliases"] == [("best", "1")]
    assert (model["versions"]["1"]["run_id"], model["versions"]["1"]["current_stage"]) == (RUN, "Archived")


def test_an_older_database_is_brought_up_to_date_after_a_snapshot_of_it_as_it_was(scene: Scene) -> None:
    assert f"from {SCHEMA} to" in scene.said
    assert "a snapshot first" in scene.said
    assert schema_of(scene.database) == head(revisions(migrations()))
    assert_holds_the_old(scene.contents)
    assert len(scene.snapshots()) == 1
    assert schema_of(scene.old() / "db" / "mlflow.db") == SCHEMA
    assert scene.cli.json("backup", "verify")["ok"]
    report = scene.cli.json("status")
    assert (report["state"], report["backup"]["snapshot"]) == ("healthy", scene.old().name)


def test_the_snapshot_leads_back_and_holds_the_database_for_the_older_mlflow(scene: Scene, tmp_path: Path) -> None:
    later = scene.add_run("later")
    restored = scene.cli.json("restore", scene.old().name, "--yes")
    assert restored["schema"] == {"snapshot": SCHEMA, "now": schema_of(scene.database)}
    assert later not in scene.contents.runs()
    assert_holds_the_old(scene.contents)
    scene.cli.run("restore", scene.old().name, "--only", "db", "--into", tmp_path / "plain")
    assert schema_of(tmp_path / "plain" / "db" / "mlflow.db") == SCHEMA


def test_objects_alone_leave_the_database_as_it_is(scene: Scene) -> None:
    later = scene.add_run("after the snapshot")
    (scene.artifacts / WEIGHTS).write_bytes(b"spoilt")
    restored = scene.cli.json("restore", scene.old().name, "--only", "objects", "--yes")
    assert restored["put"]["mlflow"] == {"added": 0, "replaced": 1, "same": 1, "bytes": len(FILES[WEIGHTS])}
    assert (scene.artifacts / WEIGHTS).read_bytes() == FILES[WEIGHTS]
    assert later in scene.contents.runs()


def test_a_new_stack_from_a_snapshot_and_then_a_part_into_it(scene: Scene) -> None:
    target = scene.stacks.folder / "second"
    second = Cli(target)
    scene.stacks.made.append(second)
    with usual_ports():
        restored = scene.cli.json("restore", scene.old().name, "--new-stack", "--into", target)
        assert restored["schema"]["snapshot"] == SCHEMA
        contents = Contents(url_of(second, "mlflow"))
        assert contents.url != scene.contents.url
        assert_holds_the_old(contents)
        contents.call("POST", "runs/delete", {"run_id": RUN})
        artifact = bucket_folder(Stack.from_folder(target), "mlflow") / WEIGHTS
        artifact.write_bytes(b"spoilt")
        assert "nobody is there to ask" in scene.cli.fails(2, "restore", "--into", target)
        scene.cli.run("restore", "--only", "db", "--into", target, "--yes")
        assert contents.runs()[RUN]["info"]["lifecycle_stage"] == "active"
        assert artifact.read_bytes() == b"spoilt"
        assert scene.cli.json("status")["state"] == "healthy", "the first one was left alone"


def test_gc_refuses_without_a_snapshot_and_goes_without_one_only_when_told(scene: Scene, tmp_path: Path) -> None:
    trashed = scene.add_run("nobody needs it")
    scene.contents.call("POST", "runs/delete", {"run_id": trashed})
    _age(scene.contents)
    (tmp_path / "env").symlink_to(str(shutil.which("env")))  # and no rsync
    poor = Cli(scene.folder, env={"PATH": str(tmp_path)})
    said = poor.fails(4, "gc", "--older-than", "0", "--yes")
    assert "There is no fresh snapshot, and none could be taken" in said
    assert "rsync" in said
    assert trashed in scene.contents.runs()
    done = scene.cli.run("gc", "--no-backup", "--older-than", "0", "--yes", "--json")
    assert "what is deleted now is gone for good" in done.stderr
    collected = json.loads(done.stdout)
    assert (collected["runs"], collected["snapshot"]) == ([trashed], None)
    assert trashed not in scene.contents.runs()


def _age(contents: Contents) -> None:
    """Have every snapshot that MLflow knows be from long ago."""
    query: dict[str, Any] = {"experiment_name": "_stack"}
    number = contents.call("GET", "experiments/get-by-name", query)["experiment"]["experiment_id"]
    for each in contents.call("POST", "runs/search", {"experiment_ids": [number]})["runs"]:
        body = {"run_id": each["info"]["run_id"], "key": TAKEN_TAG, "value": "2026-01-01T05:00:00Z"}
        contents.call("POST", "runs/set-tag", body)
