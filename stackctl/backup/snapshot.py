"""Taking a snapshot, in steps that can be interrupted anywhere: until it is renamed, only those before it exist."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import secrets as randomness
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from stackctl.backup import rsync, secrets, space, versions
from stackctl.backup.closure import Closure, closure
from stackctl.backup.contents import Contents
from stackctl.backup.documents import flush, write_document
from stackctl.backup.events import Events, Hooks, Progress, nothing, quiet
from stackctl.backup.freshness import SNAPSHOT_TAG, STACK_TAG
from stackctl.backup.manifest import FILE, HEADER, SCHEMA, Manifest, sha256_of
from stackctl.backup.mirror import Index, Mirror, Plan
from stackctl.backup.repository import PARTIAL, Repository, Snapshot
from stackctl.backup.sources import Bucket, Sources
from stackctl.backup.sqlite_copy import copy_database, dangling_in, rows_in
from stackctl.errors import StackctlError

STEPS = (
    "begun",
    "databases",
    "listed",
    "objects",
    "data",
    "stack",
    "secrets",
    "manifest",
    "flushed",
    "renamed",
    "latest",
    "marked",
)
"""The steps, in their order; hooks are called with each once it is done (and with ``object`` for each object read)."""
COUNTED = ("runs", "model_versions")
"""Tables of MLflow's database that nothing empties but an accident, or a large `stackctl gc`."""
_FLUSHERS = 16


def take(
    sources: Sources,
    repository: Repository,
    *,
    events: Events = quiet,
    hooks: Hooks = nothing,
    now: Callable[[], datetime] | None = None,
) -> Snapshot:
    """Take a snapshot and return it. Nothing is pruned and nothing is verified.

    Raises:
        MissingPrerequisite: there is no rsync.
        Busy: something else works in the repository.
        NoRoom: the target is full.
        StackctlError: anything else; the snapshots before are as they were, and nothing of this one is left.
    """
    version = rsync.require()
    repository.prepare()
    with repository.lock("backup"), _target_errors(repository):
        if left := repository.clean():
            events("note", text=f"Removed what an interrupted backup left: {', '.join(left)}.")
        begun = (now() if now else datetime.now(UTC)).astimezone(UTC)
        taking = _Taking(sources, repository, begun, version, events, hooks)
        try:
            return taking.run()
        except BaseException:
            shutil.rmtree(taking.folder, ignore_errors=True)
            raise


