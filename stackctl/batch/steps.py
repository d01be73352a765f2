"""The four steps of a batch: what a step was and how it went, so that MLflow shows each of them."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

PREPARE_MODEL = "prepare-model"
PREPARE_ENVIRONMENT = "prepare-environment"
MANAGE_WORKERS = "manage-workers"
PROCESS_BATCH = "process-batch"
FILE = "steps.jsonl"


@dataclass
class Step:
    """A step that was done.

    Attributes:
        name: which of the four.
        began: seconds of the epoch.
        ended: likewise.
        params: what it worked on.
        metrics: its figures.
    """

    name: str
    began: float
    ended: float = 0.0
    params: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)


@contextmanager
def step(name: str, run_folder: Path | None = None) -> Iterator[Step]:
    """Time the block as a step; where a run's folder is given, note it there for the run's coordinator to report.

    The block fills ``params`` and ``metrics`` of what it gets.
    """
    made = Step(name, time.time())
    yield made
    made.ended = time.time()
    made.metrics["seconds"] = made.ended - made.began
    if run_folder is not None:
        record(run_folder, made)


def record(run_folder: Path, done: Step) -> None:
    """Note a step in a run's folder."""
    with (run_folder / FILE).open("a") as file:
        file.write(json.dumps(asdict(done)) + "\n")


def recorded(run_folder: Path) -> list[Step]:
    """Return the steps that were noted in a run's folder, each once, the last time it was done."""
    found: dict[str, Step] = {}
    try:
        lines = (run_folder / FILE).read_text().splitlines()
    except OSError:
        return []
    for line in lines:
        try:
            document: Mapping[str, object] = json.loads(line)
            found[str(document["name"])] = Step(**document)  # type: ignore[arg-type]
        except (ValueError, KeyError, TypeError):  # cut short by a kill
            continue
    return list(found.values())
