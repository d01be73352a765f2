"""What MLflow is told of a batch run, also when it is gone, and when the run is killed."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import sqlite3
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from support.memory_tracking import URL, MemoryTracking
from support.mlflow_server import MlflowServer
from support.waiting import PATIENCE, eventually

from stackctl.batch import steps
from stackctl.batch.order import Order, OrderedModel
from stackctl.batch.outbox import FILE, Outbox, delivering
from stackctl.batch.tracking import MAX_CHILDREN, Tracking, deliver, undelivered
from stackctl.models.rest import Rest
from stackctl.stack import Stack

RUN = "20261121-080501-ab12"


@dataclass(frozen=True)
class Plan:
    """What tracking reads of a plan."""

    total: int
    pending: int
    skipped: int = 0
    known_bad: int = 0


class Figures:
    """What tracking reads of a report."""

    def metrics(self) -> dict[str, float]:
        return {"done": 2.0, "images_per_s": 1.5}


def order() -> Order:
    model = OrderedModel("super-resolution", "3", "sha256:ab", run_id="f00")
    return Order(RUN, "2026-11-21T08:05:01Z", "/in", "/out", "/bad", model)


def stack(url: str = URL) -> Stack:
    return Stack.from_env({"STACKCTL_NAME": "sss", "STACKCTL_MODEL": "super-resolution", "MLFLOW_TRACKING_URI": url})


def opened(folder: Path, mlflow: httpx.BaseTransport, **options: Any) -> Tracking:
    return Tracking.open(folder, order(), stack(), transport=mlflow, **options)


def run_two_batches(tracking: Tracking, folder: Path) -> None:
    tracking.begin(Plan(total=3, pending=2, skipped=1))  # type: ignore[arg-type]
    for number in (1, 2):
        tracking.submitted(number, 1, 100.0)
    tracking.progress({"done": 1, "eta_s": None})
    for number in (1, 2):
        tracking.finished(number, {"done": 1, "seconds": 0.5})
    (folder / "report.json").write_text("{}")
    tracking.end("ok", Figures(), [folder / "report.json", folder / "never-written.jpg"])  # type: ignore[arg-type]


def last(run: dict[str, Any], metric: str) -> float:
    values: list[float] = [point["value"] for (name, _, _), point in run["points"].items() if name == metric]
    return values[-1]


def test_a_run_is_a_parent_with_a_child_per_step_and_per_batch(tmp_path: Path) -> None:
    mlflow = MemoryTracking()
    with steps.step(steps.PREPARE_MODEL, tmp_path) as prepared:
        prepared.params["digest"] = "sha256:ab"
    tracking = opened(tmp_path, mlflow)
    run_two_batches(tracking, tmp_path)
    assert tracking.close(PATIENCE) == 0
    (parent,) = mlflow.named(RUN)
    children = mlflow.children(RUN)
    assert sorted(run["name"] for run in children) == ["batch 1", "batch 2", "manage-workers", "prepare-model"]
    assert {run["status"] for run in mlflow.runs.values()} == {"FINISHED"}
    assert parent["tags"]["stackctl.model.version"] == "3"
    assert parent["tags"]["stackctl.digest"] == "sha256:ab"
    assert parent["tags"]["stackctl.batch.status"] == "ok"
    assert (parent["params"]["model"], parent["params"]["input"]) == ("super-resolution/3", "/in")
    assert (last(parent, "total"), last(parent, "images_per_s")) == (3, 1.5)
    assert last(mlflow.named("batch 1")[0], "seconds") == 0.5
    assert mlflow.named("prepare-model")[0]["params"] == {"digest": "sha256:ab"}
    assert list(mlflow.files) == [f"1/{parent['id']}/artifacts/report.json"]


@pytest.mark.parametrize("pending", [15, 17, 18, 500])
def test_a_run_has_a_child_per_batch_where_they_are_few_and_never_more_than_the_most(
    pending: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert MAX_CHILDREN == 200
    most = 17
    monkeypatch.setattr("stackctl.batch.tracking.MAX_GROUPS", most)
    mlflow = MemoryTracking()
    tracking = opened(tmp_path, mlflow)
    tracking.begin(Plan(pending, pending))  # type: ignore[arg-type]
    for number in range(1, pending + 1):
        tracking.submitted(number, 1, 1.0)
        tracking.finished(number, {"done": 1})
    for number in range(pending + 1, pending + 5):  # tried again, alone
        tracking.submitted(number, 1, 1.0)
        tracking.finished(number, {"done": 1})
    tracking.end("ok", None, [])
    assert tracking.close(PATIENCE) == 0
    batches = [run for run in mlflow.children(RUN) if run["name"] != "manage-workers"]
    assert len(batches) == most if pending <= most else most - 3 <= len(batches) <= most
    assert sum(last(run, "done") for run in batches) == pending + 4
    assert {run["status"] for run in batches} == {"FINISHED"}


def test_with_mlflow_gone_for_the_whole_run_the_next_command_delivers_everything(tmp_path: Path) -> None:
    mlflow = MemoryTracking()
    said: list[str] = []
    over, waited_for = threading.Event(), list[bool]()

    def gone(_what: str) -> None:
        waited_for.append(not over.wait(60))
        raise httpx.ConnectError("refused")

    mlflow.before = gone
    tracking = opened(tmp_path, mlflow, say=said.append)
    run_two_batches(tracking, tmp_path)
    over.set()  # MLflow said nothing until here, and nobody waited for it
    assert tracking.close(PATIENCE) > 0
    assert not any(waited_for)
    assert said[0].startswith("unreachable: ")
    assert not mlflow.runs
    mlflow.before = lambda _: None
    assert deliver(tmp_path, stack(), transport=mlflow) == 0
    assert undelivered(tmp_path) == 0
    assert {run["status"] for run in mlflow.runs.values()} == {"FINISHED"}
    assert len(mlflow.children(RUN)) == 3


def test_a_run_whose_creation_was_answered_to_nobody_is_not_created_twice(tmp_path: Path) -> None:
    mlflow = MemoryTracking()
    lost: list[str] = []

    def lose(what: str) -> None:
        if lost.count(what) < 2:
            lost.append(what)
            raise httpx.ReadTimeout("lost")

    mlflow.after = lose
    tracking = opened(tmp_path, mlflow)
    run_two_batches(tracking, tmp_path)
    tracking.close(0.1)
    eventually(lambda: deliver(tmp_path, stack(), transport=mlflow) == 0, "the delivery")
    assert "runs/create" in lost
    assert sorted(run["name"] for run in mlflow.runs.values()) == [RUN, "batch 1", "batch 2", "manage-workers"]


def test_the_runs_of_a_killed_coordinator_end_as_killed(tmp_path: Path) -> None:
    mlflow = MemoryTracking()
    outbox = Outbox(tmp_path / FILE)
    tracking = opened(tmp_path, mlflow)
    tracking.begin(Plan(2, 2))  # type: ignore[arg-type]
    tracking.submitted(1, 1, 1.0)
    tracking.close()  # as far as it came; nobody told the end
    assert undelivered(tmp_path) > 0
    outbox.close()
    assert deliver(tmp_path, stack(), transport=mlflow) == 0
    assert {run["name"]: run["status"] for run in mlflow.runs.values()} == {
        RUN: "KILLED",
        "manage-workers": "KILLED",
        "batch 1": "KILLED",
    }
    assert undelivered(tmp_path) == 0


def test_the_outbox_of_a_living_coordinator_is_left_to_it(tmp_path: Path) -> None:
    mlflow = MemoryTracking()
    with delivering(tmp_path) as mine:
        assert mine
        tracking = opened(tmp_path, mlflow)
        tracking.begin(Plan(1, 1))  # type: ignore[arg-type]
        assert deliver(tmp_path, stack(), transport=mlflow) > 0
        assert not mlflow.calls
    assert tracking.close(PATIENCE) == 0
    assert mlflow.named(RUN)[0]["status"] == "RUNNING"


def test_what_mlflow_never_takes_is_set_aside_and_the_rest_goes_on(tmp_path: Path) -> None:
    mlflow = MemoryTracking()
    tracking = opened(tmp_path, mlflow)
    tracking.begin(Plan(1, 1))  # type: ignore[arg-type]
    tracking.submitted(1, 1, 1.0)
    assert tracking.close(PATIENCE) == 0
    deleted = mlflow.named("batch 1")[0]["id"]
    del mlflow.runs[deleted]
    assert deliver(tmp_path, stack(), transport=mlflow) == 0
    assert mlflow.named(RUN)[0]["status"] == "KILLED"
    assert Outbox(tmp_path / FILE).refusals() == ["end of batch-1: not found"]


def test_a_full_disk_stops_no_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outbox = Outbox(tmp_path / FILE)
    base = outbox._base
    base.execute(f"PRAGMA max_page_count = {base.execute('PRAGMA page_count').fetchone()[0]}")
    tracking = opened(tmp_path, MemoryTracking())
    tracking._outbox = outbox
    run_two_batches(tracking, tmp_path)
    assert outbox.left() > 0
    with pytest.raises(sqlite3.OperationalError, match="full"):
        outbox.remember("key", "x" * 100_000)


@pytest.mark.slow
def test_a_real_mlflow_takes_it_all_and_shows_it(mlflow_server: MlflowServer, tmp_path: Path) -> None:
    there = stack(mlflow_server.url)
    tracking = Tracking.open(tmp_path, order(), there)
    run_two_batches(tracking, tmp_path)
    assert tracking.close(PATIENCE) == 0
    assert Outbox(tmp_path / FILE).refusals() == []
    rest = Rest(mlflow_server.url)
    experiment = rest.get("experiments/get-by-name", {"experiment_name": "batch"})["experiment"]
    found = rest.call("POST", "runs/search", body={"experiment_ids": [experiment["experiment_id"]]})["runs"]
    by_name = {run["info"]["run_name"]: run for run in found}
    assert sorted(by_name) == [RUN, "batch 1", "batch 2", "manage-workers"]
    assert {run["info"]["status"] for run in found} == {"FINISHED"}
    parent = by_name[RUN]["info"]
    files = rest.get("artifacts/list", {"run_id": parent["run_id"]})["files"]
    assert [file["path"] for file in files] == ["report.json"]
    tags = {entry["key"]: entry["value"] for entry in by_name["batch 1"]["data"]["tags"]}
    assert tags["mlflow.parentRunId"] == parent["run_id"]
    history = rest.get("metrics/get-history", {"run_id": parent["run_id"], "metric_key": "done"})["metrics"]
    assert [point["value"] for point in history] == [1, 2]
    create = Outbox(tmp_path / FILE)
    assert create.known("run:run") == parent["run_id"]
    # a creation that was tried before and is found by its tag
    create._base.execute("UPDATE known SET key = 'was' WHERE key = 'run:run'")
    create.put(*tracking_items())
    create._base.execute("UPDATE items SET tried = 1")
    assert deliver(tmp_path, there) == 0
    assert Outbox(tmp_path / FILE).known("run:run") == parent["run_id"]


def tracking_items() -> list[Any]:
    from stackctl.batch import telling

    return [telling.run(RUN, None, "run", RUN, {}), telling.end("run", "FINISHED")]


class KilledHere(BaseException):
    """The process dies at this very point."""


@pytest.mark.parametrize("seed", range(3))
def test_killed_again_and_again_during_the_delivery_mlflow_has_everything_once(seed: int, tmp_path: Path) -> None:
    child = multiprocessing.get_context("fork").Process(target=_told_and_killed, args=(tmp_path,))
    child.start()
    child.join(PATIENCE)
    assert child.exitcode == -signal.SIGKILL
    mlflow, kills, draw = MemoryTracking(), 0, random.Random(seed)

    def die(_what: str) -> None:
        if draw.random() < 0.4:  # it arrived, and nobody heard the answer
            raise KilledHere

    mlflow.after = die
    left = 1
    while left and kills < 50:
        try:
            left = deliver(tmp_path, stack(), transport=mlflow)
        except KilledHere:
            kills += 1
    assert 0 < kills < 50
    assert sorted(run["name"] for run in mlflow.runs.values()) == [RUN, "batch 1", "manage-workers"]
    assert {run["status"] for run in mlflow.runs.values()} == {"KILLED"}
    (parent,) = mlflow.named(RUN)
    assert last(parent, "pending") == 2
    assert len(mlflow.experiments) == 1
    assert undelivered(tmp_path) == 0


def _told_and_killed(folder: Path) -> None:
    tracking = Tracking.open(folder, order(), stack("http://127.0.0.1:9"))
    tracking.begin(Plan(total=2, pending=2))  # type: ignore[arg-type]
    tracking.submitted(1, 1, 100.0)
    os.kill(os.getpid(), signal.SIGKILL)
