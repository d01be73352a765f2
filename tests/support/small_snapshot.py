"""A stack with a folder store and a snapshot of an earlier state of it, made by hand: no MLflow, a few files."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from stackctl.backup.manifest import FILE, HEADER, Entry, Manifest, sha256_of
from stackctl.backup.repository import Repository, Snapshot
from stackctl.backup.restore_places import Live
from stackctl.stack import Stack

ID = "20261114T050000Z-ab12"
THEN = {"1/run/artifacts/model/MLmodel": "then", "1/run/artifacts/same.txt": "same", "1/run/artifacts/ü x.txt": "lost"}
NOW = {
    "1/run/artifacts/model/MLmodel": "NOW!",
    "1/run/artifacts/same.txt": "same",
    "2/new/artifacts/later.txt": "later",
}


@dataclass(frozen=True)
class Scene:
    """A stack as it is now, and its snapshot."""

    live: Live
    snapshot: Snapshot

    def artifacts(self) -> dict[str, str]:
        """Return the content of every artifact."""
        return contents_of(self.live.stack.var / "artifacts")

    def row(self) -> str:
        """Return what the database says."""
        with contextlib.closing(sqlite3.connect(self.live.databases / "mlflow.db")) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            return str(connection.execute("SELECT word FROM words").fetchone()[0])


def scene(folder: Path) -> Scene:
    """Set the scene in an empty folder."""
    home = folder / "stack"
    home.mkdir(parents=True)
    (home / "stack.yaml").write_text("name: small\nengine: local\nstore: {kind: folder}\n")
    stack = Stack.from_folder(home)
    databases = stack.var / "mlflow"
    make_database(databases / "mlflow.db", "now")
    write(stack.var / "artifacts", NOW)
    write(home / "data", {"outbound/a.png": "a now", "inbound/late.png": "late"})
    repository = Repository(folder / "backups")
    repository.prepare()
    live = Live(stack, stack.settings, databases, home, repository, home / "secrets")
    return Scene(live, make_snapshot(repository))


def make_snapshot(repository: Repository) -> Snapshot:
    """Make the snapshot of the state before."""
    folder = repository.home / ID
    make_database(folder / "db" / "mlflow.db", "then")
    write(folder / "objects" / "mlflow", THEN)
    write(folder / "data", {"outbound/a.png": "a then", "outbound/b.png": "b"})
    files = {
        file.relative_to(folder).as_posix(): Entry(sha256_of(file), file.stat().st_size)
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }
    manifest = Manifest(files, parts={"objects": {"buckets": {"mlflow": "mlflow"}}})
    (folder / FILE).write_text(json.dumps(manifest.to_dict()))
    header = {"id": ID, "at": datetime(2026, 11, 14, 5, tzinfo=UTC).isoformat(), "sequence": 1}
    (folder / HEADER).write_text(json.dumps(header))
    return Snapshot.load(folder)


def make_database(file: Path, word: str) -> None:
    """Make a database that says one word, with MLflow's table of its schema's revision."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.closing(sqlite3.connect(file)) as connection, connection:
        connection.executescript("CREATE TABLE words (word TEXT); CREATE TABLE alembic_version (version_num TEXT);")
        connection.execute("INSERT INTO words VALUES (?)", (word,))
        connection.execute("INSERT INTO alembic_version VALUES ('abc123')")


def write(folder: Path, files: Mapping[str, str]) -> None:
    """Write text files below a folder."""
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def contents_of(folder: Path) -> dict[str, str]:
    """Return the text of every file below a folder."""
    return {file.relative_to(folder).as_posix(): file.read_text() for file in folder.rglob("*") if file.is_file()}
