"""An MLflow that knows experiments and runs only, in memory, behind real HTTP calls' data."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx

from stackctl.models.rest import Rest


class MemoryRuns:
    """Answers the calls that the age of backups needs.

    Attributes:
        experiments: by name.
        runs: in the order in which they were made.
        away: whether it does not answer.
        pings: paths below ``/ping`` that were called, and what came with them.
    """

    def __init__(self) -> None:
        self.experiments: dict[str, dict[str, Any]] = {}
        self.runs: list[dict[str, Any]] = []
        self.calls: list[str] = []
        self.pings: list[tuple[str, str]] = []
        self.away = False

    def rest(self) -> Rest:
        """Return what calls it."""
        return Rest("http://mlflow", transport=httpx.MockTransport(self.answer))

    def tags(self, number: int = -1) -> dict[str, str]:
        """Return the tags of a run."""
        return {tag["key"]: tag["value"] for tag in self.runs[number]["data"]["tags"]}

    @contextmanager
    def served(self) -> Iterator[str]:
        """Answer real HTTP calls until the block ends; yields the address."""
        runs = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._pass_on()

            def do_POST(self) -> None:
                self._pass_on()

            def _pass_on(self) -> None:
                text = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                if self.path.startswith("/ping"):
                    runs.pings.append((self.path.removeprefix("/ping"), text.decode()))
                    answer = httpx.Response(200)
                elif runs.away:
                    answer = httpx.Response(503)
                else:
                    answer = runs.answer(httpx.Request(self.command, f"http://mlflow{self.path}", content=text))
                self.send_response(answer.status_code)
                self.send_header("Content-Length", str(len(answer.content)))
                self.end_headers()
                self.wfile.write(answer.content)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
                """Say nothing."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            server.server_close()

    def answer(self, request: httpx.Request) -> httpx.Response:
        """Answer one call."""
        if self.away:
            raise httpx.ConnectError("nothing listens", request=request)
        endpoint = request.url.path.removeprefix("/api/2.0/mlflow/")
        self.calls.append(endpoint)
        body: dict[str, Any] = json.loads(request.content) if request.content else dict(request.url.params)
        try:
            return httpx.Response(200, json=getattr(self, "_" + endpoint.replace("/", "_").replace("-", "_"))(body))
        except KeyError:
            return httpx.Response(404, json={"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "there is none"})

    def _experiments_get_by_name(self, body: dict[str, Any]) -> dict[str, Any]:
        return {"experiment": self.experiments[body["experiment_name"]]}

    def _experiments_create(self, body: dict[str, Any]) -> dict[str, Any]:
        number = str(len(self.experiments) + 1)
        self.experiments[body["name"]] = {"experiment_id": number, "lifecycle_stage": "active", "tags": []}
        return {"experiment_id": number}

    def _experiments_restore(self, body: dict[str, Any]) -> dict[str, Any]:
        self._by_id(body["experiment_id"])["lifecycle_stage"] = "active"
        return {}

    def _experiments_set_experiment_tag(self, body: dict[str, Any]) -> dict[str, Any]:
        self._by_id(body["experiment_id"])["tags"].append({"key": body["key"], "value": body["value"]})
        return {}

    def _runs_create(self, body: dict[str, Any]) -> dict[str, Any]:
        info = {"run_id": f"r{len(self.runs)}", "start_time": body["start_time"], "status": "RUNNING"}
        run = {"info": info, "data": {"tags": body["tags"], "metrics": []}, "experiment": body["experiment_id"]}
        self.runs.append(run)
        return {"run": run}

    def _runs_log_batch(self, body: dict[str, Any]) -> dict[str, Any]:
        self._run(body["run_id"])["data"]["metrics"] += body["metrics"]
        return {}

    def _runs_update(self, body: dict[str, Any]) -> dict[str, Any]:
        self._run(body["run_id"])["info"]["status"] = body["status"]
        return {}

    def _runs_search(self, body: dict[str, Any]) -> dict[str, Any]:
        stack = body["filter"].split("'")[1]
        found = [
            run
            for run in self.runs
            if run["experiment"] in body["experiment_ids"]
            and {"key": "stackctl.stack", "value": stack} in run["data"]["tags"]
        ]
        return {"runs": sorted(found, key=lambda run: -run["info"]["start_time"])[: body["max_results"]]}

    def _by_id(self, number: str) -> dict[str, Any]:
        return next(each for each in self.experiments.values() if each["experiment_id"] == number)

    def _run(self, name: str) -> dict[str, Any]:
        return next(run for run in self.runs if run["info"]["run_id"] == name)
