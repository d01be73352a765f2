"""A drill that the scheduler holds: whatever becomes of it is noted in MLflow, and pinged where it should be."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from support.small_snapshot import ID, Scene, scene
from support.stack_runs import MemoryRuns

from stackctl.backup import pings
from stackctl.backup.freshness import ERROR_TAG, KIND_TAG, OUTCOME_TAG, Told
from stackctl.backup.repository import Snapshot
from stackctl.backup.restore_places import Live
from stackctl.lifecycle import scheduled_drill
from stackctl.lifecycle.drill import Drilled
from stackctl.stack import Settings, Stack

LACKS = "has no settings of a stack"
"""Why the snapshot of these tests cannot be restored into a new stack: it was made by hand, without any."""


@dataclass
class Bench:
    """A repository with one snapshot, an MLflow, and somebody who is pinged."""

    small: Scene
    mlflow: MemoryRuns
    address: str

    def live(self, *urls: str) -> Live:
        """Return what the drill sees; ``urls`` are names of settings that lead to the one who is pinged."""
        environ = {"STACKCTL_NAME": "small", "STACKCTL_MODEL": "m", "MLFLOW_TRACKING_URI": self.address}
        backup = {url: f"{self.address}/ping/{url}" for url in urls}
        settings = Settings.parse({"name": "small", "backup": backup})
        return replace(self.small.live, stack=Stack.from_env(environ), settings=settings)


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    monkeypatch.setattr(pings, "_PAUSE", 0.0)
    mlflow = MemoryRuns()
    with ExitStack() as ends:
        yield Bench(scene(tmp_path / "one"), mlflow, ends.enter_context(mlflow.served()))


def succeeding(found: Snapshot, *_words: Any, note: Any, **_options: Any) -> Drilled:
    note(Told(found.at, "drill", "verified", found.id, found.at), {"rto_seconds": 29.0})
    return Drilled(found.id, 60.0, 29.0)


def test_a_failure_is_noted_and_pinged_at_the_drills_own_address(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    assert scheduled_drill.run(bench.live("ping_url", "drill_ping_url")) == 3
    start, end = bench.mlflow.pings
    assert start == ("/drill_ping_url/start", "")
    assert end[0] == "/drill_ping_url/fail"
    assert ID in end[1]
    assert LACKS in end[1]
    tags = bench.mlflow.tags()
    assert (tags[KIND_TAG], tags[OUTCOME_TAG]) == ("drill", "failed")
    assert LACKS in tags[ERROR_TAG]
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["exit"] == 3


def test_without_an_address_of_its_own_only_a_failure_reaches_that_of_the_backups(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert scheduled_drill.run(bench.live("ping_url")) == 3
    assert [path for path, _ in bench.mlflow.pings] == ["/ping_url/fail"]
    monkeypatch.setattr(scheduled_drill, "practise", succeeding)
    assert scheduled_drill.run(bench.live("ping_url")) == 0
    assert len(bench.mlflow.pings) == 1, "a drill that succeeds does not pass for a backup"


def test_a_success_is_noted_and_pinged(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduled_drill, "practise", succeeding)
    assert scheduled_drill.run(bench.live("drill_ping_url")) == 0
    assert bench.mlflow.pings == [("/drill_ping_url/start", ""), ("/drill_ping_url", f"restored {ID} in 29 s")]
    assert bench.mlflow.tags()[OUTCOME_TAG] == "verified"


def test_no_snapshot_to_drill_is_a_failure_like_any_other(bench: Bench) -> None:
    shutil.rmtree(bench.small.snapshot.folder)
    assert scheduled_drill.run(bench.live("ping_url")) == 2
    assert "There is no snapshot" in bench.mlflow.pings[-1][1]
    assert bench.mlflow.tags()[OUTCOME_TAG] == "failed"


def test_an_mlflow_that_is_away_hears_of_it_later(bench: Bench) -> None:
    from stackctl.backup import untold

    live = bench.live("ping_url")
    bench.mlflow.away = True
    assert scheduled_drill.run(live) == 3
    bench.mlflow.away = False
    assert untold.deliver(live.repository, live.stack) is None
    assert bench.mlflow.tags()[OUTCOME_TAG] == "failed"
