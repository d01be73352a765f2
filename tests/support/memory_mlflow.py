"""MLflow's registry in memory, behind the transport of an HTTP client: what the promotion code asks, nothing more.

Its behaviour follows MLflow's own: the highest number in a stage is what the stage leads to, archiving and moving are
one change, tags and aliases are set and deleted one by one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import httpx

from stackctl.models import Registry

URL = "http://mlflow.test"


class MemoryMlflow(httpx.BaseTransport):
    """One registered model and its versions."""

    def __init__(self, model: str = "m", versions: int = 2) -> None:
        self.name = model
        self.tags: dict[str, str] = {}
        self.aliases: dict[str, str] = {}
        self.versions: dict[str, dict[str, Any]] = {}
        self.runs: dict[str, dict[str, Any]] = {}
        self.changes: list[str] = []
        self._registry = Registry(URL, transport=self)
        for _ in range(versions):
            self.add()

    def add(
        self, metrics: Mapping[str, float] | None = None, tags: Mapping[str, str] | None = None, status: str = "READY"
    ) -> str:
        """Register one more version, logged by a run of its own, and return its number."""
        number = str(len(self.versions) + 1)
        run = f"{int(number):032x}"
        self.runs[run] = {"data": {"metrics": _pairs(metrics or {}), "tags": []}}
        self.versions[number] = {"stage": "None", "tags": dict(tags or {}), "status": status, "run_id": run}
        return number

    def registry(self) -> Registry:
        """Return a client of it."""
        return self._registry

    def stage(self, stage: str) -> str | None:
        """Return the version that a stage leads to."""
        found = [int(number) for number, version in self.versions.items() if version["stage"] == stage]
        return str(max(found)) if found else None

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        endpoint = request.url.path.rsplit("/mlflow/", 1)[-1]
        body = dict(request.url.params) if request.method == "GET" else json.loads(request.read())
        if request.method != "GET":
            self.changes.append(f"{request.method} {endpoint}")
        answer = self._answer(request.method, endpoint, body)
        if answer is None:
            return httpx.Response(404, json={"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "not found"})
        return httpx.Response(200, content=json.dumps(answer))  # NaN and all

    def _answer(self, method: str, endpoint: str, body: dict[str, Any]) -> dict[str, Any] | None:
        match f"{method} {endpoint}":
            case "GET runs/get":
                return {"run": self.runs[body["run_id"]]} if body["run_id"] in self.runs else None
            case "GET registered-models/search":
                return {"registered_models": [self._model()]}
            case _ if body.get("name", self.name) != self.name:
                return None
            case "GET registered-models/get":
                return {"registered_model": self._model()}
            case "GET model-versions/search":
                return {"model_versions": [self._version(number) for number in self.versions]}
            case "GET model-versions/get":
                return {"model_version": self._version(body["version"])} if body["version"] in self.versions else None
            case _:
                self._change(f"{method} {endpoint}", body)
                return {}

    def _change(self, what: str, body: dict[str, Any]) -> None:
        match what:
            case "POST registered-models/set-tag":
                self.tags[body["key"]] = body["value"]
            case "DELETE registered-models/delete-tag":
                self.tags.pop(body["key"], None)
            case "POST registered-models/alias":
                self.aliases[body["alias"]] = body["version"]
            case "DELETE registered-models/alias":
                self.aliases.pop(body["alias"], None)
            case "POST model-versions/set-tag":
                self.versions[body["version"]]["tags"][body["key"]] = body["value"]
            case "POST model-versions/transition-stage":
                for version in self.versions.values():
                    if body["archive_existing_versions"] and version["stage"] == body["stage"]:
                        version["stage"] = "Archived"
                self.versions[body["version"]]["stage"] = body["stage"]
            case other:
                raise NotImplementedError(other)

    def _model(self) -> dict[str, Any]:
        stages = {version["stage"] for version in self.versions.values()}
        latest = [{"version": self.stage(stage), "current_stage": stage} for stage in sorted(stages)]
        return {
            "name": self.name,
            "creation_timestamp": 0,
            "tags": _pairs(self.tags),
            "aliases": [{"alias": alias, "version": number} for alias, number in self.aliases.items()],
            "latest_versions": latest,
        }

    def _version(self, number: str) -> dict[str, Any]:
        version = self.versions[number]
        return {
            "name": self.name,
            "version": number,
            "current_stage": version["stage"],
            "status": version["status"],
            "run_id": version["run_id"],
            "tags": _pairs(version["tags"]),
            "aliases": [alias for alias, led_to in self.aliases.items() if led_to == number],
            "creation_timestamp": 0,
        }


def _pairs(entries: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{"key": key, "value": value} for key, value in entries.items()]
