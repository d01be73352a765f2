"""A registry and artifact store that speaks the few REST paths of MLflow that the model server uses."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

API = "/api/2.0/mlflow/"
ARTIFACTS = "/api/2.0/mlflow-artifacts/artifacts"


@dataclass
class FakeVersion:
    """A version: where its files lie on this machine, its tags, and its run's metrics."""

    folder: Path
    tags: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    status: str = "READY"


class FakeMlflow:
    """An MLflow server on a port of its own; change its fields while it runs, ``stop`` and ``start`` it again."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.versions: dict[str, FakeVersion] = {}
        self.aliases: dict[str, str] = {}
        self.stages: dict[str, str] = {}
        self.tags: dict[str, str] = {}
        self.requests: list[str] = []
        self.store_is_down = False
        self._server: ThreadingHTTPServer | None = None
        self._port = 0

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        fake = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                fake.requests.append(self.path)
                status, content = fake.answer(self.path)
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def do_POST(self) -> None:
                fake.requests.append(self.path)
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                done = fake.write(self.path.removeprefix(API), body)
                self.send_response(200 if done else 404)
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"{}")

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", self._port), Handler)
        self._port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def promote(self, version: str) -> None:
        """Point alias and stage to a version, as a finished promotion leaves them."""
        self.stages = {version: "Production"}
        self.aliases["production"] = version

    def write(self, call: str, body: dict[str, str]) -> bool:
        """Do what a writing call asks; return whether it is known."""
        if call == "registered-models/set-tag":
            self.tags[body["key"]] = body["value"]
        elif call == "model-versions/set-tag":
            self.versions[body["version"]].tags[body["key"]] = body["value"]
        elif call == "registered-models/alias":
            self.aliases[body["alias"]] = body["version"]
        elif call == "model-versions/transition-stage":
            kept = {number: stage for number, stage in self.stages.items() if stage != body["stage"]}
            self.stages = {**kept, body["version"]: body["stage"]}
        else:
            return False
        return True

    @property
    def looks(self) -> int:
        """Return how often it was asked for the model."""
        return sum(path.startswith(f"{API}registered-models/get?") for path in self.requests)

    @property
    def history(self) -> list[dict[str, Any]]:
        """Return the recorded events, oldest first."""
        return [json.loads(self.tags[key]) for key in sorted(self.tags) if key.startswith("stackctl.history.")]

    def answer(self, path: str) -> tuple[int, bytes]:
        parts = urlsplit(path)
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        if self.store_is_down and parts.path.startswith(ARTIFACTS):
            return 500, b'{"error_code": "INTERNAL_ERROR", "message": "the store is down"}'
        if parts.path == ARTIFACTS:
            return self._listed(query["path"])
        if parts.path.startswith(f"{ARTIFACTS}/"):
            return self._file(unquote(parts.path.removeprefix(f"{ARTIFACTS}/")))
        calls: dict[str, Callable[[dict[str, str]], dict[str, Any]]] = {
            "registered-models/get": self._model,
            "model-versions/get": self._version,
            "model-versions/get-download-uri": lambda q: {"artifact_uri": f"mlflow-artifacts:/{q['version']}"},
            "runs/get": self._run,
        }
        try:
            return 200, json.dumps(calls[parts.path.removeprefix(API)](query)).encode()
        except KeyError:
            return 404, json.dumps({"error_code": "RESOURCE_DOES_NOT_EXIST", "message": f"no {path}"}).encode()

    def _model(self, query: dict[str, str]) -> dict[str, Any]:
        if query["name"] != self.name:
            raise KeyError(query["name"])
        latest = [self._document(number) for number in self.versions if number in self.stages]
        return {
            "registered_model": {
                "name": self.name,
                "aliases": [{"alias": alias, "version": version} for alias, version in self.aliases.items()],
                "latest_versions": latest,
                "tags": _pairs(self.tags),
            }
        }

    def _version(self, query: dict[str, str]) -> dict[str, Any]:
        return {"model_version": self._document(query["version"])}

    def _document(self, number: str) -> dict[str, Any]:
        version = self.versions[number]
        return {
            "name": self.name,
            "version": number,
            "run_id": f"run{number}",
            "status": version.status,
            "current_stage": self.stages.get(number, "None"),
            "source": f"models:/m-{number}",
            "tags": _pairs(version.tags),
        }

    def _run(self, query: dict[str, str]) -> dict[str, Any]:
        version = self.versions[query["run_id"].removeprefix("run")]
        metrics = [{"key": key, "value": value} for key, value in version.metrics.items()]
        return {"run": {"data": {"metrics": metrics, "params": [{"key": "kind", "value": "tiny"}]}}}

    def _listed(self, path: str) -> tuple[int, bytes]:
        folder = self._path(path)
        files = [
            {"path": entry.name, "is_dir": entry.is_dir(), "file_size": entry.stat().st_size}
            for entry in sorted(folder.iterdir())
        ]
        return 200, json.dumps({"files": files}).encode()

    def _file(self, path: str) -> tuple[int, bytes]:
        file = self._path(path)
        return (200, file.read_bytes()) if file.is_file() else (404, b"{}")

    def _path(self, path: str) -> Path:
        number, _, rest = path.partition("/")
        return self.versions[number].folder / rest


def _pairs(tags: dict[str, str]) -> list[dict[str, str]]:
    return [{"key": key, "value": value} for key, value in tags.items()]
