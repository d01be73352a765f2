"""Batches as a person runs them, on one stack whose images travel through a real MinIO."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from support.cli import Cli
from support.pictures import encode, noise, opened
from support.pseudo_terminal import typist
from support.stacks import Stacks
from support.waiting import PATIENCE, eventually

from stackctl import process
from stackctl.stack import Stack
from stackctl.store.minio import build_minio, find_minio
from stackctl.store.urls import open_store

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
MANY = 40


@pytest.fixture(scope="module")
def cli(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cli]:
    """A running stack with buckets and a version in Production."""
    if find_minio() is None:
        build_minio(lambda _subject, _what: None)
    maker = Stacks(tmp_path_factory.mktemp("batches"))
    try:
        made = maker.make("batches", "local", "store=minio")
        made.run("up")
        made.run("models", "import", "starter")
        made.run("promote", "super-resolution", "1")
        yield made
    finally:
        maker.destroy()


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return fill(tmp_path / "photos", 6)


def fill(folder: Path, count: int, side: int = 24) -> Path:
    """Write photos into a folder and a subfolder of it."""
    (folder / "sub").mkdir(parents=True, exist_ok=True)
    for number in range(count):
        name = f"sub/{number}.png" if number % 2 else f"{number}.png"
        (folder / name).write_bytes(encode(noise(side, side + number, seed=number)))
    return folder


def home(cli: Cli) -> Path:
    assert cli.folder is not None
    return cli.folder


def files(folder: Path) -> list[str]:
    return sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.suffix in {".png", ".jpg"})


def words(cli: Cli, *rest: str | Path) -> list[str]:
    return [sys.executable, "-m", "stackctl", "-C", str(cli.folder), *map(str, rest)]


def test_inbound_travels_through_the_bucket_and_results_come_back_and_a_second_run_does_what_is_new(cli: Cli) -> None:
    inbound, outbound = home(cli) / "data" / "inbound", home(cli) / "data" / "outbound"
    fill(inbound, 4)
    (inbound / "a.jpg").write_bytes(encode(noise(20, 20, seed=8), "JPEG"))
    (inbound / "a.png").write_bytes(encode(noise(20, 20, seed=9)))
    (inbound / "broken.jpg").write_bytes(b"no image")
    done = cli.run("batch", "run")
    assert files(outbound) == [
        "0_out.png",
        "2_out.png",
        "a_jpg_out.jpg",
        "a_png_out.png",
        "sub/1_out.png",
        "sub/3_out.png",
    ]
    assert opened((outbound / "sub" / "1_out.png").read_bytes()).size == (100, 96)
    assert "broken.jpg" in done.stdout
    reasons = list((home(cli) / "data" / "quarantine").rglob("*.json"))
    assert [json.loads(file.read_text())["code"] for file in reasons] == ["unsupported_format"]
    store = open_store(Stack.from_folder(home(cli)), "s3://outbound")
    assert store.get("sub/1_out.png") == (outbound / "sub" / "1_out.png").read_bytes()

    (inbound / "new.png").write_bytes(encode(noise(16, 16, seed=10)))
    (outbound / "2_out.png").unlink()
    document = cli.json("batch", "run")
    assert (document["done"], document["skipped"], document["known_bad"]) == (1, 6, 1)
    assert "2_out.png" in files(outbound)
    assert cli.json("batch", "run", "--retry-failed")["quarantined"] == 1


def test_a_dry_run_says_what_would_be_done_and_leaves_nothing(cli: Cli, photos: Path, tmp_path: Path) -> None:
    before = cli.json("batch", "list")
    document = cli.json(
        "batch", "run", "-i", photos, "-o", tmp_path / "out", "--dry-run", "--model", "super-resolution/1"
    )
    assert (document["dry_run"], document["pending"], document["total"]) == (True, 6, 6)
    assert files(tmp_path / "out") == []
    assert cli.json("batch", "list") == before


@pytest.mark.serial
def test_a_terminal_shows_a_bar_and_then_the_report(cli: Cli, photos: Path, tmp_path: Path) -> None:
    (photos / "broken.png").write_bytes(b"no image")
    command = words(cli, "batch", "run", "-i", photos, "-o", tmp_path / "out", "--workers", "2")
    with typist(command, cwd=tmp_path, env={"NO_COLOR": "", "ADSP_WORKER_MAX": "1"}) as person:
        assert person.exit_status() == 0, person.seen
    assert "1 workers instead of 2" in person.seen or "ADSP_WORKER_MAX" in person.seen
    assert "7/7" in person.seen
    assert "images/s" in person.seen
    assert "1 quarantined" in person.seen


def test_events_as_json_tell_a_program_everything(cli: Cli, photos: Path, tmp_path: Path) -> None:
    experiment = {"AE_MLFLOW_EXPERIMENT_NAME": "photos of mine"}
    mine = Cli(cli.folder, env=experiment)
    done = mine.run(
        "batch", "run", "-i", photos, "-o", tmp_path / "out", "--progress", "json", "--local", "--format", "webp"
    )
    events: list[dict[str, Any]] = [json.loads(line) for line in done.stderr.splitlines()]
    kinds = [event["event"] for event in events]
    assert kinds[-1] == "end" or "end" in kinds
    assert sum(event.get("status") == "done" for event in events if event["event"] == "image") == 6
    assert {file.suffix for file in (tmp_path / "out").rglob("*.*")} == {".webp"}
    answer = httpx.get(
        f"{Stack.from_folder(home(cli)).endpoints.mlflow}/api/2.0/mlflow/experiments/get-by-name",
        params={"experiment_name": experiment["AE_MLFLOW_EXPERIMENT_NAME"]},
        timeout=PATIENCE,
    )
    assert answer.status_code == 200


def test_a_run_in_the_background_is_watched_followed_listed_reported_and_cancelled(cli: Cli, tmp_path: Path) -> None:
    inbound, out = home(cli) / "data" / "inbound" / "watched", home(cli) / "data" / "outbound" / "watched"
    fill(inbound, 3)
    run = cli.run("batch", "run", "--watch", "--detach").stdout.strip()
    eventually(lambda: len(files(out)) == 3, "three results")
    assert f"stackctl batch cancel {run}" in cli.fails(1, "batch", "run")
    (inbound / "late.png").write_bytes(encode(noise(16, 16, seed=1)))
    eventually(lambda: "late_out.png" in files(out), "the result of a late arrival")
    assert cli.json("batch", "status", run)["phase"] == "running"
    assert [entry["phase"] for entry in cli.json("batch", "list")["runs"] if entry["run"] == run] == ["running"]
    looking = process.start(words(cli, "batch", "status", "-f"), log=tmp_path / "log")
    eventually(lambda: "input yet" in (tmp_path / "log").read_text(), "a look at the run")
    looking.send_signal(signal.SIGINT)
    assert looking.wait(PATIENCE) == 130
    assert "goes on" in cli.fails(1, "batch", "report", run)
    assert cli.json("batch", "cancel")["phase"] == "cancelled"
    assert cli.json("batch", "report", run)["report"]["status"] == "cancelled"
    assert "over" in cli.fails(2, "batch", "cancel", run)
    assert run in cli.run("batch", "list").stdout


def start_many(cli: Cli, tmp_path: Path) -> tuple[Any, Path, Path, list[str]]:
    """Start a run of images that take a while, and wait until some are done."""
    source, out, log = fill(tmp_path / "many", MANY, side=144), tmp_path / "out", tmp_path / "log"
    command = words(cli, "batch", "run", "-i", source, "-o", out)
    running = process.start(command, cwd=tmp_path, log=log)
    eventually(lambda: len(files(out)) >= 2 or running.poll() is not None, "two results")
    assert running.poll() is None, log.read_text()
    return running, out, log, command


def test_ctrl_c_finishes_what_is_in_flight_and_the_same_command_does_the_rest(cli: Cli, tmp_path: Path) -> None:
    running, out, log, command = start_many(cli, tmp_path)
    running.send_signal(signal.SIGINT)
    assert running.wait(PATIENCE) == 130
    some = files(out)
    assert 2 <= len(some) < MANY
    assert "Finishing the images in flight" in log.read_text()
    document = json.loads(process.run([*command, "--json"]).stdout)
    assert (document["done"], document["skipped"]) == (MANY - len(some), len(some))
    assert len(files(out)) == MANY


def test_a_second_ctrl_c_and_a_killed_coordinator_end_at_once_and_lose_nothing(cli: Cli, tmp_path: Path) -> None:
    running, out, log, command = start_many(cli, tmp_path)
    running.send_signal(signal.SIGINT)
    eventually(lambda: "in flight" in log.read_text(), "an answer to Ctrl-C")
    running.send_signal(signal.SIGINT)
    assert running.wait(PATIENCE) == 130
    before = len(files(out))
    assert before < MANY

    running = process.start(command, cwd=tmp_path, log=log)
    eventually(lambda: len(files(out)) > before, "one more result")
    for pid in coordinators(cli):
        os.kill(pid, signal.SIGKILL)
    assert running.wait(PATIENCE) == 1
    assert "Run the same command again" in log.read_text()
    assert cli.json("batch", "status")["phase"] == "died"
    assert json.loads(process.run([*command, "--json"]).stdout)["pending"] == 0
    assert len(files(out)) == MANY


def coordinators(cli: Cli) -> list[int]:
    """Return the coordinators of the stack's runs."""
    import psutil

    marks = ("stackctl.batch.coordinator", str(cli.folder))
    lines = [(found.pid, " ".join(found.info["cmdline"] or [])) for found in psutil.process_iter(["cmdline"])]
    return [pid for pid, line in lines if all(mark in line for mark in marks)]


