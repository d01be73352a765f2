"""A real model server process for tests."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import psutil
from support.waiting import PATIENCE, eventually
from unit.serving.fake_mlflow import FakeMlflow
from unit.serving.tiny_models import COLOURS, expected, photo, pixels

from stackctl import process
from stackctl.serving.client import ModelServerClient


class LiveServer:
    """``python -m stackctl.serving`` with its children, and its log."""

    def __init__(self, mlflow: FakeMlflow, cache: Path, log: Path, port: int, **environ: str) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.client = ModelServerClient(self.url)
        self._log = log
        self.process = process.start(
            [sys.executable, "-m", "stackctl.serving"],
            env={
                "STACKCTL_NAME": "tiny-stack",
                "STACKCTL_MODEL": mlflow.name,
                "MLFLOW_TRACKING_URI": mlflow.uri,
                "STACKCTL_SERVING_PORT": str(port),
                "STACKCTL_SERVING_CACHE": str(cache),
                "STACKCTL_SERVING_POLL": "0.2",
                "STACKCTL_SERVING_GRACE": "1",
                **environ,
            },
            log=log,
        )

    @property
    def log(self) -> str:
        return self._log.read_text()

    @property
    def children(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children()

    def until(self, holds: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
        """Wait until ``/model`` satisfies ``holds`` and return it; failing quotes the log."""
        deadline = time.monotonic() + PATIENCE
        document: dict[str, Any] = {}
        while time.monotonic() < deadline:
            assert self.process.poll() is None, f"the server ended:\n{self.log}"
            try:
                document = self.get("/model").json()
                if holds(document):
                    return document
            except httpx.TransportError:
                pass
            time.sleep(0.05)
        raise AssertionError(f"/model stayed {document}\n{self.log}")

    def serves(self, version: str) -> dict[str, Any]:
        return self.until(lambda model: model["version"] == version and self.client.ready())

    def get(self, path: str, **options: Any) -> httpx.Response:
        return httpx.get(f"{self.url}{path}", timeout=PATIENCE, **options)

    def invoke(self, **options: Any) -> httpx.Response:
        return httpx.post(f"{self.url}/invocations", timeout=PATIENCE, **options)

    def post(self, data: bytes, **params: Any) -> httpx.Response:
        return httpx.post(f"{self.url}/v1/image", content=data, params=params, timeout=PATIENCE)

    def terminate(self) -> None:
        os.kill(self.process.pid, signal.SIGTERM)

    def stop(self) -> None:
        self.client.close()
        process.stop(self.process, grace=15)


class Load:
    """Clients that ask without a pause and check that bytes and version belong together."""

    def __init__(self, server: LiveServer, *, threads: int = 4, pace: float = 0.0) -> None:
        self.versions: list[str] = []
        self.problems: list[str] = []
        self._server = server
        self._pace = pace
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(threads)]

    def __enter__(self) -> None:
        for thread in self._threads:
            thread.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def answered_by(self, version: str, times: int) -> None:
        eventually(
            lambda: self.versions.count(version) >= times,
            f"{times} answers of version {version}",
            log=lambda: self._server.log,
            running=self._server.process,
        )

    def _ask(self) -> None:
        data = photo()
        wanted = {version: expected(data, colour) for version, colour in COLOURS.items()}
        while not self._stop.is_set():
            try:
                answer = self._server.post(data)
            except httpx.TransportError as error:
                self.problems.append(repr(error))
                continue
            version = answer.headers.get("X-Stackctl-Model-Version", "")
            if answer.status_code != 200 or pixels(answer.content) != wanted[version]:
                self.problems.append(f"{answer.status_code} {version} {answer.text[:200]}")
            self.versions.append(version)
            self._stop.wait(self._pace)
