"""The commands around a promotion, as processes of their own against a real MLflow server."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from support.cli import HEAVY, Cli, loaded_by
from support.following_server import FollowingServer
from support.mlflow_server import MlflowServer
from support.promotions import Scene, scene
from support.waiting import PATIENCE, eventually

from stackctl import process
from stackctl.models.history import read
from stackctl.models.targets import STAGING

pytestmark = pytest.mark.slow

MODEL = "commands"


@pytest.fixture
def stage(mlflow_server: MlflowServer, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Scene]:
    with scene(mlflow_server, tmp_path / "stack", f"{MODEL}-{request.node.name}"[:90], versions=3) as set_up:
        write_settings(set_up)
        yield set_up


def write_settings(stage: Scene, folder: Path | None = None) -> Path:
    """Write the stack's settings, so that processes of their own find it."""
    folder = folder or stage.stack.home
    folder.mkdir(parents=True, exist_ok=True)
    ports = {"mlflow": stage.stack.endpoints.mlflow, "serving": stage.server.url}
    lines = "".join(f"  {name}: {url.rsplit(':', 1)[-1]}\n" for name, url in ports.items())
    (folder / "stack.yaml").write_text(f"name: test-stack\nmodel: {stage.model}\nports:\n{lines}")
    return folder


def test_promote_rollback_and_history_tell_one_story_that_outlives_the_folder(stage: Scene, tmp_path: Path) -> None:
    cli = Cli(stage.stack.home)
    cli.run("promote", stage.model, "v1")
    assert f"{stage.model}: 1 → 3" in cli.run("promote", stage.model, "latest").stdout
    run_id = stage.registry.version(stage.model, "2").run_id or ""
    assert cli.json("promote", stage.model, run_id)["previous"] == "3"
    assert cli.json("rollback", stage.model)["version"] == "3"
    assert cli.json("promote", stage.model, "@production")["changed"] is False
    elsewhere = Cli(write_settings(stage, tmp_path / "another"))
    events = elsewhere.json("history")["events"]
    steps = [(event["action"], event["previous"], event["version"]) for event in events]
    assert steps == [("rollback", "2", "3"), ("promote", "3", "2"), ("promote", "1", "3"), ("promote", None, "1")]
    table = elsewhere.run("history", stage.model).stdout
    assert "rolled back from version 2" in table


def test_a_dry_run_prepares_on_the_server_and_changes_nothing(stage: Scene) -> None:
    stage.promote("1")
    cli = Cli(stage.stack.home)
    assert "1 → 2 would go through" in cli.run("promote", stage.model, "2", "--dry-run").stdout
    assert "2" in stage.server.candidates_seen
    assert stage.state() == ("1", "1", None, False)
    stage.server.refuses["3"] = "golden pair 00 differs by 9 levels"
    assert "9 levels" in cli.fails(1, "promote", stage.model, "3", "--dry-run")
    assert [event.version for event in read(stage.registry, stage.model)] == ["1"]


def test_a_refusal_by_the_metric_gate_quotes_both_figures(stage: Scene, mlflow_server: MlflowServer) -> None:
    stage.promote("1")
    for number, value in (("2", 28.4), ("3", 29.5)):
        run_id = stage.registry.version(stage.model, number).run_id
        mlflow_server.call(
            "POST", "runs/log-metric", {"run_id": run_id, "key": "psnr_y", "value": value, "timestamp": 2}
        )
    cli = Cli(stage.stack.home)
    assert "different data" in cli.fails(1, "promote", stage.model, "3", "--if-better", "psnr_y")
    for number in ("1", "2", "3"):
        stage.registry.set_version_tag(stage.model, number, "stackctl.evaluation.digest", "sha256:photos")
    told = cli.fails(1, "promote", stage.model, "2", "--if-better", "psnr_y")
    assert "psnr_y 28.4 against 28.5 of version 1 in Production" in told
    gate = ("--if-better", "psnr_y", "--min-delta", "0.5")
    assert cli.json("promote", stage.model, "3", *gate)["gates"][-1]["figures"]["psnr_y"] == 29.5
    assert stage.state() == ("3", "3", None, False)


def test_words_that_name_nothing_get_a_sentence_and_a_way_on(stage: Scene) -> None:
    cli = Cli(stage.stack.home)
    for code, words, told in (
        (1, ("a/b?c", "1"), "There is no model a/b?c."),
        (1, ("a?b&c", "1"), "There is no model a?b&c."),
        (1, (stage.model, "@nobody"), "has no alias nobody"),
        (1, (stage.model, "0" * 31 + "f"), "no version that run"),
        (1, (stage.model, "9"), "has no version 9. Known: 1, 2, 3."),
        (2, (stage.model, "newest"), "is not a version"),
        (2, (stage.model, "1", "--to", "moon"), "no target"),
        (2, (stage.model, "1", "--min-delta", "1"), "--if-better"),
    ):
        assert told in cli.fails(code, "promote", *words)
    assert "in Production yet" in cli.fails(1, "rollback", stage.model)
    assert "Nothing was promoted yet" in cli.run("history").stderr


