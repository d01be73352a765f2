"""The deployer: quickly against a registry in memory, slowly against a real MLflow and model servers that follow it."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from support.following_server import FollowingServer
from support.memory_mlflow import MemoryMlflow
from support.mlflow_server import MlflowServer
from support.promotions import QUICK, DyingTransport, Killed
from support.waiting import PATIENCE

from stackctl.errors import Unhealthy, UsageError
from stackctl.models import Registry, history, tags
from stackctl.models.clock import SystemClock
from stackctl.models.deployer import Deployer, Policy
from stackctl.models.deployer_health import Health, serve_health
from stackctl.models.gates import MetricGate
from stackctl.models.journal import Journal, close_journal, write_journal
from stackctl.models.targets import PRODUCTION, STAGING
from stackctl.stack import Stack

SAME = {tags.EVALUATION_DIGEST: "sha256:same"}


@dataclass
class Scene:
    """One model, its two model servers, and a deployer."""

    model: str
    mlflow: MlflowServer
    registry: Registry
    production: FollowingServer
    staging: FollowingServer
    policy: Policy

    def register(self, psnr: float | None, data: Mapping[str, str] = SAME) -> str:
        """Register one more version and return its run."""
        return self.mlflow.add_version(self.model, {} if psnr is None else {"psnr_y": psnr}, data)

    def deployer(self, registry: Registry | None = None) -> Deployer:
        """Return a deployer that has just started."""
        return Deployer(registry or self.registry, self.policy, Health(), deadlines=QUICK)

    def run(self) -> None:
        """Let a deployer that has just started decide all there is to decide."""
        deployer = self.deployer()
        while deployer.step():
            pass

    def at(self) -> tuple[str | None, str | None]:
        """Return the versions in Staging and in Production."""
        model = self.registry.model(self.model)
        assert model.production.agrees
        return model.aliases.get("staging"), model.production.version

    def decision(self, version: str) -> str | None:
        """Return what is tagged on a version."""
        text = self.registry.version(self.model, version).tags.get(tags.DEPLOYMENT)
        return None if text is None else str(json.loads(text)["decision"])


@contextmanager
def scene(mlflow: MlflowServer, model: str, *versions: float, staged: bool = True) -> Iterator[Scene]:
    mlflow.make_versions(model, 0)
    with (
        FollowingServer(mlflow.url, model) as production,
        FollowingServer(mlflow.url, model, STAGING) as staging,
        Registry(mlflow.url) as registry,
    ):
        targets = [(STAGING, (staging.url,)), (PRODUCTION, (production.url,))]
        policy = Policy(model, MetricGate("psnr_y"), tuple(targets if staged else targets[1:]), "deployer of test")
        found = Scene(model, mlflow, registry, production, staging, policy)
        for psnr in versions:
            found.register(psnr)
        yield found


def test_of_new_versions_those_that_measure_better_are_promoted_and_each_is_decided_once() -> None:
    mlflow = MemoryMlflow(versions=0)
    for psnr in (28.0, 27.9, 28.5):
        mlflow.add({"psnr_y": psnr}, SAME)
    policy = Policy("m", MetricGate("psnr_y"), ((STAGING, ()), (PRODUCTION, ())), "deployer of test")
    deployer = Deployer(mlflow.registry(), policy, Health(), deadlines=QUICK)
    assert [deployer.step() for _ in range(4)] == [True, True, True, False]
    decided = {number: json.loads(version["tags"][tags.DEPLOYMENT]) for number, version in mlflow.versions.items()}
    assert {number: decision["decision"] for number, decision in decided.items()} == {
        "1": "deployed",
        "2": "refused",
        "3": "deployed",
    }
    assert "27.9 against 28 of version 1" in decided["2"]["reason"]
    assert (mlflow.aliases, mlflow.stage("Production")) == ({"staging": "3", "production": "3"}, "3")


@pytest.mark.slow
def test_better_versions_go_to_staging_and_then_to_production(mlflow_server: MlflowServer) -> None:
    with scene(mlflow_server, "better", 28.0, 28.5) as stage:
        stage.run()
        assert stage.at()[1] == "2"
        assert (stage.staging.candidates_seen, stage.production.candidates_seen) == (["1", "2"], ["1", "2"])
        assert stage.production.version == "2"
        assert (stage.decision("1"), stage.decision("2")) == ("deployed", "deployed")
        events = [
            (event.action, event.target, event.version, event.by) for event in history.read(stage.registry, "better")
        ]
        assert events == [
            ("promote", target, version, "deployer of test")
            for version in ("2", "1")
            for target in ("production", "staging")
        ]


@pytest.mark.slow
def test_a_version_that_is_no_better_is_refused_with_both_figures_and_not_looked_at_again(
    mlflow_server: MlflowServer,
) -> None:
    with scene(mlflow_server, "worse", 28.5, 28.4) as stage:
        stage.run()
        assert stage.production.candidates_seen == ["1"]
        assert stage.at()[1] == "1"
        assert stage.decision("2") == "refused"
        text = stage.registry.version("worse", "2").tags[tags.DEPLOYMENT]
        assert "28.5" in text
        assert "28.4" in text
        newest = history.read(stage.registry, "worse")[0]
        assert (newest.action, newest.version) == ("refused", "2")
        assert stage.deployer().step() is False


@pytest.mark.slow
def test_a_version_that_staging_refuses_never_reaches_production(mlflow_server: MlflowServer) -> None:
    with scene(mlflow_server, "broken", 28.0, 29.0, 28.5) as stage:
        stage.staging.refuses["2"] = "golden output 0 differs"
        deployer = stage.deployer()
        deployer.step()
        with pytest.raises(Unhealthy, match="once more"):
            deployer.step()
        while deployer.step():
            pass
        assert stage.production.candidates_seen == ["1", "3"]
        assert stage.at()[1] == "3"
        assert "golden output 0 differs" in stage.registry.version("broken", "2").tags[tags.DEPLOYMENT]


@pytest.mark.slow
def test_without_a_staging_server_production_is_all_there_is(mlflow_server: MlflowServer) -> None:
    with scene(mlflow_server, "alone", 28.0, staged=False) as stage:
        stage.run()
        assert stage.at() == (None, "1")


@pytest.mark.slow
def test_a_version_waits_for_its_evaluation_and_holds_nobody_up(mlflow_server: MlflowServer) -> None:
    with scene(mlflow_server, "later", 28.0, staged=False) as stage:
        stage.run()
        run = stage.register(None)
        stage.register(28.1, {})
        stage.register(28.2)
        stage.run()
        assert stage.at()[1] == "4"
        assert (stage.decision("2"), stage.decision("3")) == (None, None)
        stage.mlflow.log_metric(run, "psnr_y", 30.0)
        stage.run()
        assert stage.at()[1] == "4", "registered before the champion"


@pytest.mark.slow
def test_what_a_person_rolled_back_or_archived_stays_so(mlflow_server: MlflowServer) -> None:
    from stackctl.models.promoter import Promoter
    from stackctl.models.servers import ModelServer

    with scene(mlflow_server, "by-hand", 28.0, 28.5, 28.6, staged=False) as stage:
        stage.registry.transition_stage("by-hand", "3", "Archived", archive_existing=False)
        servers = [ModelServer(stage.production.url)]
        person = Promoter(stage.registry, servers, owner="person", progress=lambda *_: None, deadlines=QUICK)
        for version in ("2", "1"):
            person.promote(stage.registry.version("by-hand", version))
        stage.run()
        assert stage.at()[1] == "1"


@pytest.mark.slow
def test_somebody_elses_promotion_is_waited_for(mlflow_server: MlflowServer) -> None:
    with scene(mlflow_server, "busy", 28.0, staged=False) as stage:
        theirs = Journal.begin(None, "1", by="somebody", now=datetime.now(UTC))
        write_journal(stage.registry, "busy", PRODUCTION, theirs)
        stage.run()
        assert stage.at()[1] is None
        close_journal(stage.registry, "busy", PRODUCTION)
        stage.run()
        assert stage.at()[1] == "1"


@pytest.mark.slow
@pytest.mark.parametrize("change", [2, 5, 8, 12])
@pytest.mark.parametrize("answered", [True, False])
def test_killed_between_two_calls_it_goes_on_after_its_restart(
    mlflow_server: MlflowServer, change: int, answered: bool
) -> None:
    with scene(mlflow_server, f"killed-{change}-{answered}", 28.0) as stage:
        dying = DyingTransport(change, answered=answered)
        with Registry(mlflow_server.url, transport=dying) as registry, pytest.raises(Killed):
            stage.deployer(registry).step()
        stage.run()
        assert stage.at()[1] == "1"
        assert stage.decision("1") == "deployed"
        arrivals = [event for event in history.read(stage.registry, stage.model) if event.target == "production"]
        assert len(arrivals) == 1


class Pauses(SystemClock):
    """Does not wait, remembers for how long, and ends the deployer at its n-th rest."""

    def __init__(self, number: int) -> None:
        self.seen: list[float] = []
        self._number = number

    def sleep(self, seconds: float) -> None:
        """Note a pause."""
        self.seen.append(seconds)
        if len(self.seen) == self._number:
            raise KeyboardInterrupt


def test_it_outlives_a_registry_that_is_away_and_asks_more_and_more_seldom() -> None:
    asked = 0

    def answer(request: httpx.Request) -> httpx.Response:
        nonlocal asked
        asked += 1
        if asked <= 6:
            raise httpx.ConnectError("refused", request=request)
        return httpx.Response(404, json={"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "none"})

    health, clock = Health(), Pauses(8)
    policy = Policy("away", MetricGate("psnr_y"), (), "deployer of test")
    with Registry("http://mlflow", transport=httpx.MockTransport(answer)) as registry:
        deployer = Deployer(registry, policy, health, clock=clock)
        with pytest.raises(KeyboardInterrupt):
            deployer.run()
    assert clock.seen == [4.0, 8.0, 16.0, 32.0, 60.0, 60.0, 2.0, 2.0]
    assert health.to_dict()["event"] == "watching"


def test_its_health_is_asked_over_http_and_is_bad_once_it_is_stuck(monkeypatch: pytest.MonkeyPatch) -> None:
    health = Health()
    with serve_health(health, "127.0.0.1", 0) as port:
        url = f"http://127.0.0.1:{port}/health"
        health.tell("waiting", "MLflow cannot be reached")
        with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
            assert json.load(answer)["detail"] == "MLflow cannot be reached"
        monkeypatch.setattr("stackctl.models.deployer_health.STUCK", -1.0)
        with pytest.raises(urllib.error.HTTPError, match="503"):
            urllib.request.urlopen(url, timeout=PATIENCE)


def test_the_policy_is_that_of_the_stack(tmp_path: Path) -> None:
    (tmp_path / "stack.yaml").write_text("name: tested\n")
    with pytest.raises(UsageError, match=r"deploy\.policy"):
        Policy.of(Stack.from_folder(tmp_path))
    (tmp_path / "stack.yaml").write_text("name: tested\ndeploy: {policy: auto, metric: loss, direction: lower}\n")
    policy = Policy.of(Stack.from_folder(tmp_path))
    assert policy.gate == MetricGate("loss", 0.0, "lower")
    assert [target for target, _ in policy.targets] == [PRODUCTION]
