"""Two real images of MLflow under Docker: from the older to the pinned one and back, nothing lost on either way.

The tests tell one story and build on each other.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from support.cli import Cli
from support.mlflow_contents import Contents
from support.older_image import older_image
from support.served import url_of
from support.stacks import Stacks

from stackctl import images
from stackctl.models.digest import digest_of_files

pytestmark = [pytest.mark.slow, pytest.mark.docker, pytest.mark.timeout(1200)]

OLDER = "3.8.1"
"""An MLflow whose schema lacks columns that the pinned one cannot start without."""
MODEL = "made-before"
FILES = {"MLmodel": b"flavors: {}\n", "weights": b"w" * 9000}


@dataclass
class Scene:
    """A stack under Docker that was filled while the older image ran.

    Attributes:
        cli: its command line.
        image: the older image.
        contents: what its MLflow holds now.
        before: all runs and all models as they were under the older image.
    """

    cli: Cli
    image: str
    contents: Contents
    before: tuple[dict[str, Any], dict[str, Any]]

    def take_older_image(self) -> None:
        """Name the older image as the stack's README says."""
        self._override.write_text(f"services:\n  mlflow:\n    image: {self.image}\n")

    def take_own_image(self) -> None:
        """Have the stack run its own image again: what an upgrade is."""
        self._override.unlink()

    @property
    def folder(self) -> Path:
        """The stack's folder."""
        assert self.cli.folder is not None
        return self.cli.folder

    @property
    def image_in(self) -> Path:
        """A file in a folder of this machine that only its owner may write."""
        return self.folder / "data" / "inbound" / "a.txt"

    @property
    def _override(self) -> Path:
        return self.folder / "compose.override.yaml"

    def version(self) -> str:
        """Return the version of the MLflow that runs."""
        return self.contents.client.get(f"{self.contents.url}/version").text

    def holds(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return all runs and all models."""
        return self.contents.runs(), self.contents.models()


@pytest.fixture(scope="module")
def scene(docker: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """Bring a stack up with the older image and log into it."""
    own = images.ensure(None, ["mlflow"], lambda _subject, _what: None)["mlflow"]
    with older_image(own, OLDER) as image:
        stacks = Stacks(tmp_path_factory.mktemp("upgrade"))
        try:
            cli = stacks.make("upgraded", "docker")
            made = Scene(cli, image, Contents(url_of(cli, "mlflow")), ({}, {}))
            made.take_older_image()
            cli.run("up")
            assert made.version() == OLDER
            fill(made.contents)
            made.before = made.holds()
            yield made
        finally:
            stacks.destroy()


def fill(contents: Contents) -> None:
    """Log two runs, one with a model's files, and register that with a digest, an alias, a stage and a tag."""
    number = contents.call("POST", "experiments/create", {"name": "of last year"})["experiment_id"]
    for name in ("first", "second"):
        info = contents.call("POST", "runs/create", {"experiment_id": number, "run_name": name, "start_time": 1})[
            "run"
        ]["info"]
        run = {"run_id": info["run_id"]}
        contents.call("POST", "runs/log-parameter", {**run, "key": "größe", "value": "ü 100 %"})
        for step in range(3):
            contents.call(
                "POST", "runs/log-metric", {**run, "key": "psnr", "value": 20 + step, "timestamp": step, "step": step}
            )
        path = info["artifact_uri"].removeprefix("mlflow-artifacts:/")
        for file, data in FILES.items():
            url = f"{contents.url}/api/2.0/mlflow-artifacts/artifacts/{path}/model/{file}"
            assert contents.client.put(url, content=data).is_success
        contents.call("POST", "runs/update", {**run, "status": "FINISHED", "end_time": 2})
    digest = digest_of_files({file: hashlib.sha256(data).hexdigest() for file, data in FILES.items()})
    tags = [{"key": "stackctl.digest", "value": digest}]
    version = {"name": MODEL, "run_id": info["run_id"], "source": f"{info['artifact_uri']}/model", "tags": tags}
    contents.call("POST", "registered-models/create", {"name": MODEL, "tags": [{"key": "owner", "value": "ann"}]})
    contents.call("POST", "model-versions/create", version)
    contents.call("POST", "registered-models/alias", {"name": MODEL, "alias": "best", "version": "1"})
    contents.call("POST", "model-versions/transition-stage", {"name": MODEL, "version": "1", "stage": "Staging"})


def test_an_upgrade_takes_a_snapshot_changes_the_schema_and_keeps_everything(scene: Scene) -> None:
    scene.image_in.write_text("as it was")
    scene.take_own_image()
    said = scene.cli.run("up").stderr
    assert "a snapshot first" in said
    assert scene.version() != OLDER
    assert scene.holds() == scene.before
    taken = scene.cli.json("backup", "show")
    assert taken["versions"]["mlflow"] == OLDER


def test_the_snapshot_leads_back_to_the_older_image_and_brings_folders_of_this_machine_too(scene: Scene) -> None:
    scene.contents.call("POST", "runs/create", {"experiment_id": "0", "run_name": "since the upgrade"})
    scene.image_in.write_text("spoilt")
    scene.take_older_image()
    refused = scene.cli.fails(1, "up")
    assert "this MLflow's newest is" in refused
    assert "stackctl restore" in refused
    assert scene.version() != OLDER, "what runs was left alone"
    restored = scene.cli.json("restore", "--yes")
    assert restored["schema"]["snapshot"] == restored["schema"]["now"]
    assert scene.version() == OLDER
    assert scene.holds() == scene.before
    assert restored["put"]["data"]["replaced"] == 1
    assert (scene.image_in.read_text(), scene.image_in.stat().st_uid) == ("as it was", os.getuid())
    assert scene.cli.json("status")["state"] == "healthy"
