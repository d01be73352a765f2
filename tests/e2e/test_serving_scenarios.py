"""A real registry and a real object store, and what users of the model server notice when something is wrong: nothing.

One stack per engine lives through all scenarios, in the order of this file; each begins and ends with version 1 in
Production.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import httpx
import pytest
from support.cli import Cli
from support.golden import starter_pair
from support.outages import kill, stopped
from support.served import served_model, url_of
from support.stacks import Stacks
from support.waiting import PATIENCE, eventually
from unit.serving.tiny_models import BLUE, RED, save_image_model

pytestmark = pytest.mark.slow

MODEL = "super-resolution"


@dataclass
class Scene:
    """A running stack with MinIO: versions 1 and 2 are the starter's, 1 is in Production."""

    cli: Cli
    engine: str
    serving: str
    mlflow: str

    def call(self, endpoint: str, **body: object) -> dict[str, Any]:
        """Call MLflow's REST API, as its UI and its clients do."""
        answer = httpx.post(f"{self.mlflow}/api/2.0/mlflow/{endpoint}", json=body, timeout=PATIENCE)
        assert answer.is_success, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def until(self, holds: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
        """Wait until the server's ``/model`` satisfies ``holds``."""
        deadline = time.monotonic() + PATIENCE
        shown: dict[str, Any] = {}
        while time.monotonic() < deadline:
            try:
                shown = served_model(self.cli) if not self.serving else httpx.get(f"{self.serving}/model").json()
                if holds(shown):
                    return shown
            except httpx.TransportError:
                pass
            time.sleep(0.1)
        pytest.fail(f"/model stayed {shown}\n{self.cli.run('logs', 'serving', '-n', '40', check=False).stdout}")

    def ready(self, version: str) -> None:
        """Wait until a version serves and answers."""
        self.until(lambda model: model["version"] == version and httpx.get(f"{self.serving}/ready").is_success)

    def register(self, folder: Path) -> str:
        """Upload a model that somebody made elsewhere and register it as an image model; return its version."""
        from mlflow import MlflowClient

        client = MlflowClient(self.mlflow)
        made = client.create_run("0")
        client.log_artifacts(made.info.run_id, str(folder), "model")
        client.set_terminated(made.info.run_id)
        tags = {"stackctl.contract": "image"}
        source = f"{made.info.artifact_uri}/model"
        return str(client.create_model_version(MODEL, source, made.info.run_id, tags=tags).version)


@pytest.fixture(scope="module", params=["local", pytest.param("docker", marks=pytest.mark.docker)])
def scene(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """Run the stack for all scenarios of one engine."""
    if request.param == "docker":
        request.getfixturevalue("docker")
    maker = Stacks(tmp_path_factory.mktemp("serving"))
    try:
        cli = maker.make(f"served-{request.param}", request.param, "store=minio")
        cli.run("up")
        cli.run("models", "import", "starter")
        cli.run("promote", MODEL, "1")
        yield Scene(cli, request.param, url_of(cli, "serving"), url_of(cli, "mlflow"))
    finally:
        maker.destroy()


def test_a_store_that_is_down_stops_a_promotion_and_nobody_elses_request(scene: Scene) -> None:
    with Users(scene) as users:
        with stopped(scene.cli, scene.engine, "store"):
            said = scene.cli.fails(1, "promote", MODEL, "2")
            assert "refused super-resolution version 2" in said
            users.pause()
            kill(scene.cli, scene.engine, "serving")
            scene.ready("1")  # it comes back without the store
            users.go_on()
        users.answered(5)
    assert users.versions == {"1"}
    assert scene.cli.json("status")["model"]["production"] == "1"


def test_mlflow_down_leaves_the_last_known_good_version_serving_even_over_a_restart(scene: Scene) -> None:
    scene.ready("1")
    with stopped(scene.cli, scene.engine, "mlflow"):
        scene.until(lambda model: model["stale_registry_since"])
        with Users(scene) as users:
            users.answered(3)
        kill(scene.cli, scene.engine, "serving")
        scene.until(lambda model: model["stale_registry_since"] and model["version"] == "1")
        scene.ready("1")
        assert httpx.get(f"{scene.serving}/ready", timeout=PATIENCE).json()["note"].startswith("stale registry since ")
        with Users(scene) as users:
            users.answered(3)
        assert scene.cli.run("status", check=False).returncode == 3
    scene.until(lambda model: model["stale_registry_since"] is None)


def test_a_bad_version_is_refused_with_the_servers_reason_and_production_is_as_it_was(
    scene: Scene, tmp_path: Path
) -> None:
    bad = scene.register(save_image_model(tmp_path / "bad", BLUE, golden_colour=RED))
    with Users(scene) as users:
        said = scene.cli.fails(1, "promote", MODEL, bad)
        assert "255 levels" in said
        users.answered(3)
    assert users.versions == {"1"}
    shown = scene.cli.json("models", "show", MODEL)
    assert (shown["stages"]["Production"], shown["aliases"]) == ("1", {"production": "1"})

    scene.call("model-versions/transition-stage", name=MODEL, version=bad, stage="Production",
               archive_existing_versions=True)  # fmt: skip
    with Users(scene) as users:
        scene.until(lambda model: "255 levels" in (model["error"] or ""))
        users.answered(3)
    assert users.versions == {"1"}
    report = scene.cli.json("status", codes=(3,))
    assert any("255 levels" in problem for problem in report["problems"])
    assert scene.cli.json("models", "show", MODEL)["aliases"] == {"production": "1"}
    scene.call("model-versions/transition-stage", name=MODEL, version="1", stage="Production",
               archive_existing_versions=True)  # fmt: skip
    scene.until(lambda model: model["error"] is None)


def test_the_old_stage_call_promotes_and_both_names_and_the_history_follow(scene: Scene) -> None:
    with Users(scene) as users:
        scene.call("model-versions/transition-stage", name=MODEL, version="2", stage="Production",
                   archive_existing_versions=True)  # fmt: skip
        scene.ready("2")
        users.answered(3)
    assert users.versions == {"1", "2"}
    eventually(
        lambda: scene.cli.json("models", "show", MODEL)["aliases"] == {"production": "2"}, "one name for what serves"
    )
    assert scene.cli.json("status")["state"] == "healthy"
    newest = scene.cli.json("history", MODEL)["events"][0]
    assert (newest["action"], newest["version"], newest["target"]) == ("elsewhere", "2", "production")
    scene.cli.run("promote", MODEL, "1")


def test_a_server_killed_in_the_middle_of_a_swap_comes_back_with_what_is_in_production(scene: Scene) -> None:
    promotion = threading.Thread(target=lambda: scene.cli.run("promote", MODEL, "2", "--no-wait", check=False))
    promotion.start()
    scene.until(lambda model: model["candidate"] or model["version"] == "2")
    kill(scene.cli, scene.engine, "serving")
    promotion.join()
    scene.cli.run("status", check=False)  # finishes or undoes what was interrupted
    shown = scene.cli.json("models", "show", MODEL)
    production = shown["aliases"]["production"]
    assert shown["stages"]["Production"] == production
    scene.ready(production)
    with Users(scene) as users:
        users.answered(3)
    assert users.versions == {production}
    scene.cli.run("promote", MODEL, "1")
    assert scene.cli.json("status")["state"] == "healthy"


class Users:
    """Clients that upscale without a pause and never see an error."""

    def __init__(self, scene: Scene) -> None:
        self.versions: set[str] = set()
        self._scene = scene
        self._answers: list[str] = []
        self._problems: list[str] = []
        self._stop = threading.Event()
        self._going = threading.Event()
        self._going.set()
        self._asking = [threading.Lock() for _ in range(2)]
        self._threads = [threading.Thread(target=self._ask, args=(lock,)) for lock in self._asking]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
        if kind is None:
            assert self._problems == []

    def pause(self) -> None:
        """Ask nothing more for now; what was asked is answered."""
        self._going.clear()
        for lock in self._asking:
            with lock:
                pass

    def go_on(self) -> None:
        """Ask again."""
        self._going.set()

    def answered(self, more: int) -> None:
        """Wait for some more answers."""
        wanted = len(self._answers) + more
        eventually(lambda: len(self._answers) >= wanted, f"{more} more answers", log=lambda: self._problems)

    def _ask(self, asking: threading.Lock) -> None:
        image = starter_pair(1).input
        with httpx.Client(timeout=PATIENCE) as http:
            while not self._stop.wait(0.1):
                with asking:
                    if self._going.is_set():
                        self._ask_once(http, image)

    def _ask_once(self, http: httpx.Client, image: bytes) -> None:
        try:
            answer = http.post(f"{self._scene.serving}/v1/image", content=image)
        except httpx.TransportError as error:
            self._problems.append(repr(error))
            return
        if answer.status_code != httpx.codes.OK:
            self._problems.append(f"{answer.status_code} {answer.text[:300]}")
        version = answer.headers.get("X-Stackctl-Model-Version", "none")
        self._answers.append(version)
        self.versions.add(version)
