"""The snapshot that something irreversible relies on is there, not only remembered."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pytest
from support.stack_runs import MemoryRuns

from stackctl.backup.freshness import Told, record
from stackctl.engines import Engine
from stackctl.lifecycle.fresh_snapshot import ensure_snapshot
from stackctl.process import Completed
from stackctl.stack import Stack


class Keeping:
    """An engine whose repository holds these snapshots, and takes the snapshot NEW."""

    def __init__(self, *snapshots: dict[str, Any]) -> None:
        self.snapshots = snapshots

    def run_once(self, _environment: str, argv: Sequence[str], *, on_line: Callable[[str], None]) -> Completed:
        listed = {"event": "answer", "snapshots": self.snapshots}
        taken = {"event": "end", "status": "ok", "exit": 0, "snapshot": "NEW"}
        on_line(json.dumps(listed if "list" in argv else taken))
        return Completed(tuple(argv), 0, "", "")


@pytest.mark.parametrize(
    ("there", "used"),
    [
        ([{"id": "OLD", "verified": "2026-11-21T05:00:00Z", "damaged": []}], "OLD"),
        ([{"id": "OLD", "verified": None, "damaged": ["db/mlflow.db"]}], "NEW"),
        ([], "NEW"),
    ],
)
def test_a_snapshot_that_mlflow_remembers_counts_only_while_the_repository_has_it(
    tmp_path: Path, there: list[dict[str, Any]], used: str
) -> None:
    mlflow, now = MemoryRuns(), datetime.now(UTC)
    record(mlflow.rest(), "mine", Told(now, "backup", "verified", "OLD", now))
    (tmp_path / "stack.yaml").write_text("name: mine\n")
    with mlflow.served() as address:
        variables = {"STACKCTL_NAME": "mine", "STACKCTL_MODEL": "m", "MLFLOW_TRACKING_URI": address}
        stack = replace(Stack.from_folder(tmp_path), endpoints=Stack.from_env(variables).endpoints)
        assert ensure_snapshot(stack, cast("Engine", Keeping(*there)), lambda _subject, _what: None) == used
