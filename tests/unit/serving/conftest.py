"""Models, a registry and a model server for the tests of serving."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.ports import free_port
from unit.serving.fake_mlflow import FakeMlflow, FakeVersion
from unit.serving.live_server import LiveServer
from unit.serving.tiny_models import BLUE, GREEN, RED, save_image_model, save_pyfunc_model

from stackctl.models.digest import digest_of_folder

StartServer = Callable[..., LiveServer]


@pytest.fixture(scope="session")
def saved_models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return saved models: two good ones, one that fails its golden images, one that knows no images."""
    root = tmp_path_factory.mktemp("models")
    return {
        "red": save_image_model(root / "red", RED),
        "green": save_image_model(root / "green", GREEN),
        "wrong": save_image_model(root / "wrong", BLUE, golden_colour=RED),
        "pyfunc": save_pyfunc_model(root / "pyfunc"),
    }


@pytest.fixture
def mlflow(saved_models: dict[str, Path], tmp_path: Path) -> Iterator[FakeMlflow]:
    """Run a registry: 1 (Production) is red, 2 green, 3 fails its golden images, 4 is no image model."""
    fake = FakeMlflow("tiny")
    for number, model in enumerate(("red", "green", "wrong", "pyfunc"), start=1):
        folder = shutil.copytree(saved_models[model], tmp_path / f"artifacts-{number}")
        add_version(fake, str(number), folder, "pyfunc" if model == "pyfunc" else "image")
    fake.promote("1")
    fake.start()
    yield fake
    fake.stop()


def add_version(fake: FakeMlflow, number: str, folder: Path, contract: str = "image") -> None:
    """Register the model in ``folder``."""
    tags = {"stackctl.digest": digest_of_folder(folder)}
    if contract == "image":
        tags["stackctl.contract"] = contract
    fake.versions[number] = FakeVersion(folder, tags, {"psnr_y": 30.0 + int(number)})


@pytest.fixture
def start_server(mlflow: FakeMlflow, tmp_path: Path) -> Iterator[StartServer]:
    """Return a function that starts a model server; every one has the same cache."""
    started: list[LiveServer] = []

    def start(**environ: str) -> LiveServer:
        log = tmp_path / f"serving-{len(started)}.log"
        server = LiveServer(mlflow, tmp_path / "cache", log, free_port(), **environ)
        started.append(server)
        return server

    yield start
    for server in started:
        server.stop()
