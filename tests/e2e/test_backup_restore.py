"""A stack is filled, backed up under a constant writer, destroyed, made anew and restored; then swept and drilled."""

from __future__ import annotations

import json
import shutil
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from support.cli import Cli
from support.golden import starter_pair
from support.mlflow_contents import Contents, Writer
from support.ports import usual_ports
from support.served import upload, upscale, url_of
from support.stacks import Stacks
from support.waiting import PATIENCE, eventually

from stackctl.process import start
from stackctl.stack import Stack
from stackctl.store.urls import open_store

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

NAME = "kept"


@dataclass
class Story:
    """What was there when the snapshot was taken, and the stack that was restored from it.

    Attributes:
        cli: the new stack, in the folder of the destroyed one.
        repository: the snapshots.
        before: runs and models that nobody wrote to during the backup.
        writer: what wrote all the time.
        began: when the backup began.
        answer: what the model server answered.
        shown: what the demo showed for the same image.
        restored: the document that ``restore`` printed.
    """

    cli: Cli
    repository: Path
    before: dict[str, Any]
    writer: Writer
    began: float
    answer: bytes
    shown: bytes
    restored: dict[str, Any]

    @property
    def snapshot(self) -> Path:
        """The folder of the snapshot."""
        return (self.repository / "latest").resolve()


@pytest.fixture(scope="module")
def stacks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stacks]:
    """Return a maker of stacks for the whole story."""
    maker = Stacks(tmp_path_factory.mktemp("restore"))
    yield maker
    maker.destroy()


@pytest.fixture(scope="module")
def story(stacks: Stacks) -> Story:
    """Tell it once; each test looks at one side of it."""
    repository = stacks.folder / "snapshots"
    cli = made(stacks, repository)
    cli.run("up")
    fill(cli)
    contents = Contents(url_of(cli, "mlflow"))
    writer = Writer(contents)
    image = starter_pair(1).input
    answer, shown = upscale(cli, image, format="png").data, upload(cli, image)
    before = {"runs": contents.runs(), "models": contents.models()}
    with writer.at_work():
        began = time.time()
        cli.run("backup")
    assert writer.errors == []

    cli.run("destroy", "--yes")
    assert cli.folder is not None
    shutil.rmtree(cli.folder)
    cli = made(stacks, repository)
    restored = cli.json("restore", "--yes")
    return Story(cli, repository, before, writer, began, answer, shown, restored)


def made(stacks: Stacks, repository: Path) -> Cli:
    """Make the stack, its snapshots in a folder that no ``destroy`` deletes."""
    cli = stacks.make(NAME, "local", "store=minio")
    assert cli.folder is not None
    settings = cli.folder / "stack.yaml"
    text = settings.read_text()
    assert "  target: null" in text
    settings.write_text(text.replace("  target: null", f"  target: {repository}"))
    return cli


def fill(cli: Cli) -> None:
    """Register both starters, promote, set a second alias, log runs of a person's own, and delete one of them."""
    cli.run("models", "import", "starter")
    cli.run("promote", "super-resolution", "1")
    contents = Contents(url_of(cli, "mlflow"))
    contents.call(
        "POST", "registered-models/alias", {"name": "super-resolution", "alias": "challenger", "version": "2"}
    )
    number = contents.call("POST", "experiments/create", {"name": "my own"})["experiment_id"]
    for count in range(3):
        info = contents.call("POST", "runs/create", {"experiment_id": number, "run_name": f"mine {count}"})["run"][
            "info"
        ]
        run = info["run_id"]
        contents.call("POST", "runs/log-parameter", {"run_id": run, "key": "größe", "value": "ü 100 %"})
        contents.call("POST", "runs/set-tag", {"run_id": run, "key": "note", "value": "two\nlines"})
        for step in range(5):
            metric = {"run_id": run, "key": "psnr", "value": 20.0 + step, "timestamp": step, "step": step}
            contents.call("POST", "runs/log-metric", metric)
        path = info["artifact_uri"].removeprefix("mlflow-artifacts:/")
        for name in ("a note.txt", "deep/er/data.bin", "empty"):
            data = b"" if name == "empty" else bytes(range(256)) * (count + 1)
            url = f"{contents.url}/api/2.0/mlflow-artifacts/artifacts/{path}/{name}"
            assert contents.client.put(url, content=data).is_success
        if count == 2:
            contents.call("POST", "runs/delete", {"run_id": run})


def test_every_run_artifact_version_alias_and_stage_is_there_again(story: Story) -> None:
    contents = Contents(url_of(story.cli, "mlflow"))
    runs = contents.runs(but=(story.writer.experiment,))
    assert runs == story.before["runs"]
    models = contents.models()
    del models[story.writer.model]
    assert models == story.before["models"]
    assert story.restored["production"] == "1"
    assert story.restored["golden"]["passed"]
    assert story.restored["schema"]["snapshot"] == story.restored["schema"]["now"]