class _Taking:
    """One snapshot in the making."""

    def __init__(
        self, sources: Sources, repository: Repository, at: datetime, rsync_version: str, events: Events, hooks: Hooks
    ) -> None:
        self._sources = sources
        self._repository = repository
        self._at = at
        self._rsync_version = rsync_version
        self._events = events
        self._hooks = hooks
        self._begun = time.monotonic()
        self._id = f"{at:%Y%m%dT%H%M%SZ}-{randomness.token_hex(2)}"
        self._base = _base(repository)
        self._parts: dict[str, Any] = {}
        self.folder = repository.root / f"{PARTIAL}{self._id}"
        careful = self._base is not None and not repository.marks.trusted(self._base.id)
        self._contents = Contents(self.folder, self._base, events, careful=careful)

    def run(self) -> Snapshot:
        """Take it."""
        self.folder.mkdir(mode=0o700)
        base = self._base.id if self._base else None
        self._events("begin", id=self._id, target=str(self._repository.root), base=base)
        self._done("begun")
        self._databases()
        self._done("databases")
        with contextlib.closing(Index(self._repository.state / "mirror.sqlite")) as index:
            plans = self._listed(index)
            self._done("listed")
            self._objects(plans)
        self._done("objects")
        for folder in self._sources.folders:
            self._contents.copy(folder.name, folder.path)
        self._done("data")
        known = self._stack()
        self._done("stack")
        self._secrets()
        self._done("secrets")
        header = self._manifest(known)
        self._done("manifest")
        self._flush()
        self._done("flushed")
        return self._commit(header)

    def _done(self, step: str) -> None:
        self._events("step", name=step, state="done", seconds=round(time.monotonic() - self._begun, 3))
        self._hooks(step)

    def _databases(self) -> None:
        """Databases come before objects: whatever they refer to was written before, so it is among the objects."""
        sizes = [database.stat().st_size for database in self._sources.databases if database.is_file()]
        space.need(self._repository.root, sum(sizes), len(sizes))
        (self.folder / "db").mkdir(mode=0o700)
        waited: dict[str, float] = {}
        for database in self._sources.databases:
            copied = copy_database(database, self.folder / "db" / database.name)
            waited[database.name] = round(copied.locked, 3)
            self._contents.add(f"db/{database.name}")
        self._contents.count("db", self._contents.files)
        if self._repository.latest() is None:
            self._first()
        self._parts["db"] = {"databases": list(waited), "writers_waited_seconds": waited}
        if not waited:
            self._parts["db"]["why"] = "MLflow is elsewhere: its database is not part of this stack."
            self._events("note", text=self._parts["db"]["why"])

    def _first(self) -> None:
        """Say that this is the first snapshot here; and if MLflow knows of others, that they are not."""
        where = self._repository.root
        if any(_knows_snapshots(copy, self._sources.stack_name) for copy in (self.folder / "db").glob("mlflow.db")):
            self._events(
                "warning",
                text=f"MLflow knows of earlier snapshots, and none is in {where}. Is the right disk mounted there?",
            )
        else:
            self._events("note", text=f"This is the first snapshot in {where}.")

    def _listed(self, index: Index) -> list[tuple[Bucket, Mirror, Plan]]:
        """List the buckets, and see that there is room for what is new in them and in the folders."""
        plans = []
        trees = [(folder.name, folder.path) for folder in self._sources.folders]
        size = files = 0
        for bucket in self._sources.buckets:
            if bucket.folder is not None:
                trees.append((f"objects/{bucket.name}", bucket.folder))
            if bucket.store is None:
                continue
            mirror = Mirror(bucket.name, bucket.store, self._repository.mirror / bucket.name, index)
            plan = mirror.plan()
            plans.append((bucket, mirror, plan))
            size, files = size + plan.bytes, files + len(plan.wanted)
        for part, folder in trees:
            more, count = space.changed(folder, self._contents.before(part))
            size, files = size + more, files + count
        space.need(self._repository.root, size, files)
        return plans

    def _objects(self, plans: Iterable[tuple[Bucket, Mirror, Plan]]) -> None:
        self._parts["objects"] = {"buckets": {bucket.role: bucket.name for bucket in self._sources.buckets}}
        for bucket in self._sources.buckets:
            if bucket.folder is not None:
                self._contents.copy(f"objects/{bucket.name}", bucket.folder)
        for bucket, mirror, plan in plans:
            part = f"objects/{bucket.name}"
            progress = Progress(self._events, part, len(plan.wanted), plan.bytes)
            entries = mirror.follow(plan, progress, self._hooks)
            progress.say()
            self._contents.copy_mirror(part, mirror.folder, entries)

    def _stack(self) -> dict[str, Any]:
        """Copy the stack's settings, write the versions of everything, and return them."""
        (self.folder / "stack").mkdir(mode=0o700)
        if self._sources.stack is not None:
            self._contents.copy("stack", self._sources.stack, self._sources.stack_files)
        known = versions.collect(self._sources, self.folder / "db", rsync=self._rsync_version)
        write_document(self.folder / "stack" / versions.FILE, known)
        self._contents.add(f"stack/{versions.FILE}")
        return known

    def _secrets(self) -> None:
        recipients, folder = self._sources.recipients, self._sources.secrets
        if not recipients or folder is None or not folder.is_dir():
            why = "there are none here" if recipients else "no recipient is set (backup.encrypt_to in stack.yaml)"
            self._parts["secrets"] = {"included": False, "why": why}
            self._events("note", text=f"The secrets are not in this snapshot: {why}.")
            return
        names = secrets.encrypt(folder, recipients, self.folder / secrets.FILE)
        self._contents.add(secrets.FILE)
        self._parts["secrets"] = {"included": True, "names": names, "recipients": list(recipients)}

    def _manifest(self, known: dict[str, Any]) -> dict[str, Any]:
        """Write manifest and header, and return the header."""
        contents = self._contents
        found = self._closure()
        contents.total()
        manifest = Manifest(contents.files, contents.links, self._parts, known, contents.counts, found)
        data = json.dumps(manifest.to_dict(), separators=(",", ":")).encode()
        (self.folder / FILE).write_bytes(data)
        header = {
            "schema_version": SCHEMA,
            "id": self._id,
            "at": self._at.isoformat(),
            "sequence": self._repository.next_sequence(),
            "repository": self._repository.id,
            "stack": self._sources.stack_name,
            "manifest": hashlib.sha256(data).hexdigest(),
            "files": contents.counts["total"]["files"],
            "bytes": contents.counts["total"]["bytes"],
            "new_bytes": contents.counts["new"]["bytes"],
            "seconds": round(time.monotonic() - self._begun, 3),
            "closure": found.holds,
            "sizes": self._sizes(),
        }
        write_document(self.folder / HEADER, header)
        return header

    def _sizes(self) -> dict[str, dict[str, int]]:
        """Return how much there is of each part: what shrinks is noticed by it, and so by the rows of the database."""
        sizes = self._contents.sizes()
        for database in self._sources.databases[:1]:
            rows = rows_in(self.folder / "db" / database.name, COUNTED)
            sizes["db"] = {**{table.replace("_", " "): count for table, count in rows.items()}, **sizes["db"]}
        return sizes

    def _closure(self) -> Closure:
        """Check that what belongs together is there, and say what is not."""
        bucket = self._sources.artifacts
        if not self._sources.databases or bucket is None:
            return Closure()
        copies = [self.folder / "db" / database.name for database in self._sources.databases]
        before = self._base.manifest.below(f"objects/{bucket}") if self._base else {}
        objects = Manifest(self._contents.files).below(f"objects/{bucket}")
        found = closure(copies[0], objects, bucket=bucket, before=before)
        found = replace(found, incomplete=(*found.incomplete, *(text for copy in copies for text in dangling_in(copy))))
        for sentence in (*found.incomplete, *(f"{key} is gone, though its run is active." for key in found.vanished)):
            self._events("warning", text=sentence)
        for sentence in found.notes:
            self._events("note", text=sentence)
        return found

    def _flush(self) -> None:
        """Write through what is not yet on the disk: rsync and the mirror did so with their files."""
        flush(self.folder / FILE)
        folders = [Path(folder) for folder, _, _ in os.walk(self.folder)]
        with ThreadPoolExecutor(_FLUSHERS) as threads:
            list(threads.map(flush, folders))

    def _commit(self, header: dict[str, Any]) -> Snapshot:
        complete = self._repository.home / self._id
        self.folder.rename(complete)
        flush(self._repository.home)
        flush(self._repository.root)
        self._done("renamed")
        self._repository.point_latest()
        self._done("latest")
        snapshot = Snapshot(self._id, self._at, int(header["sequence"]), complete, header)
        self._repository.marks.record(snapshot.id, str(header["manifest"]))
        self._done("marked")
        return snapshot


