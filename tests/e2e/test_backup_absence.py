"""Backups that do not come are loud: each way in which they stop shows in ``status``, and their age everywhere."""

from __future__ import annotations

import re
import shutil
import signal
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from support.cli import Cli
from support.served import served_model, url_of
from support.stacks import Stacks
from support.waiting import PATIENCE, eventually

from stackctl.backup.freshness import TAKEN_TAG
from stackctl.models.rest import Rest
from stackctl.process import run

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def backed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cli]:
    """Return a running local stack with one verified snapshot."""
    maker = Stacks(tmp_path_factory.mktemp("absence"))
    try:
        cli = maker.make("backed", "local", "store=folder")
        cli.run("up")
        assert cli.json("status")["backup"]["note"] == "there is no backup yet"
        cli.run("backup")
        yield cli
    finally:
        maker.destroy()


def settings(cli: Cli) -> Path:
    assert cli.folder is not None
    return cli.folder / "stack.yaml"


@pytest.fixture
def edited(backed: Cli) -> Iterator[Any]:
    """Return what replaces text in ``stack.yaml``, which is put back afterwards."""
    before = settings(backed).read_text()

    def edit(old: str, new: str) -> None:
        text = settings(backed).read_text()
        assert old in text
        settings(backed).write_text(text.replace(old, new))

    yield edit
    settings(backed).write_text(before)


def alarm(cli: Cli) -> str:
    """Return what a degraded ``status`` says is wrong."""
    report = cli.json("status", codes=(3,))
    assert report["state"] == "degraded"
    return "\n".join(report["problems"])


def read(cli: Cli, service: str, path: str) -> str:
    with urllib.request.urlopen(f"{url_of(cli, service)}{path}", timeout=PATIENCE) as answer:
        return str(answer.read().decode())


def schedulers(cli: Cli) -> list[psutil.Process]:
    """Return the process of the scheduler, if it runs."""
    return [
        process
        for process in psutil.process_iter(["cmdline", "cwd"])
        if "stackctl.backup.scheduler" in (process.info["cmdline"] or []) and process.info["cwd"] == str(cli.folder)
    ]


def rest_of(cli: Cli) -> Rest:
    return Rest(url_of(cli, "mlflow"))


def test_a_young_verified_snapshot_is_shown_with_its_age_and_alarms_nobody(backed: Cli) -> None:
    report = backed.json("status")
    assert report["state"] == "healthy"
    assert 0 <= report["backup"]["age_seconds"] < 3600
    (listed,) = backed.json("backup", "list")["snapshots"]
    assert listed["id"] == report["backup"]["snapshot"]
    assert backed.json("backup", "schedule")["agrees"]
    outcomes = {check["name"]: check["outcome"] for check in backed.json("doctor")["checks"]}
    assert (outcomes["backup"], outcomes["backup schedule"], outcomes["backup copies"]) == ("ok", "ok", "warning")


def test_a_schedule_that_was_removed_or_is_not_the_one_that_runs_is_an_alarm(backed: Cli, edited: Any) -> None:
    edited('schedule: "0 5 * * 6"', 'schedule: "0 5 * * 0"')
    assert "the schedule that runs is not the one in stack.yaml (backup)" in alarm(backed)
    assert not backed.json("backup", "schedule", codes=(3,))["agrees"]
    edited('schedule: "0 5 * * 0"', "schedule: null")
    assert "no backup is scheduled" in alarm(backed)


def test_a_scheduler_that_hangs_is_an_alarm_and_one_that_is_killed_comes_back(backed: Cli) -> None:
    (scheduler,) = schedulers(backed)
    scheduler.send_signal(signal.SIGSTOP)
    try:
        assert "backup is unhealthy: no answer" in alarm(backed)
    finally:
        scheduler.send_signal(signal.SIGCONT)
    assert backed.json("status")["state"] == "healthy"
    scheduler.kill()
    eventually(lambda: [each for each in schedulers(backed) if each.pid != scheduler.pid], "another scheduler")
    eventually(lambda: backed.json("status", codes=(0, 3))["state"] == "healthy", "its answer")


def test_snapshots_that_are_gone_are_an_alarm_whatever_mlflow_says(backed: Cli) -> None:
    assert backed.folder is not None
    snapshots = backed.folder / "var" / "backups" / "snapshots"
    snapshots.rename(snapshots.with_name("elsewhere"))
    try:
        assert "is gone from the repository" in alarm(backed)
    finally:
        snapshots.with_name("elsewhere").rename(snapshots)


def test_without_rsync_a_backup_ends_with_the_command_that_installs_it(backed: Cli, tmp_path: Path) -> None:
    for name in ("env", "python3", "ssh", "git", "apt-get"):
        if found := shutil.which(name):
            (tmp_path / name).symlink_to(found)
    poor = Cli(backed.folder, env={"PATH": str(tmp_path)})
    assert "install" in poor.fails(4, "backup")


def test_an_old_snapshot_is_an_alarm_in_status_metrics_and_on_the_demo_page(backed: Cli) -> None:
    rest = rest_of(backed)
    body = {"experiment_ids": [_experiment(rest)], "max_results": 10}
    for run_ in rest.call("POST", "runs/search", body=body)["runs"]:
        tag = {"run_id": run_["info"]["run_id"], "key": TAKEN_TAG, "value": "2026-01-01T05:00:00Z"}
        rest.call("POST", "runs/set-tag", body=tag)
    assert re.search(r"the newest verified backup is \d+\.\d days old, the limit is 8 days", alarm(backed))
    backed.run("restart", "serving", check=False)
    model = served_model(backed)
    assert model["backup"]["degraded"]
    metrics = read(backed, "serving", "/metrics")
    assert (
        float(re.findall(r'^stackctl_backup_age_seconds{of="verified"} (\S+)$', metrics, re.MULTILINE)[0]) > 8 * 86400
    )
    assert re.search(r"^stackctl_backup_degraded 1.0$", metrics, re.MULTILINE)
    assert "The newest verified backup is of" in read(backed, "demo", "/")
    rest.close()
    backed.run("backup")
    assert backed.json("status")["state"] == "healthy"


def _experiment(rest: Rest) -> str:
    return str(rest.get("experiments/get-by-name", {"experiment_name": "_stack"})["experiment"]["experiment_id"])


@pytest.mark.docker
@pytest.mark.usefixtures("docker")
def test_under_docker_a_paused_or_removed_container_is_an_alarm(stacks: Stacks) -> None:
    cli = stacks.make("backed-docker", "docker", "store=minio")
    cli.run("up")
    cli.run("backup")
    assert cli.json("status")["state"] == "healthy"
    container = f"{cli.json('status')['name']}-backup-1"
    run(["docker", "pause", container])
    assert "backup is" in alarm(cli)
    run(["docker", "unpause", container])
    run(["docker", "rm", "--force", container])
    assert "backup is stopped" in alarm(cli)
    cli.run("up")
    assert len(cli.json("backup", "list")["snapshots"]) == 1
    assert cli.json("status")["state"] == "healthy"
