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
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from stackctl.backup import rsync, secrets, space, versions
from stackctl.backup.closure import Closure, closure
from stackctl.backup.events import Events, Hooks, Progress, nothing, quiet
from stackctl.backup.manifest import FILE, HEADER, SCHEMA, Entry, Manifest, sha256_of
from stackctl.backup.mirror import Index, Mirror, Plan
from stackctl.backup.repository import PARTIAL, Repository, Snapshot, flush, write_document
from stackctl.backup.sources import Bucket, Sources
from stackctl.backup.sqlite_copy import copy_database, dangling_in
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
_HASHERS = 4
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
        self.folder = repository.root / f"{PARTIAL}{self._id}"
        self._base = _base(repository)
        self._careful = bool(repository.damaged())
        self._files: dict[str, Entry] = {}
        self._links: dict[str, str] = {}
        self._parts: dict[str, Any] = {}
        self._counts: dict[str, dict[str, int]] = {}
        self._new = {"files": 0, "bytes": 0}

    def run(self) -> Snapshot:
        """Take it."""
        self.folder.mkdir(mode=0o700)
        self._events(
            "begin", id=self._id, target=str(self._repository.root), base=self._base.id if self._base else None
        )
        self._done("begun")
        self._databases()
        self._done("databases")
        with contextlib.closing(Index(self._repository.state / "mirror.sqlite")) as index:
            plans = self._listed(index)
            self._done("listed")
            self._objects(plans)
        self._done("objects")
        self._data()
        self._done("data")
        self._stack()
        self._done("stack")
        self._secrets()
        self._done("secrets")
        header = self._manifest()
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
        locked: dict[str, float] = {}
        for database in self._sources.databases:
            target = self.folder / "db" / database.name
            copied = copy_database(database, target)
            locked[database.name] = round(copied.locked, 3)
            self._share(f"db/{database.name}", Entry(sha256_of(target), copied.size))
        self._parts["db"] = {"databases": list(locked), "writers_waited_seconds": locked}
        if not locked:
            self._parts["db"]["why"] = "MLflow is elsewhere: its database is not part of this stack."
            self._events("note", text=self._parts["db"]["why"])
        self._count("db", list(self._files))

    def _listed(self, index: Index) -> list[tuple[Bucket, Mirror, Plan]]:
        """List the buckets, and see that there is room for what is new in them and in the folders."""
        plans = []
        size = files = 0
        distrusted = {path for paths in self._repository.damaged().values() for path in paths}
        for bucket in self._sources.buckets:
            if bucket.store is None:
                more, count = space.changed(bucket.folder or Path(), self._before(f"objects/{bucket.name}"))
                size, files = size + more, files + count
                continue
            start = f"objects/{bucket.name}/"
            mirror = Mirror(bucket.name, bucket.store, self._repository.mirror / bucket.name, index)
            plan = mirror.plan(path.removeprefix(start) for path in distrusted if path.startswith(start))
            plans.append((bucket, mirror, plan))
            size, files = size + plan.bytes, files + len(plan.wanted)
        for folder in self._sources.folders:
            more, count = space.changed(folder.path, self._before(folder.name))
            size, files = size + more, files + count
        space.need(self._repository.root, size, files)
        return plans

    def _objects(self, plans: Iterable[tuple[Bucket, Mirror, Plan]]) -> None:
        names = {bucket.role: bucket.name for bucket in self._sources.buckets}
        self._parts["objects"] = {"buckets": names}
        for bucket in self._sources.buckets:
            if bucket.store is None and bucket.folder is not None:
                self._tree(f"objects/{bucket.name}", bucket.folder)
        for bucket, mirror, plan in plans:
            part = f"objects/{bucket.name}"
            progress = Progress(self._events, part, len(plan.wanted), plan.bytes)
            entries = mirror.follow(plan, progress, self._hooks)
            progress.say()
            mirror.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            before = self._before(part)
            rsync.copy_tree(mirror.folder, self.folder / part, [mirror.folder, *([before] if before else [])])
            self._take_in(part, entries)

    def _data(self) -> None:
        for folder in self._sources.folders:
            self._tree(folder.name, folder.path)

    def _stack(self) -> None:
        (self.folder / "stack").mkdir(mode=0o700)
        if self._sources.stack is not None:
            self._tree("stack", self._sources.stack, only=self._sources.stack_files)
        found = versions.collect(self._sources, self.folder / "db", rsync=self._rsync_version)
        self._parts["versions"] = found
        write_document(self.folder / "stack" / versions.FILE, found)
        path = f"stack/{versions.FILE}"
        self._share(path, _entry(self.folder / path))

    def _secrets(self) -> None:
        recipients, folder = self._sources.recipients, self._sources.secrets
        if not recipients or folder is None or not folder.is_dir():
            why = "no recipient is set (backup.encrypt_to in stack.yaml)" if not recipients else "there are none here"
            self._parts["secrets"] = {"included": False, "why": why}
            self._events("note", text=f"The secrets are not in this snapshot: {why}.")
            return
        target = self.folder / secrets.FILE
        names = secrets.encrypt(folder, recipients, target)
        self._files[secrets.FILE] = _entry(target)
        self._count_new(secrets.FILE)
        self._parts["secrets"] = {"included": True, "names": names, "recipients": list(recipients)}

    def _manifest(self) -> dict[str, Any]:
        """Write manifest and header, and return the header."""
        found = self._closure()
        for sentence in (*found.incomplete, *(f"{key} is gone, though its run is active." for key in found.vanished)):
            self._events("warning", text=sentence)
        for sentence in found.notes:
            self._events("note", text=sentence)
        self._counts["total"] = _sum(self._files.values())
        self._counts["new"] = self._new
        known = self._parts.pop("versions")
        manifest = Manifest(self._files, self._links, self._parts, known, self._counts, found)
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
            "files": self._counts["total"]["files"],
            "bytes": self._counts["total"]["bytes"],
            "new_bytes": self._new["bytes"],
            "seconds": round(time.monotonic() - self._begun, 3),
            "closure": found.holds,
        }
        write_document(self.folder / HEADER, header)
        return header

    def _closure(self) -> Closure:
        if not self._sources.databases or self._sources.artifacts is None:
            return Closure()
        database = self.folder / "db" / self._sources.databases[0].name
        prefix = f"objects/{self._sources.artifacts}"
        objects = {
            path.removeprefix(f"{prefix}/"): entry.sha256
            for path, entry in self._files.items()
            if path.startswith(f"{prefix}/")
        }
        before = self._base.manifest.below(prefix) if self._base else {}
        found = closure(database, objects, bucket=self._sources.artifacts, before=before)
        dangling = [text for name in self._sources.databases for text in dangling_in(self.folder / "db" / name.name)]
        return Closure(found.checked, (*found.incomplete, *dangling), found.vanished, found.notes)

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
        self._repository.record(snapshot)
        self._done("marked")
        return snapshot

    def _tree(self, part: str, source: Path, only: tuple[str, ...] = ()) -> None:
        """Copy a folder by rsync and take its files into the manifest."""
        before = self._before(part)
        if not source.is_dir():
            self._parts[part] = {"missing": True}
            self._events(
                "warning" if before else "note", text=f"{source} is not there: nothing of it is in the snapshot."
            )
            self._count(part, [])
            return
        progress = Progress(self._events, part)
        rsync.copy_tree(
            source,
            self.folder / part,
            [before] if before else [],
            only=only,
            checksum=self._careful,
            on_file=progress.add,
        )
        progress.say()
        self._take_in(part, None)

    def _take_in(self, part: str, known: dict[str, Entry] | None) -> None:
        """Take the files below a part into the manifest; ``known``: what they must be, else they are read.

        A file that is the very file of the snapshot before needs no reading: its digest is known.
        """
        paths: list[str] = []
        unread: list[str] = []
        for name, status in space.walk(self.folder / part):
            path = f"{part}/{name}"
            if stat.S_ISLNK(status.st_mode):
                self._links[path] = str((self.folder / path).readlink())
            elif stat.S_ISREG(status.st_mode):
                paths.append(path)
                entry = known.get(name) if known is not None else self._shared(path, status)
                if entry is None or entry.size != status.st_size:
                    unread.append(path)
                else:
                    self._files[path] = entry
        if known is not None and (len(paths) != len(known) or unread):
            raise StackctlError(f"The copy of {part} is not what was read from the store.", "Run the backup again.")
        with ThreadPoolExecutor(_HASHERS) as threads:
            entries = threads.map(lambda path: _entry(self.folder / path), unread)
            self._files.update(zip(unread, entries, strict=True))
        self._count(part, paths)

    def _shared(self, path: str, status: os.stat_result) -> Entry | None:
        """Return what the manifest before says of a file, if it is that very file."""
        if self._base is None or self._careful or not _same(self._base.folder / path, status):
            return None
        return self._base.manifest.files.get(path)

    def _share(self, path: str, entry: Entry) -> None:
        """Take in a file that was written here; where the snapshot before has the same, it is that one from now on."""
        if self._base and not self._careful and self._base.manifest.files.get(path) == entry:
            before, here = self._base.folder / path, self.folder / path
            with contextlib.suppress(OSError):
                if before.stat().st_size == entry.size:
                    link = here.with_name(f".{here.name}-link")
                    link.hardlink_to(before)
                    link.replace(here)
        self._files[path] = entry

    def _before(self, part: str) -> Path | None:
        """Return a part of the snapshot before, if it has it."""
        folder = self._base.folder / part if self._base else None
        return folder if folder and folder.is_dir() else None

    def _count(self, part: str, paths: list[str]) -> None:
        self._counts[part] = _sum(self._files[path] for path in paths)
        for path in paths:
            self._count_new(path)

    def _count_new(self, path: str) -> None:
        """Count a file that no earlier snapshot has."""
        if self._base is None or not _same(self._base.folder / path, (self.folder / path).lstat()):
            self._new["files"] += 1
            self._new["bytes"] += self._files[path].size


def _base(repository: Repository) -> Snapshot | None:
    """Return the newest snapshot whose manifest is what was written."""
    for snapshot in reversed(repository.snapshots()):
        with contextlib.suppress(StackctlError, OSError):
            if sha256_of(snapshot.folder / FILE) == snapshot.header.get("manifest") and snapshot.manifest:
                return snapshot
    return None


def _entry(file: Path) -> Entry:
    return Entry(sha256_of(file), file.stat().st_size)


def _same(file: Path, status: os.stat_result) -> bool:
    try:
        other = file.lstat()
    except OSError:
        return False
    return (other.st_dev, other.st_ino) == (status.st_dev, status.st_ino)


def _sum(entries: Iterable[Entry]) -> dict[str, int]:
    sizes = [entry.size for entry in entries]
    return {"files": len(sizes), "bytes": sum(sizes)}


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