def _knows_snapshots(database: Path, stack: str) -> bool:
    """Return whether runs in MLflow's database tell of earlier snapshots of the stack."""
    query = (
        "SELECT 1 FROM tags AS named JOIN tags AS taken ON named.run_uuid = taken.run_uuid "
        "WHERE named.key = ? AND named.value = ? AND taken.key = ? LIMIT 1"
    )
    uri = f"file:{quote(str(database))}?mode=ro&immutable=1"
    with contextlib.suppress(sqlite3.Error), contextlib.closing(sqlite3.connect(uri, uri=True)) as connection:
        return connection.execute(query, (STACK_TAG, stack, SNAPSHOT_TAG)).fetchone() is not None
    return False


def _base(repository: Repository) -> Snapshot | None:
    """Return the newest snapshot whose manifest is what was written."""
    for snapshot in reversed(repository.snapshots()):
        with contextlib.suppress(StackctlError, OSError):
            digest = snapshot.header.get("manifest")
            written = repository.marks.recorded(snapshot.id) in {None, digest}
            if written and sha256_of(snapshot.folder / FILE) == digest and snapshot.manifest:
                return snapshot
    return None


@contextlib.contextmanager
def _target_errors(repository: Repository) -> Iterator[None]:
    """Turn what the target's file system says into words."""
    try:
        yield
    except sqlite3.Error as error:
        raise StackctlError(
            f"The backup target {repository.root} cannot be written: {error}.",
            f"See that {repository.root} is mounted and has room (backup.target in stack.yaml).",
        ) from error
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise space.NoRoom(
                f"The backup target {repository.root} is full.",
                "Make room there, or take old snapshots away with `stackctl backup prune`.",
            ) from error
        raise StackctlError(
            f"The backup failed at {error.filename or repository.root}: {error.strerror}.",
            f"See that {repository.root} is mounted and that this user may write to it (backup.target in stack.yaml).",
        ) from error