def test_what_was_written_before_a_backup_began_is_in_it_and_every_version_in_it_is_whole(story: Story) -> None:
    contents = Contents(url_of(story.cli, "mlflow"))
    runs = contents.runs()
    ended = {run for run, moment in story.writer.acknowledged.items() if moment < story.began}
    assert len(ended) >= 2
    assert all(runs[run]["info"]["status"] == "FINISHED" for run in ended)
    closure = json.loads((story.snapshot / "manifest.json").read_text())["closure"]
    assert closure["holds"]
    versions = contents.models()[story.writer.model]["versions"]
    assert len(versions) >= 2
    for version in versions.values():  # also of those that came while the backup ran
        files = contents.artifacts(version["source"])
        assert {path.rpartition("/model/")[2] for path in files} == {"MLmodel", "data/weights"}


def test_the_model_server_and_the_demo_answer_with_the_same_bytes(story: Story) -> None:
    image = starter_pair(1).input
    answer = upscale(story.cli, image, format="png")
    assert (answer.version, answer.data) == ("1", story.answer)
    assert upload(story.cli, image) == story.shown


def test_a_restore_that_is_killed_keeps_services_down_until_it_is_run_again(story: Story) -> None:
    cli = story.cli
    contents = Contents(url_of(cli, "mlflow"))
    contents.call("DELETE", "registered-models/alias", {"name": "super-resolution", "alias": "challenger"})
    killed = start(
        [*cli.executable, "-C", str(cli.folder), "restore", "--yes"], log=story.repository.parent / "killed.log"
    )
    assert cli.folder is not None
    note = cli.folder / ".stackctl" / "restore.json"
    eventually(note.exists, "the note of a restore", running=killed, pause=0.02)
    killed.send_signal(signal.SIGKILL)
    killed.wait(PATIENCE)
    assert "restore was interrupted" not in cli.run("status", check=False).stderr
    assert "A restore of the snapshot" in cli.fails(1, "up")
    again = cli.json("restore", "--yes")
    assert again["production"] == "1"
    assert contents.models()["super-resolution"] == story.before["models"]["super-resolution"]
    assert not note.exists()


def test_gc_deletes_for_good_only_what_nothing_refers_to(story: Story) -> None:
    cli = story.cli
    contents = Contents(url_of(cli, "mlflow"))
    served = contents.models()["super-resolution"]["versions"]["1"]["run_id"]
    mine = next(run for run, each in story.before["runs"].items() if each["info"]["run_name"] == "mine 0")
    trashed = next(run for run, each in story.before["runs"].items() if each["info"]["run_name"] == "mine 2")
    contents.call("POST", "runs/delete", {"run_id": served})
    contents.call("POST", "runs/delete", {"run_id": mine})
    done = cli.json("gc", "--older-than", "0", "--yes")
    assert done["snapshot"], "a snapshot was taken, or was fresh"
    assert done["runs"] == [trashed]
    reasons = {each["id"]: each["reason"] for each in done["kept"]}
    assert "super-resolution version 1 comes from it" in reasons[served]
    assert "not deleted in the snapshot" in reasons[mine]
    runs = contents.runs()
    assert trashed not in runs
    assert runs[mine]["artifacts"] == story.before["runs"][mine]["artifacts"]
    answer = upscale(cli, starter_pair(1).input, format="png")
    assert answer.data == story.answer


def test_an_object_that_vanished_from_an_active_run_is_named_by_the_next_backup(story: Story) -> None:
    mine = next(each for each in story.before["runs"].values() if each["info"]["run_name"] == "mine 1")
    lost = next(key for key in mine["artifacts"] if key.endswith("/a note.txt"))
    assert story.cli.folder is not None
    open_store(Stack.from_folder(story.cli.folder), "s3://mlflow").delete(lost)
    assert f"⚠ {lost} is gone, though its run is active." in story.cli.run("backup").stderr
    shown = story.cli.json("backup", "show")
    assert (shown["closure"]["vanished"], shown["state"]) == ([lost], "verified")


def test_a_drill_restores_beside_the_stack_and_measures(story: Story) -> None:
    with usual_ports():
        done = story.cli.json("backup", "drill")
    assert done["ok"], done["problems"]
    assert done["production"] == "1"
    assert done["rto_seconds"] > 0
    assert done["rpo_seconds"] >= 0
    assert list(story.cli.folder.parent.glob(".*-drill-*")) == [] if story.cli.folder else False


@pytest.mark.docker
def test_the_same_snapshot_comes_to_life_on_the_other_engine(story: Story, stacks: Stacks, docker: None) -> None:
    cli = stacks.make("kept-docker", "docker")
    first = min((story.repository / "snapshots").iterdir())
    restored = cli.json("restore", str(first), "--yes")
    assert restored["golden"]["passed"]
    contents = Contents(url_of(cli, "mlflow"))
    assert contents.runs(but=(story.writer.experiment,)) == story.before["runs"]
    models = contents.models()
    del models[story.writer.model]
    assert models == story.before["models"]
    assert upscale(cli, starter_pair(1).input, format="png").data == story.answer
    assert upload(cli, starter_pair(1).input) == story.shown
    listed = cli.json("backup", "list")
    assert [each["id"] for each in listed["snapshots"]] == [first.name], "the new stack keeps what it came from"
