"""A real MLflow server on SQLite in a folder of its own, and versions in it without files."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from support.ports import free_port
from support.waiting import PATIENCE, Running, eventually

from stackctl import process


@dataclass(frozen=True)
class MlflowServer:
    """A running server: its URL and the folder with its database and artifacts."""

    url: str
    folder: Path

    def call(self, method: str, endpoint: str, body: Mapping[str, object]) -> dict[str, dict[str, str]]:
        """Call its REST API as any other client would."""
        answer = httpx.request(method, f"{self.url}/api/2.0/mlflow/{endpoint}", json=body, timeout=PATIENCE)
        assert answer.is_success, answer.text
        found: dict[str, dict[str, str]] = answer.json()
        return found

    def make_versions(self, model: str, count: int, tags: Mapping[str, str] | None = None) -> None:
        """Register ``count`` versions that have a run and no files."""
        self.call("POST", "registered-models/create", {"name": model})
        for _ in range(count):
            self.add_version(model, {"psnr_y": 28.5}, tags)

    def add_version(self, model: str, metrics: Mapping[str, float], tags: Mapping[str, str] | None = None) -> str:
        """Register one more version, with these metrics on its run; return the run."""
        run = httpx.post(
            f"{self.url}/api/2.0/mlflow/runs/create", json={"experiment_id": "0", "start_time": 1}, timeout=PATIENCE
        ).json()["run"]["info"]
        for name, value in metrics.items():
            self.log_metric(run["run_id"], name, value)
        self.call(
            "POST",
            "model-versions/create",
            {
                "name": model,
                "run_id": run["run_id"],
                "source": f"{run['artifact_uri']}/model",
                "tags": [{"key": key, "value": value} for key, value in (tags or {}).items()],
            },
        )
        return str(run["run_id"])

    def log_metric(self, run_id: str, name: str, value: float) -> None:
        """Log a metric on a run."""
        self.call("POST", "runs/log-metric", {"run_id": run_id, "key": name, "value": value, "timestamp": 1})


@pytest.fixture(scope="session")
def mlflow_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    """Run one MLflow server for all tests of the session."""
    folder = tmp_path_factory.mktemp("mlflow-server")
    port = free_port()
    log = folder / "server.log"
    started = process.start(
        [
            *(sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"),
            *("--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}"),
            *("--artifacts-destination", str(folder / "artifacts"), "--serve-artifacts"),
        ],
        cwd=folder,
        env={
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "MLFLOW_MODEL_CATALOG_URI": "",
        },
        log=log,
    )
    try:
        url = f"http://127.0.0.1:{port}"
        await_health(url, log, started)
        yield MlflowServer(url, folder)
    finally:
        process.stop(started)


def await_health(url: str, log: Path, server: Running) -> None:
    """Wait until the server at ``url`` answers."""
    eventually(
        lambda: _answers(f"{url}/health"), "an answer of MLflow", log=lambda: log.read_text()[-3000:], running=server
    )


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=PATIENCE).is_success
    except httpx.TransportError:
        return False
