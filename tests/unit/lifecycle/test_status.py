"""What ``stackctl status`` says of the served version, against real HTTP answers of a registry and a model server."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import pytest
from support.fake_model_server import FakeModelServer
from unit.serving.fake_mlflow import FakeMlflow, FakeVersion

from stackctl.cli.services import _model_lines
from stackctl.engines import Engine, ServiceState
from stackctl.lifecycle.status import StackStatus, status
from stackctl.stack import Endpoints, Settings, Stack


class ModelServer(FakeModelServer):
    """One that can also tell of a death."""

    last_death: dict[str, str] | None = None

    def model(self) -> dict[str, Any]:
        return {**super().model(), "last_death": self.last_death}


@dataclass
class Scene:
    """A stack of which only the model server and the registry run."""

    mlflow: FakeMlflow
    server: ModelServer
    stack: Stack

    def status(self) -> StackStatus:
        return status(self.stack, cast("Engine", Running()))

    def problems(self) -> list[str]:
        return [problem for problem in self.status().problems if "version" in problem or "model" in problem]


class Running:
    """An engine that runs the model server alone."""

    name = "local"

    def states(self) -> list[ServiceState]:
        return [ServiceState("serving", "running")]

    def on_demand(self) -> list[ServiceState]:
        return []


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    mlflow = FakeMlflow("super-resolution")
    mlflow.versions = {number: FakeVersion(tmp_path) for number in ("1", "2")}
    mlflow.promote("1")
    mlflow.start()
    with ModelServer(version="1") as server:
        ports = {"serving": urlsplit(server.url).port}
        settings = Settings.parse({"name": "tested", "ports": ports, "store": {"kind": "folder"}})
        stack = Stack.from_env(
            {"STACKCTL_NAME": "tested", "STACKCTL_MODEL": "super-resolution", "MLFLOW_TRACKING_URI": mlflow.uri}
        )
        endpoints: Endpoints = replace(stack.endpoints, serving=server.url)
        yield Scene(mlflow, server, replace(stack, settings=settings, endpoints=endpoints, folder=tmp_path))
    mlflow.stop()


def test_a_server_that_serves_production_is_no_problem(scene: Scene) -> None:
    assert scene.problems() == []
    model = scene.status().to_dict()["model"]
    assert (model["served"], model["production"], model["agrees"], model["target"]) == ("1", "1", True, "production")


def test_a_version_promoted_elsewhere_that_fails_its_checks_is_named_with_the_servers_reason(scene: Scene) -> None:
    scene.mlflow.stages = {"2": "Production"}
    scene.server.error = "Version 2 is in Production but cannot be served: its golden image is 255 levels off."
    assert scene.problems() == [f"model super-resolution: {scene.server.error}"]
    assert scene.status().to_dict()["state"] == "degraded"


def test_a_server_that_lags_behind_is_told(scene: Scene) -> None:
    scene.mlflow.promote("2")
    assert scene.problems() == ["the model server serves version 1, but in Production is 2"]


def test_two_names_that_lead_to_different_versions_are_told(scene: Scene) -> None:
    scene.mlflow.stages = {"2": "Production"}
    assert scene.problems() == ["model super-resolution: stage (version 2) and alias (1) disagree"]


def test_a_process_that_memory_ended_is_shown_with_its_cause_though_all_is_well_again(scene: Scene) -> None:
    how = "was ended: it used 2000 MiB of memory, where 2048 MiB are the limit"
    scene.server.last_death = {"at": "2026-01-01T00:00:00Z", "version": "1", "how": how, "cause": "memory"}
    report = scene.status()
    assert report.model is not None
    assert report.model.agrees
    assert report.to_dict()["model"]["last_death"]["cause"] == "memory"
    assert how in "\n".join(_model_lines(cast("Any", Plain()), report.model))


class Plain:
    """A terminal without colours."""

    def paint(self, text: str, _: str) -> str:
        return text
