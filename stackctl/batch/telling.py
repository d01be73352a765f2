"""What is told of a batch run, as items of its outbox."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from stackctl.batch.delivery import ITEM
from stackctl.batch.outbox import Item
from stackctl.models import tags as registry_tags

if TYPE_CHECKING:
    from stackctl.batch.order import Order

RUN = "stackctl.batch.run"
"""On a run in MLflow: the batch run that it belongs to."""
STEP = "stackctl.batch.step"
"""On a run in MLflow: which of the four steps it is."""
STATUS = "stackctl.batch.status"
"""On a batch run in MLflow: how it ended, in the words of ``stackctl batch status``."""
MODEL = "stackctl.model"
MODEL_VERSION = "stackctl.model.version"
MODEL_RUN = "stackctl.model.run"
DEFAULT_EXPERIMENT = "batch"
_PARAMS = (
    "suffix", "workers", "batch_size", "scheduler", "error_threshold", "retry_failed",
    "watch", "image_timeout", "environment_hash",
)  # fmt: skip
LONGEST = 5000  # MLflow takes values of parameters and tags up to this length


def run(
    batch: str,
    experiment: str | None,
    key: str,
    name: str,
    tags: Mapping[str, str],
    *,
    parent: str | None = None,
    began: float | None = None,
) -> Item:
    """Return a run of MLflow to be created for a batch run.

    Args:
        batch: the batch run.
        experiment: MLflow's, by name; None is the default.
        key: name of the run in the outbox.
        name: what MLflow shows.
        tags: of the run.
        parent: name of its parent in the outbox.
        began: seconds of the epoch; None is now.
    """
    own = {
        ITEM: f"{batch}/{key}",
        RUN: batch,
        "mlflow.source.name": "stackctl batch",
        "mlflow.source.type": "JOB",
    }
    body = {
        "experiment": experiment or DEFAULT_EXPERIMENT,
        "name": name,
        "parent": parent,
        "start_time": _ms(began),
        "tags": {**own, **tags},
    }
    return Item("run", key, body)


def log(
    key: str,
    *,
    params: Mapping[str, object] | None = None,
    metrics: Mapping[str, float | None] | None = None,
    tags: Mapping[str, str] | None = None,
    at: float | None = None,
    step: int = 0,
) -> Item:
    """Return values to be logged; figures that are no finite numbers are left out."""
    body: dict[str, Any] = {
        "params": [{"key": name, "value": _text(value)} for name, value in (params or {}).items()],
        "tags": [{"key": name, "value": _text(value)} for name, value in (tags or {}).items()],
        "metrics": [
            {"key": name, "value": float(value), "timestamp": _ms(at), "step": step}
            for name, value in (metrics or {}).items()
            if isinstance(value, int | float) and math.isfinite(value)
        ],
    }
    return Item("log", key, {name: entries for name, entries in body.items() if entries})


def end(key: str, status: str, *, name: str | None = None, at: float | None = None) -> Item:
    """Return the end of a run: ``FINISHED``, ``FAILED`` or ``KILLED``; ``name`` renames it."""
    return Item("end", key, {"status": status, "end_time": _ms(at), **({"run_name": name} if name else {})})


def tags(order: Order) -> dict[str, str]:
    """Return the tags of a batch run: which model it ran."""
    model = order.model
    found = {
        MODEL: model.name,
        MODEL_VERSION: model.version,
        registry_tags.DIGEST: model.digest,
        MODEL_RUN: model.run_id,
    }
    return {name: str(value) for name, value in found.items() if value}


def params(order: Order) -> dict[str, object]:
    """Return the parameters of a batch run: what it was told, and with what."""
    model = order.model
    given: dict[str, object] = {"model": f"{model.name}/{model.version}", **dataclasses.asdict(order.options)}
    given.update(input=order.shown("input"), output=order.shown("output"), quarantine=order.shown("quarantine"))
    return {**given, **{name: getattr(order, name) for name in _PARAMS}}


def _text(value: object) -> str:
    return str(value)[:LONGEST]


def _ms(at: float | None) -> int:
    return int((time.time() if at is None else at) * 1000)
