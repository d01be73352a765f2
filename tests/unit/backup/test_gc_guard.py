"""What may leave MLflow's trash: judged in databases of a real MLflow, and carried out by its own gc."""

from __future__ import annotations

import json
import shutil
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from support.mlflow_server import MlflowServer

from stackctl.backup.gc_guard import Sweep, sweep
from stackctl.process import run

pytestmark = pytest.mark.slow


class Trash:
    """A model, runs, logged models and experiments of one test in the shared server, by names of its own."""

    def __init__(self, server: MlflowServer, name: str) -> None:
        self.server = server
        self.name = name
        self.call("POST", "registered-models/create", {"name": name})

    def call(self, method: str, endpoint: str, body: dict[str, Any]) -> dict[str, Any]:
        return self.server.call(method, endpoint, body)

    def experiment(self, name: str) -> str:
        return str(self.call("POST", "experiments/create", {"name": f"{self.name} {name}"})["experiment_id"])

    def run(self, experiment: str) -> str:
        made = self.call("POST", "runs/create", {"experiment_id": experiment, "start_time": 1})["run"]["info"]
        path = str(made["artifact_uri"]).removeprefix("mlflow-artifacts:/")
        url = f"{self.server.url}/api/2.0/mlflow-artifacts/artifacts/{path}/MLmodel"
        assert httpx.put(url, content=b"it").is_success
        return str(made["run_id"])

    def model(self, experiment: str) -> str:
        made = self.call("POST", "logged-models", {"experiment_id": experiment, "name": "logged"})
        return str(made["model"]["info"]["model_id"])

    def register(self, source: str, **origin: str) -> None:
        self.call("POST", "model-versions/create", {"name": self.name, "source": source, **origin})

    def uri(self, run_id: str) -> str:
        info = self.server.call("GET", f"runs/get?run_id={run_id}", {})["run"]["info"]
        return str(info["artifact_uri"])  # type: ignore[index]

    def has_artifacts(self, run_id: str) -> bool:
        return any((self.server.folder / "artifacts").glob(f"*/{run_id}/artifacts/MLmodel"))


def test_only_what_nothing_refers_to_leaves_the_trash(mlflow_server: MlflowServer, tmp_path: Path) -> None:
    trash = Trash(mlflow_server, "gc-guard")
    own, other, lost = (trash.experiment(name) for name in ("own", "other", "lost"))
    free, registered, retained = (trash.run(own) for _ in range(3))
    inside, gone = trash.run(other), trash.run(lost)
    used, unused = trash.model(own), trash.model(own)
    trash.register("s3://elsewhere/model", run_id=registered)
    trash.register(trash.uri(inside), run_id=inside)
    trash.register(f"models:/{used}", model_id=used)
    for each in (free, registered):
        trash.call("POST", "runs/delete", {"run_id": each})
    for each in (used, unused):
        trash.call("DELETE", f"logged-models/{each}", {})
    for experiment in (other, lost):
        trash.call("POST", "experiments/delete", {"experiment_id": experiment})
    snapshot = tmp_path / "snapshot.db"
    shutil.copyfile(mlflow_server.folder / "mlflow.db", snapshot)
    trash.call("POST", "runs/delete", {"run_id": retained})

    database = mlflow_server.folder / "mlflow.db"
    now = sweep(database, [("20261114T050000Z-ab12", snapshot)], older_than=timedelta(0))
    assert {free, gone} <= set(now.runs)
    assert not {registered, retained, inside} & set(now.runs)
    assert (unused in now.models, used in now.models) == (True, False)
    assert (lost in now.experiments, other in now.experiments) == (True, False)
    reasons = {each.id: each.reason for each in now.kept}
    assert reasons[registered] == "gc-guard version 1 comes from it"
    assert reasons[used] == "gc-guard version 3 comes from it"
    assert reasons[retained] == "it is not deleted in the snapshot 20261114T050000Z-ab12"
    assert reasons[other] == f"the run {inside} in it is kept"
    assert free in sweep(database, [], older_than=timedelta(0)).runs
    assert sweep(database, [], older_than=timedelta(days=1)).runs == ()

    collect(mlflow_server, Sweep(runs=(free,), models=(), experiments=()))
    kept = sweep(database, [], older_than=timedelta(0))
    assert free not in kept.runs
    assert {gone, retained} <= set(kept.runs), "an empty list is none, not all"
    assert unused in kept.models
    assert lost in kept.experiments
    found = {each: trash.has_artifacts(each) for each in (free, registered, retained, gone)}
    assert found == {free: False, registered: True, retained: True, gone: True}


def collect(server: MlflowServer, wanted: Sweep) -> None:
    document = {"runs": wanted.runs, "models": wanted.models, "experiments": wanted.experiments}
    environment = {"STACKCTL_BACKUP_DATABASES": str(server.folder), "MLFLOW_TRACKING_URI": server.url}
    run([sys.executable, "-m", "stackctl.lifecycle.gc_worker", json.dumps(document)], env=environment)
