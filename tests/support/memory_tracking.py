"""MLflow's tracking server in memory, behind the transport of an HTTP client, with outages on demand."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx

URL = "http://mlflow.test"
API = "/api/2.0/mlflow/"
ARTIFACTS = "/api/2.0/mlflow-artifacts/artifacts/"


class MemoryTracking(httpx.BaseTransport):
    """Experiments, runs and files. ``before`` and ``after`` see each call and may raise, as a network does."""

    def __init__(self) -> None:
        self.experiments: dict[str, str] = {}
        self.runs: dict[str, dict[str, Any]] = {}
        self.files: dict[str, bytes] = {}
        self.calls: list[str] = []
        self.before: Callable[[str], None] = lambda _: None
        self.after: Callable[[str], None] = lambda _: None

    def children(self, parent: str) -> list[dict[str, Any]]:
        """Return the runs whose parent has this name."""
        (found,) = self.named(parent)
        return [run for run in self.runs.values() if run["tags"].get("mlflow.parentRunId") == found["id"]]

    def named(self, name: str) -> list[dict[str, Any]]:
        """Return the runs of a name."""
        return [run for run in self.runs.values() if run["name"] == name]

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path
        what = "upload" if path.startswith(ARTIFACTS) else path.removeprefix(API)
        self.before(what)
        self.calls.append(what)
        content = request.read()
        if what == "upload":
            self.files[path.removeprefix(ARTIFACTS)] = content
            answer: dict[str, Any] | None = {}
        else:
            body = dict(request.url.params) if request.method == "GET" else json.loads(content)
            answer = self._answer(what, body)
        self.after(what)
        if answer is None:
            return httpx.Response(404, json={"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "not found"})
        return httpx.Response(200, json=answer)

    def _answer(self, what: str, body: dict[str, Any]) -> dict[str, Any] | None:
        match what:
            case "experiments/get-by-name":
                known = self.experiments.get(body["experiment_name"])
                return {"experiment": {"experiment_id": known, "lifecycle_stage": "active"}} if known else None
            case "experiments/create":
                self.experiments[body["name"]] = str(len(self.experiments) + 1)
                return {"experiment_id": self.experiments[body["name"]]}
            case "runs/search":
                value = body["filter"].rsplit("'", 2)[1]
                found = [run for run in self.runs.values() if run["tags"]["stackctl.batch.item"] == value]
                return {"runs": [self._run(run) for run in found]}
            case "runs/create":
                return {"run": self._run(self._create(body))}
            case _ if body["run_id"] not in self.runs:
                return None
            case "runs/log-batch":
                run = self.runs[body["run_id"]]
                run["params"] |= {entry["key"]: entry["value"] for entry in body.get("params", [])}
                run["tags"] |= {entry["key"]: entry["value"] for entry in body.get("tags", [])}
                run["points"] |= {(each["key"], each["step"], each["value"]): each for each in body.get("metrics", [])}
                return {}
            case "runs/update":
                run = self.runs[body["run_id"]]
                run["status"], run["ended"] = body["status"], body["end_time"]
                run["name"] = body.get("run_name", run["name"])
                return {}
            case other:
                raise NotImplementedError(other)

    def _create(self, body: dict[str, Any]) -> dict[str, Any]:
        made = {
            "id": f"{len(self.runs) + 1:032x}",
            "name": body["run_name"],
            "experiment": body["experiment_id"],
            "status": "RUNNING",
            "tags": {entry["key"]: entry["value"] for entry in body["tags"]},
            "params": {},
            "points": {},
        }
        self.runs[made["id"]] = made
        return made

    def _run(self, run: dict[str, Any]) -> dict[str, Any]:
        place = f"mlflow-artifacts:/{run['experiment']}/{run['id']}/artifacts"
        return {"info": {"run_id": run["id"], "artifact_uri": place}}