def test_staging_has_a_server_of_its_own(stage: Scene) -> None:
    stage.promote("1")
    with FollowingServer(stage.stack.endpoints.mlflow, stage.model, STAGING) as staging:
        endpoints = replace(stage.stack.endpoints, serving_staging=staging.url)
        both = replace(stage, stack=replace(stage.stack, endpoints=endpoints))
        assert both.promote("2", STAGING).live_seconds is not None
        assert (stage.server.version, staging.version) == ("1", "2")
        staging.refuses["3"] = "no"
        with pytest.raises(Exception, match="refused"):
            both.promote("3", STAGING)
        assert both.promote("2").previous == "1"
        assert (stage.server.version, staging.version) == ("2", "2")


def test_a_promotion_by_the_old_stage_api_is_followed_aligned_and_told_as_made_elsewhere(stage: Scene) -> None:
    stage.server.aligns = True
    stage.promote("1")
    stage.registry.transition_stage(stage.model, "2", "Production")
    eventually(lambda: read(stage.registry, stage.model)[0].action == "elsewhere", "the record of it")
    assert stage.state() == ("2", "2", None, False)
    assert stage.server.version == "2"
    event = read(stage.registry, stage.model)[0]
    assert (event.previous, event.version, event.by) == ("1", "2", "serving@test")
    assert stage.promote("1").previous == "2"


def test_promotion_and_completion_import_nothing_heavy(stage: Scene) -> None:
    assert loaded_by("-C", stage.stack.home, "promote", stage.model, "1") & HEAVY == set()
    assert stage.state() == ("1", "1", None, False)
    completing = completion("promote", stage.model, "")
    assert loaded_by(cwd=stage.stack.home, env=completing) & HEAVY == set()


def test_the_shell_completes_models_and_versions_from_the_live_registry(stage: Scene, tmp_path: Path) -> None:
    stage.promote("1")
    eventually(lambda: stage.model in complete(stage, "promote", stage.model[:-1]), "the model")
    eventually(
        lambda: complete(stage, "promote", stage.model, "") == ["3", "2", "1", "latest", "@production"],
        "an answer of MLflow in time",
    )
    eventually(
        lambda: complete(stage, "rollback", stage.model, "--to-version", "@") == ["@production"],
        "an answer of MLflow in time",
    )
    eventually(lambda: complete(stage, "models", "show", stage.model, "l") == ["latest"], "an answer of MLflow in time")
    eventually(
        lambda: complete(stage, "promote", stage.model, "1", "--to", "s") == ["staging"], "an answer of MLflow in time"
    )
    assert complete(stage, "promote", stage.model, "", folder=tmp_path) == []  # no stack: silence
    (stage.stack.home / "stack.yaml").write_text("name: test-stack\nports: {mlflow: 1}\n")
    assert complete(stage, "promote", stage.model, "") == []  # nobody answers: silence


def completion(*words: str) -> dict[str, str]:
    """Return what bash tells the command of a line that ends with the last word."""
    line = ["stackctl", *words]
    return {"_STACKCTL_COMPLETE": "complete_bash", "COMP_WORDS": " ".join(line), "COMP_CWORD": str(len(line) - 1)}


def complete(stage: Scene, *words: str, folder: Path | None = None) -> list[str]:
    """Return what bash would offer for a command line that ends with the last word."""
    env = completion(*words)
    done = process.run([sys.executable, "-m", "stackctl"], cwd=folder or stage.stack.home, env=env)
    assert done.stderr == ""
    return done.stdout.split()


def test_two_promotions_from_one_folder_wait_for_each_other_and_say_so(stage: Scene) -> None:
    stage.promote("1")
    stage.server.never_prepares = True
    base = [sys.executable, "-m", "stackctl", "-C", str(stage.stack.home), "promote", stage.model]
    waiting = stage.stack.home / "second.log"
    first = process.start([*base, "2"])
    eventually(lambda: stage.state()[2] == "2", "the preparation of version 2", running=first)
    second = process.start([*base, "3"], log=waiting)
    try:
        eventually(
            lambda: "another promotion from this folder is running" in waiting.read_text(),
            "word of the other promotion",
            running=second,
        )
        stage.server.never_prepares = False
        assert (first.wait(PATIENCE), second.wait(PATIENCE)) == (0, 0)
    finally:
        for started in (first, second):
            process.stop(started)
    assert stage.state() == ("3", "3", None, False)
