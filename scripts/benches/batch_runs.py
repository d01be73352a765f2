"""Runs of the batch coordinator for a benchmark: made, timed, watched, with an MLflow that takes what it is told."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import shutil
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from stackctl import process
from stackctl.batch.events import FILE as EVENTS
from stackctl.batch.events import read
from stackctl.batch.order import FILE, NOOP, Order, OrderedModel, OrderedOptions
from stackctl.errors import StackctlError

WATCH_SECONDS = 0.05


@dataclass
class Ran:
    """One run of the coordinator.

    Attributes:
        seconds: of the whole process.
        cpu: seconds of the coordinator and its workers.
        events: what it told.
        worker_mib: the largest peak of a worker process.
        coordinator_mib: peak of the coordinator.
    """

    seconds: float
    cpu: float
    events: list[dict[str, Any]]
    worker_mib: float = 0.0
    coordinator_mib: float = 0.0

    def of(self, name: str) -> list[dict[str, Any]]:
        """Return the events of a name."""
        return [event for event in self.events if event["event"] == name]

    def moment(self, name: str, *, last: bool = False, **wanted: Any) -> float:
        """Return when the first (or last) event with these facts was, in seconds of the epoch."""
        found = [event for event in self.of(name) if all(event.get(key) == value for key, value in wanted.items())]
        if not found:
            raise StackctlError(f"The run told of no {name}: {self.events[-3:]}")
        return datetime.fromisoformat(found[-1 if last else 0]["at"]).timestamp()

    @property
    def working(self) -> float:
        """Seconds from the first image that was begun to the last that was ready."""
        return self.moment("image", last=True) - self.moment("started")


@dataclass
class Batches:
    """Makes and runs batch runs below a folder."""

    folder: Path
    mlflow: str
    network: str = NOOP
    made: int = 0
    peaks: dict[int, float] = field(default_factory=dict)

    def run(self, inputs: Path, outputs: Path, *, workers: int | str = "auto", precision: str = "auto") -> Ran:
        """Run a batch between two folders to its end.

        Raises:
            StackctlError: it did not end well.
        """
        self.made += 1
        name = f"20260101-{self.made:06d}-beef"
        folder = self.folder / "batch" / "runs" / name
        folder.mkdir(parents=True)
        (self.folder / "bad").mkdir(exist_ok=True)
        outputs.mkdir(exist_ok=True)
        model = OrderedModel("bench", "1", f"sha256:{precision}", network=self.network, bf16_allowed=True)
        options = OrderedOptions(format="png" if self.network != NOOP else "auto", precision=precision)
        places = {"input": str(inputs), "output": str(outputs), "quarantine": str(self.folder / "bad")}
        order = Order(name, "2026-01-01T00:00:00Z", model=model, options=options, workers=workers, **places)  # type: ignore[arg-type]
        (folder / FILE).write_text(order.to_json())
        ran = self._run(folder)
        end = ran.of("end")
        bad = [event for event in ran.of("image") if event["status"] == "quarantined"]
        if not end or end[-1]["status"] != "ok" or bad:
            log = (folder / "log.txt").read_text()[-2000:]
            raise StackctlError(f"A run of the bench ended badly: {bad[:1] or end or 'without a word'}\n{log}")
        return ran

    def _run(self, folder: Path) -> Ran:
        env = {
            "STACKCTL_NAME": "bench",
            "STACKCTL_MODEL": "bench",
            "MLFLOW_TRACKING_URI": self.mlflow,
            "STACKCTL_CACHE": str(self.folder / "cache"),
        }
        argv = [sys.executable, "-m", "stackctl.batch.coordinator", folder]
        before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        running = process.start(argv, env=env, log=folder / "log.txt")
        peaks: dict[int, float] = {}
        while running.poll() is None:
            _watch(running.pid, peaks)
            time.sleep(WATCH_SECONDS)
        seconds, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        events = [event for event, _ in read(folder / EVENTS)]
        workers = [peak for pid, peak in peaks.items() if pid != running.pid]
        return Ran(seconds, cpu, events, max(workers, default=0.0), peaks.get(running.pid, 0.0))

    def forget(self) -> None:
        """Forget all runs and what they made."""
        for name in ("batch", "bad"):
            shutil.rmtree(self.folder / name, ignore_errors=True)


def _watch(pid: int, peaks: dict[int, float]) -> None:
    """Note the peaks (MiB) of a process and of those it started, in whichever of its threads."""
    with contextlib.suppress(OSError):
        children = [file.read_text().split() for file in Path(f"/proc/{pid}/task").glob("*/children")]
        for each in (pid, *(int(child) for found in children for child in found)):
            with contextlib.suppress(OSError, StopIteration):
                lines = Path(f"/proc/{each}/status").read_text().splitlines()
                peaks[each] = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


class _Answers(BaseHTTPRequestHandler):
    """Answers MLflow's calls with as little as its clients need."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Answer a reading call."""
        self._answer({"experiment": {"experiment_id": "1", "lifecycle_stage": "active"}})

    def do_PUT(self) -> None:
        """Take a file."""
        self.do_POST()

    def do_POST(self) -> None:
        """Take what is told."""
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self._answer(
            {"run": {"info": {"run_id": os.urandom(8).hex(), "artifact_uri": "mlflow-artifacts:/1/r/artifacts"}}}
        )

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's word
        """Say nothing."""

    def _answer(self, document: dict[str, Any]) -> None:
        body = json.dumps(document).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@contextlib.contextmanager
def obliging_mlflow() -> Iterator[str]:
    """Run a server that takes whatever MLflow takes; yields its URL."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Answers)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
