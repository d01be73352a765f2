"""Everything a person can see in a stack's MLflow, for comparing two stacks; and a writer that is always at work."""

from __future__ import annotations

import hashlib
import itertools
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
from support.waiting import PATIENCE, eventually

from stackctl.models.digest import digest_of_files

OWN = "_stack"
"""The experiment in which stackctl itself notes backups; it goes on after a snapshot."""


@dataclass
class Contents:
    """What MLflow at ``url`` holds, over its REST API as any client sees it."""

    url: str
    client: httpx.Client = field(default_factory=lambda: httpx.Client(timeout=PATIENCE))

    def call(self, method: str, endpoint: str, body: dict[str, Any]) -> dict[str, Any]:
        """Call MLflow."""
        given = {"params": body} if method == "GET" else {"json": body}
        answer = self.client.request(method, f"{self.url}/api/2.0/mlflow/{endpoint}", **given)  # type: ignore[arg-type]
        assert answer.is_success, f"{endpoint}: {answer.text}"
        found: dict[str, Any] = answer.json()
        return found

    def experiments(self) -> dict[str, str]:
        """Return name to id of every experiment but stackctl's own."""
        found = self.call("POST", "experiments/search", {"max_results": 1000, "view_type": "ALL"})
        return {each["name"]: each["experiment_id"] for each in found.get("experiments", []) if each["name"] != OWN}

    def runs(self, but: tuple[str, ...] = ()) -> dict[str, Any]:
        """Return every run with its state, parameters, tags, history of metrics and the digests of its artifacts."""
        ids = [number for name, number in self.experiments().items() if name not in but]
        body = {"experiment_ids": ids, "max_results": 1000, "run_view_type": "ALL"}
        found = self.call("POST", "runs/search", body).get("runs", []) if ids else []
        return {run["info"]["run_id"]: self._run(run) for run in found}

    def models(self) -> dict[str, Any]:
        """Return every registered model with its versions, stages, aliases and tags."""
        models = self.call("GET", "registered-models/search", {"max_results": 100}).get("registered_models", [])
        found = {}
        for model in models:
            query = {"filter": f"name='{model['name']}'", "max_results": 1000}
            versions = self.call("GET", "model-versions/search", query).get("model_versions", [])
            found[model["name"]] = {
                "aliases": sorted((each["alias"], each["version"]) for each in model.get("aliases", [])),
                "tags": sorted((each["key"], each["value"]) for each in model.get("tags", [])),
                "versions": {each["version"]: _version(each) for each in versions},
            }
        return found

    def artifacts(self, uri: str) -> dict[str, str]:
        """Return path to SHA-256 of all that lies below an artifact URI."""
        root = uri.removeprefix("mlflow-artifacts:").strip("/")
        base = f"{self.url}/api/2.0/mlflow-artifacts/artifacts"
        found: dict[str, str] = {}
        folders = [root]
        while folders:
            folder = folders.pop()
            for each in self.client.get(base, params={"path": folder}).json().get("files", []):
                path = f"{folder}/{each['path']}"
                if each["is_dir"]:
                    folders.append(path)
                else:
                    found[path] = hashlib.sha256(self.client.get(f"{base}/{path}").content).hexdigest()
        return found

    def _run(self, run: dict[str, Any]) -> dict[str, Any]:
        info, data = run["info"], run.get("data", {})
        names = {each["key"] for each in data.get("metrics", [])}
        return {
            "info": {key: info.get(key) for key in ("run_name", "status", "start_time", "end_time", "lifecycle_stage")},
            "params": sorted((each["key"], each["value"]) for each in data.get("params", [])),
            "tags": sorted((each["key"], each["value"]) for each in data.get("tags", [])),
            "metrics": {name: self._history(info["run_id"], name) for name in names},
            "artifacts": self.artifacts(info["artifact_uri"]),
        }

    def _history(self, run: str, name: str) -> list[dict[str, Any]]:
        query = {"run_id": run, "metric_key": name, "max_results": 1000}  # without a number, MLflow 3.8 says nothing
        found: list[dict[str, Any]] = self.call("GET", "metrics/get-history", query)["metrics"]
        return found


def _version(found: dict[str, Any]) -> dict[str, Any]:
    kept = ("version", "current_stage", "source", "run_id", "status", "description", "creation_timestamp")
    tags = sorted((each["key"], each["value"]) for each in found.get("tags", []))
    return {**{key: found.get(key) for key in kept}, "tags": tags, "aliases": sorted(found.get("aliases", []))}


@dataclass
class Writer:
    """Logs runs with artifacts, and registers versions with their digest, without a pause.

    Attributes:
        acknowledged: run to the moment at which its end was acknowledged.
        versions: number of each version that was acknowledged.
        errors: what went wrong.
    """

    contents: Contents
    experiment: str = "written all the time"
    model: str = "written"
    acknowledged: dict[str, float] = field(default_factory=dict)
    versions: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Write in the background until the block ends."""
        stop = threading.Event()
        number = self.contents.call("POST", "experiments/create", {"name": self.experiment})["experiment_id"]
        self.contents.call("POST", "registered-models/create", {"name": self.model})

        def write() -> None:
            for count in itertools.count():
                if stop.is_set():
                    return
                try:
                    self._one(str(number), count)
                except (AssertionError, httpx.HTTPError) as error:
                    self.errors.append(str(error))
                    return

        thread = threading.Thread(target=write)
        thread.start()
        try:
            eventually(lambda: len(self.acknowledged) >= 2 or self.errors, "what is written before")
            yield
        finally:
            stop.set()
            thread.join(PATIENCE)

    def _one(self, experiment: str, count: int) -> None:
        body = {"experiment_id": experiment, "start_time": int(time.time() * 1000), "run_name": f"written {count}"}
        info = self.contents.call("POST", "runs/create", body)["run"]["info"]
        run = info["run_id"]
        for step in range(3):
            metric = {"run_id": run, "key": "loss", "value": 1 / (step + 1), "timestamp": step, "step": step}
            self.contents.call("POST", "runs/log-metric", metric)
        path = info["artifact_uri"].removeprefix("mlflow-artifacts:/")
        files = {"MLmodel": f"run_id: {run}\n".encode(), "data/weights": hashlib.sha256(run.encode()).digest() * 500}
        for name, data in files.items():
            url = f"{self.contents.url}/api/2.0/mlflow-artifacts/artifacts/{path}/model/{name}"
            assert self.contents.client.put(url, content=data).is_success
        digest = digest_of_files({name: hashlib.sha256(data).hexdigest() for name, data in files.items()})
        version = {
            "name": self.model,
            "run_id": run,
            "source": f"{info['artifact_uri']}/model",
            "tags": [{"key": "stackctl.digest", "value": digest}],
        }
        made = self.contents.call("POST", "model-versions/create", version)["model_version"]
        self.versions.append(str(made["version"]))
        end = {"run_id": run, "status": "FINISHED", "end_time": int(time.time() * 1000)}
        self.contents.call("POST", "runs/update", end)
        self.acknowledged[run] = time.time()
