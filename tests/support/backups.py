"""A stack's data to take snapshots of: a database as MLflow keeps it, and objects; no server runs."""

from __future__ import annotations

import contextlib
import hashlib
import multiprocessing
import signal
import sqlite3
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from stackctl.backup.events import Hooks, nothing
from stackctl.backup.repository import Repository, Snapshot
from stackctl.backup.run import stopper
from stackctl.backup.snapshot import take
from stackctl.backup.sources import Bucket, Folder, Sources
from stackctl.models.digest import digest_of_files
from stackctl.store.errors import StoreGone
from stackctl.store.urls import ObjectInfo, ObjectMissing, ObjectStore

KILLED = -signal.SIGKILL
"""The exit status of a process that was killed."""
SCHEMA = """
CREATE TABLE alembic_version (version_num TEXT);
CREATE TABLE runs (run_uuid TEXT PRIMARY KEY, lifecycle_stage TEXT, artifact_uri TEXT);
CREATE TABLE tags (run_uuid TEXT REFERENCES runs (run_uuid), key TEXT, value TEXT);
CREATE TABLE model_versions
(name TEXT, version INTEGER, source TEXT, storage_location TEXT, status TEXT, current_stage TEXT);
CREATE TABLE model_version_tags (name TEXT, version INTEGER, key TEXT, value TEXT);
CREATE TABLE logged_models (model_id TEXT, name TEXT, artifact_location TEXT, status INTEGER, lifecycle_stage TEXT);
CREATE TABLE logged_model_tags (model_id TEXT, tag_key TEXT, tag_value TEXT);
INSERT INTO alembic_version VALUES ('dc11669786a5');
"""


class Shelf(ObjectStore):
    """An object store in memory that can be paused, and whose objects can change while they are read."""

    def __init__(self, url: str = "s3://mlflow") -> None:
        self.url = url
        self.objects: dict[str, bytes] = {}
        self.reads: list[str] = []
        self.gone = False
        self.before_read: Callable[[str], None] = lambda _key: None

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """Yield what is there."""
        self._answer()
        for key in sorted(self.objects):
            yield self.head(key)

    def head(self, key: str) -> ObjectInfo:
        """Return what is known of an object."""
        self._answer()
        if key not in self.objects:
            raise ObjectMissing(f"There is no {self.url}/{key}.")
        data = self.objects[key]
        etag = hashlib.md5(data).hexdigest()  # noqa: S324 - what S3 does
        return ObjectInfo(key, len(data), datetime(2026, 1, 1, tzinfo=UTC), etag)

    def blocks(self, key: str) -> Iterator[bytes]:
        """Yield an object's bytes in blocks."""
        self.before_read(key)
        self._answer()
        self.reads.append(key)
        if key not in self.objects:
            raise ObjectMissing(f"There is no {self.url}/{key}.")
        data = self.objects[key]
        for start in range(0, len(data), 1000):
            yield data[start : start + 1000]

    def _answer(self) -> None:
        if self.gone:
            raise StoreGone(f"The object store failed at {self.url}.")


class Backed:
    """A stack's data below one folder, and a repository for its snapshots.

    Attributes:
        shelf: the artifact bucket.
        database: MLflow's database.
        inbound: a data folder.
        repository: where snapshots go.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.shelf = Shelf()
        self.database = folder / "mlflow" / "mlflow.db"
        self.inbound = folder / "stack" / "data" / "inbound"
        self.repository = Repository(folder / "backups")
        self.database.parent.mkdir(parents=True)
        self.inbound.mkdir(parents=True)
        (folder / "stack" / "pipeline").mkdir()
        (folder / "stack" / "stack.yaml").write_text("name: tested\n")
        (folder / "stack" / "pipeline" / "MLproject").write_text("name: tested\n")
        (self.inbound / "photo.png").write_bytes(b"a photo")
        with self.sql() as connection:
            connection.executescript(SCHEMA)

    @contextlib.contextmanager
    def sql(self) -> Iterator[sqlite3.Connection]:
        """Change the database."""
        with contextlib.closing(sqlite3.connect(self.database)) as connection, connection:
            yield connection

    def log_run(self, number: int) -> str:
        """Log a run with one artifact, and return its id."""
        run = f"{number:032x}"
        self.shelf.objects[f"0/{run}/artifacts/log.txt"] = f"run {number}".encode() * 100
        with self.sql() as connection:
            connection.execute(
                "INSERT INTO runs VALUES (?, 'active', ?)", (run, f"mlflow-artifacts:/0/{run}/artifacts")
            )
            connection.execute("INSERT INTO tags VALUES (?, 'number', ?)", (run, str(number)))
        return run

    def register(self, version: int, name: str = "super-resolution") -> str:
        """Register a model version of two files, tagged with its digest; return its key in the bucket."""
        key = f"0/models/m-{version:032x}/artifacts"
        files = {"MLmodel": f"version {version}".encode(), "network.onnx": bytes([version]) * 3000}
        for path, data in files.items():
            self.shelf.objects[f"{key}/{path}"] = data
        digest = digest_of_files({path: hashlib.sha256(data).hexdigest() for path, data in files.items()})
        with self.sql() as connection:
            row = (name, version, f"models:/m-{version:032x}", f"mlflow-artifacts:/{key}", "READY", "None")
            connection.execute("INSERT INTO model_versions VALUES (?, ?, ?, ?, ?, ?)", row)
            connection.execute(
                "INSERT INTO model_version_tags VALUES (?, ?, 'stackctl.digest', ?)", (name, version, digest)
            )
        return key

    @property
    def sources(self) -> Sources:
        """What a snapshot is taken of."""
        stack = self.folder / "stack"
        return Sources(
            "tested",
            databases=(self.database,),
            buckets=(Bucket("mlflow", "mlflow", store=self.shelf),),
            folders=(Folder("data/inbound", self.inbound),),
            stack=stack,
        )

    def take(self, hooks: Hooks = nothing) -> Snapshot:
        """Take a snapshot."""
        return take(self.sources, self.repository, hooks=hooks)

    def take_and_die(self, step: str) -> int:
        """Take a snapshot in a process that is killed at a step; return its exit status (-9: it was)."""
        process = multiprocessing.get_context("fork").Process(
            target=self.take, args=(stopper({"STACKCTL_BACKUP_STOP_AT": step}),)
        )
        process.start()
        process.join(60)
        return process.exitcode if process.exitcode is not None else 0

    def contents(self) -> dict[str, bytes]:
        """Return what a snapshot of now must hold beside databases and settings."""
        files = {
            f"data/inbound/{file.relative_to(self.inbound)}": file for file in self.inbound.rglob("*") if file.is_file()
        }
        return {
            **{f"objects/mlflow/{key}": data for key, data in self.shelf.objects.items()},
            **{path: file.read_bytes() for path, file in files.items()},
        }


def restored(snapshot: Snapshot) -> dict[str, bytes]:
    """Return what is in a snapshot beside databases and settings, read from its files."""
    return {
        path: (snapshot.folder / path).read_bytes()
        for path in snapshot.manifest.files
        if path.startswith(("objects/", "data/"))
    }


def runs_in(snapshot: Snapshot) -> set[str]:
    """Return the runs in a snapshot's database."""
    with contextlib.closing(sqlite3.connect(snapshot.folder / "db" / "mlflow.db")) as connection:
        return {row[0] for row in connection.execute("SELECT run_uuid FROM runs")}
