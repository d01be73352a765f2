"""The age of backups as the model server tells it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from support.stack_runs import MemoryRuns

from stackctl.backup.freshness import Told, record
from stackctl.models.rest import Rest
from stackctl.serving.backup_age import BackupAge
from stackctl.serving.metrics import Metrics
from stackctl.stack import Stack


@pytest.fixture
def mlflow() -> Iterator[tuple[MemoryRuns, str]]:
    runs = MemoryRuns()
    with runs.served() as address:
        yield runs, address


def age_of(address: str) -> BackupAge:
    stack = Stack.from_env({"STACKCTL_NAME": "mine", "STACKCTL_MODEL": "m", "MLFLOW_TRACKING_URI": address})
    return BackupAge(stack, timedelta(days=8))


def test_ages_stand_in_the_document_as_moments_and_in_the_metrics_as_seconds(mlflow: tuple[MemoryRuns, str]) -> None:
    rest = Rest(mlflow[1])
    now = datetime.now(UTC)
    record(rest, "mine", Told(now - timedelta(days=9), "backup", "verified", "old", now - timedelta(days=9)))
    record(rest, "mine", Told(now - timedelta(days=1), "backup", "failed", error="the disk is full"))
    age = age_of(mlflow[1])
    asyncio.run(age.look())
    document = age.document()
    assert document is not None
    assert (document["degraded"], document["snapshot"], document["last_outcome"]) == (True, "old", "failed")
    assert age.document() == document  # nothing in it grows: the document's tag changes only with what it says
    figures = age.figures()
    assert figures["verified"] == pytest.approx(9 * 86400, abs=60)
    assert figures["run"] == pytest.approx(86400, abs=60)
    text = Metrics().text("m", "1", 0, figures).decode()
    assert 'stackctl_backup_age_seconds{of="verified"} 777' in text
    assert "stackctl_backup_degraded 1.0" in text


def test_nobody_says_that_all_is_well_before_mlflow_has_answered() -> None:
    age = age_of("http://127.0.0.1:1")
    assert (age.document(), age.figures()) == (None, {})
    assert "stackctl_backup_degraded NaN" in Metrics().text("m", None, 0, age.figures()).decode()