def test_a_bucket_that_is_not_there_is_named_before_anything_is_done(cli: Cli, tmp_path: Path) -> None:
    assert "s3://nowhere" in cli.fails(2, "batch", "run", "-i", "s3://nowhere", "-o", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_too_many_bad_images_end_a_run_early_with_their_reasons(cli: Cli, tmp_path: Path) -> None:
    bad = tmp_path / "bad"
    bad.mkdir()
    for number in range(20):
        (bad / f"{number}.png").write_bytes(b"no image")
    done = cli.run("batch", "run", "-i", bad, "-o", tmp_path / "out", "--error-threshold", "3", check=False)
    assert done.returncode == 1
    assert "--error-threshold" in done.stderr
    assert "unsupported_format" in done.stdout


def test_each_step_can_be_done_by_itself_and_is_a_run_of_its_own(cli: Cli, photos: Path, tmp_path: Path) -> None:
    model = cli.json("batch", "step", "prepare-model")
    assert (home(cli) / "var" / "batch" / model["network"]).is_file()
    assert cli.json("batch", "step", "prepare-environment")["environment"]
    planned = cli.json("batch", "step", "manage-workers", "-i", str(photos), "-o", str(tmp_path / "made"))
    assert planned["pending"] == len(files(photos))
    done = cli.json("batch", "step", "process-batch", planned["files"][0])
    assert done["done"] == done["images"] == len(files(tmp_path / "made"))
    tracking = Stack.from_folder(home(cli)).endpoints.mlflow + "/api/2.0/mlflow/"
    found = httpx.get(f"{tracking}experiments/get-by-name", params={"experiment_name": "batch"}).json()["experiment"]
    body = {"experiment_ids": [found["experiment_id"]], "filter": "attributes.status = 'FINISHED'"}
    runs = httpx.post(f"{tracking}runs/search", json=body).json()["runs"]
    alone = {
        run["info"]["run_name"]
        for run in runs
        if "mlflow.parentRunId" not in {tag["key"] for tag in run["data"]["tags"]}
    }
    assert {"prepare-model", "prepare-environment", "manage-workers", "process-batch"} <= alone
