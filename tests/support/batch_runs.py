"""Real runs of the batch coordinator between folders or buckets, without a stack around them."""

from __future__ import annotations

import contextlib
import hashlib
import secrets
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from support.waiting import PATIENCE, eventually

from stackctl.batch.events import read
from stackctl.batch.order import Order, OrderedModel
from stackctl.process import start, stop


@dataclass
class Running:
    """A run whose coordinator was started."""

    folder: Path
    process: Any

    @property
    def events(self) -> list[dict[str, Any]]:
        """What it told so far."""
        return [event for event, _ in read(self.folder / "events.jsonl")]

    def names(self, status: str) -> list[str]:
        """Return the images of this status, as told."""
        return [event["name"] for event in self.events if event["event"] == "image" and event["status"] == status]

    def until(self, condition: Callable[[list[dict[str, Any]]], bool], what: str) -> None:
        """Wait until its events say something."""
        eventually(lambda: condition(self.events), what, log=lambda: self.log, running=self.process, pause=0.005)

    def ended(self) -> dict[str, Any]:
        """Wait for its end, and return how it ended."""
        self.process.wait(PATIENCE)
        last = self.events[-1] if self.events else {"event": "nothing"}
        assert last["event"] == "end", f"{last}\n{self.log}"
        assert last["exit"] == self.process.returncode
        return last

    def finishes(self) -> None:
        """Wait for its end, which must be a good one."""
        end = self.ended()
        assert end["status"] == "ok", f"{end}\n{self.log}"

    def workers(self) -> list[psutil.Process]:
        """Return its worker processes."""
        children = psutil.Process(self.process.pid).children(recursive=True)
        found = []
        for child in children:
            with contextlib.suppress(psutil.NoSuchProcess):  # others come and go
                if child.status() != psutil.STATUS_ZOMBIE and "spawn_main" in " ".join(child.cmdline()):
                    found.append(child)
        return found

    def kill_everything(self) -> None:
        """Kill the coordinator and all its workers, as a machine that loses power does."""
        for each in [psutil.Process(self.process.pid), *psutil.Process(self.process.pid).children(recursive=True)]:
            each.kill()
        self.process.wait()

    @property
    def log(self) -> str:
        """What the processes wrote."""
        file = self.folder / "log.txt"
        return file.read_text(errors="replace")[-3000:] if file.exists() else ""


@dataclass
class BatchRuns:
    """Runs below one folder.

    Attributes:
        folder: gets runs and manifests.
        model: what upscales.
        env: of the coordinator.
    """

    folder: Path
    model: OrderedModel
    env: dict[str, str] = field(default_factory=dict)
    running: list[Running] = field(default_factory=list)

    def start(self, source: Path | str, target: Path | str, bad: Path | str, **order: Any) -> Running:
        """Start a run."""
        name = f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"
        folder = self.folder / "runs" / name
        folder.mkdir(parents=True)
        (folder / "order.json").write_text(
            Order(name, "now", str(source), str(target), str(bad), self.model, **{"workers": 2, **order}).to_json()
        )
        env = {
            "STACKCTL_NAME": "tested",
            "STACKCTL_MODEL": self.model.name,
            "MLFLOW_TRACKING_URI": "http://127.0.0.1:9",  # nothing listens there: MLflow is gone for the whole run
            "STACKCTL_WORKER_CACHE": str(self.folder / "cache"),
            **self.env,
        }
        argv = [sys.executable, "-m", "stackctl.batch.coordinator", str(folder)]
        found = Running(folder, start(argv, env=env, log=folder / "log.txt"))
        self.running.append(found)
        return found

    def stop(self) -> None:
        """End what still runs."""
        for each in self.running:
            stop(each.process, grace=0.1)


def digests(folder: Path) -> dict[str, str]:
    """Return the digest of every file below a folder, hidden ones too."""
    return {
        file.relative_to(folder).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in folder.rglob("*")
        if file.is_file()
    }
