"""Before MLflow changes its database's schema a snapshot is taken; a database of a newer MLflow is not opened."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import pytest

from stackctl.backup.restore_schema import head, migrations, revisions
from stackctl.engines import Engine
from stackctl.errors import StackctlError
from stackctl.lifecycle.migration import prepare_migration, remember
from stackctl.lifecycle.open_restore import begin
from stackctl.lifecycle.up import restart
from stackctl.process import Completed, run
from stackctl.stack import Stack


class Restarted(Exception):
    """The engine was asked to restart services."""

    def __init__(self, services: Sequence[str]) -> None:
        self.services = list(services)


class OneOffs:
    """Runs one-off commands where the databases are; instead of a backup it notes that one was asked for."""

    def __init__(self, databases: Path) -> None:
        self.databases = databases
        self.asked: list[str] = []

    def run_once(
        self,
        environment: str,
        argv: Sequence[str],
        *,
        mounts: Mapping[Path, str] | None = None,
        env: Mapping[str, str] | None = None,
        on_line: Callable[[str], None] | None = None,
    ) -> Completed:
        self.asked.append(argv[2])
        if argv[2] == "stackctl.backup.run" and on_line:
            on_line(json.dumps({"event": "end", "status": "ok", "exit": 0, "snapshot": "20261114T050000Z-ab12"}))
            return Completed(tuple(argv), 0, "", "")
        if argv[2] == "stackctl.lifecycle.schema_worker":
            return Completed(tuple(argv), 0, "", "")
        return run([sys.executable, *argv[1:]], env={"STACKCTL_BACKUP_DATABASES": os.fspath(self.databases)})

    def down(self) -> None:
        self.asked.append("down")

    def prepare(self, progress: Callable[[str, str], None]) -> None: ...

    def restart(self, services: Sequence[str], progress: Callable[[str, str], None]) -> None:
        raise Restarted(services)


class Scene:
    def __init__(self, folder: Path) -> None:
        (folder / "stack.yaml").write_text("name: small\nengine: local\nstore: {kind: folder}\n")
        self.stack = Stack.from_folder(folder)
        self.engine = OneOffs(self.stack.var / "mlflow")
        self.told: list[str] = []

    def has(self, revision: str) -> None:
        self.engine.databases.mkdir(parents=True, exist_ok=True)
        with contextlib.closing(sqlite3.connect(self.engine.databases / "mlflow.db")) as connection, connection:
            connection.execute("DROP TABLE IF EXISTS alembic_version")
            connection.execute("CREATE TABLE alembic_version (version_num TEXT)")
            connection.execute("INSERT INTO alembic_version VALUES (?)", (revision,))

    def prepare(self, **options: Any) -> str | None:
        return prepare_migration(
            self.stack, cast("Engine", self.engine), lambda _, what: self.told.append(what), **options
        )


@pytest.fixture
def small(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def newest() -> tuple[str, str]:
    """Return the newest revision of the installed MLflow, and the one before."""
    known = revisions(migrations())
    last = str(head(known))
    return last, str(known[last])


def test_an_older_schema_gets_a_snapshot_before_mlflow_changes_it(small: Scene) -> None:
    small.has(newest()[1])
    assert small.prepare() == "20261114T050000Z-ab12"
    change = ["down", "stackctl.lifecycle.schema_worker"]
    assert small.engine.asked == ["stackctl.backup.restore_schema", "stackctl.backup.run", *change]


def test_without_a_snapshot_it_goes_on_only_when_told_so_and_says_it_loudly(small: Scene) -> None:
    small.has(newest()[1])
    assert small.prepare(backup=False) is None
    assert small.engine.asked == ["stackctl.backup.restore_schema", "down", "stackctl.lifecycle.schema_worker"]
    assert any("no snapshot is taken" in line for line in small.told)


def test_a_database_of_a_newer_mlflow_is_not_opened(small: Scene) -> None:
    small.has("ffffffffffff")
    with pytest.raises(StackctlError, match="has schema ffffffffffff; this MLflow's newest is"):
        small.prepare()


def test_the_same_mlflow_is_asked_once(small: Scene) -> None:
    assert small.prepare() is None  # there is no database yet
    small.has(newest()[0])
    assert small.prepare() is None
    assert len(small.engine.asked) == 2
    remember(small.stack)
    assert small.prepare() is None
    assert len(small.engine.asked) == 2


def test_an_image_of_mlflow_that_a_person_names_is_asked_too(small: Scene) -> None:
    small.has(newest()[0])
    assert small.prepare() is None
    remember(small.stack)
    override = small.stack.home / "compose.override.yaml"
    override.write_text("services: {mlflow: {image: mlflow-of-last-year}}\n")
    small.has("ffffffffffff")  # newer than what that image knows
    with pytest.raises(StackctlError, match="has schema ffffffffffff"):
        small.prepare()


@pytest.mark.parametrize(("services", "restarted"), [(["mlflow"], []), ([], []), (["demo"], ["demo"])])
def test_a_restart_of_mlflow_takes_the_snapshot_too(small: Scene, services: list[str], restarted: list[str]) -> None:
    small.has(newest()[1])
    with pytest.raises(Restarted) as asked:
        restart(small.stack, cast("Engine", small.engine), services, lambda _subject, _what: None)
    assert asked.value.services == restarted
    assert ("stackctl.lifecycle.schema_worker" in small.engine.asked) == (services != ["demo"])


def test_nothing_is_restarted_on_half_a_restore(small: Scene) -> None:
    begin(small.stack, "20261114T050000Z-ab12")
    with pytest.raises(StackctlError, match="A restore of the snapshot"):
        restart(small.stack, cast("Engine", small.engine), ["mlflow"], lambda _subject, _what: None)
    assert small.engine.asked == []
