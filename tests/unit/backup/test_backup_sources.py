"""What a backup takes, from the environment of its process."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest
from support.backups import KILLED
from support.local_stack import make_local_stack

from stackctl.backup.sources import Sources
from stackctl.errors import StackctlError
from stackctl.process import run
from stackctl.stack import Stack
from stackctl.stack.environment import local_environment


def _environment(stack: Stack) -> dict[str, str]:
    return {**local_environment(stack), "MLFLOW_TRACKING_URI": "http://127.0.0.1:9"}  # nobody answers there


def test_a_stack_with_folders_has_its_artifacts_and_data_as_folders(tmp_path: Path) -> None:
    stack = make_local_stack(tmp_path / "stack", backup={"include": ["data/inbound", "data/outbound", "datasets/own"]})
    sources = Sources.from_env(_environment(stack))
    assert [(bucket.name, bucket.role, bucket.folder) for bucket in sources.buckets] == [
        ("mlflow", "mlflow", stack.var / "artifacts")
    ]
    assert [folder.name for folder in sources.folders] == ["data/inbound", "data/outbound"]
    assert "datasets/own/" in sources.stack_files
    assert sources.databases == (stack.var / "mlflow" / "mlflow.db",)
    assert sources.artifacts == "mlflow"


def test_a_stack_with_buckets_has_those_that_are_included_whatever_their_names(tmp_path: Path) -> None:
    stack = make_local_stack(
        tmp_path / "stack",
        store="minio",
        buckets={"mlflow": "runs", "inbound": "photos"},
        backup={"include": ["data/inbound"]},
    )
    (stack.var / "mlflow").mkdir(parents=True)
    (stack.var / "mlflow" / "basic_auth.db").touch()
    sources = Sources.from_env(_environment(stack))
    assert [(bucket.name, bucket.role) for bucket in sources.buckets] == [("runs", "mlflow"), ("photos", "inbound")]
    assert all(bucket.store is not None for bucket in sources.buckets)
    assert [file.name for file in sources.databases] == ["mlflow.db", "basic_auth.db"]


def test_an_mlflow_that_exists_elsewhere_has_neither_database_nor_artifacts_here(tmp_path: Path) -> None:
    stack = make_local_stack(tmp_path / "stack", mlflow={"kind": "external", "tracking_uri": "http://127.0.0.1:9"})
    sources = Sources.from_env(_environment(stack))
    assert not sources.databases
    assert not sources.buckets


def test_a_variable_that_is_missing_is_named(tmp_path: Path) -> None:
    environment = _environment(make_local_stack(tmp_path / "stack"))
    del environment["STACKCTL_BACKUP_STACK"]
    with pytest.raises(StackctlError, match="STACKCTL_BACKUP_STACK"):
        Sources.from_env(environment)


def _backup(stack: Stack, **environment: str) -> tuple[int, list[dict[str, object]]]:
    """Run the entry as the engines do; return its exit status and its events."""
    done = run([sys.executable, "-m", "stackctl.backup.run"], env={**_environment(stack), **environment}, check=False)
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()]


def test_the_process_says_in_lines_of_json_how_far_it_is_and_how_it_ended(tmp_path: Path) -> None:
    stack = make_local_stack(tmp_path / "stack")
    status, events = _backup(stack)
    assert status == 1
    assert "mlflow.db" in str(events[-1]["message"])
    assert events[-1]["status"] == "failed"
    status, events = _backup(stack, PATH=os.devnull)
    assert status == events[-1]["exit"] == 4
    assert "rsync" in str(events[-1]["hint"])


def test_a_seeded_stop_kills_the_process_at_that_step(tmp_path: Path) -> None:
    stack = make_local_stack(tmp_path / "stack")
    assert _backup(stack, STACKCTL_BACKUP_STOP_AT="begun")[0] == KILLED
    assert len(list((stack.var / "backups").glob(".partial-*"))) == 1
