"""Whether a snapshot is what was taken: every file, every database, and that what belongs together is there."""

from __future__ import annotations

import os
import stat
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from stackctl.backup.closure import Closure, closure
from stackctl.backup.events import Events, Progress, quiet
from stackctl.backup.manifest import FILE, HEADER, OWN_FILES, Entry, Manifest, sha256_of
from stackctl.backup.repository import Repository, Snapshot
from stackctl.backup.space import walk
from stackctl.backup.sqlite_copy import damage_of, dangling_in
from stackctl.errors import StackctlError

MAIN = "mlflow.db"
_READERS = 4


@dataclass(frozen=True)
class Verdict:
    """What verifying a snapshot found.

    Attributes:
        ok: nothing is wrong with it.
        problems: what is wrong, one sentence each.
        damaged: paths of files that are missing or not what was taken.
        deep: every byte was read.
        files: how many files were looked at.
        bytes_read: how many bytes were read.
        seconds: how long it took.
        closure: whether every model version in it is complete.
    """

    problems: tuple[str, ...]
    damaged: tuple[str, ...]
    deep: bool
    files: int
    bytes_read: int
    seconds: float
    closure: Closure

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong with it."""
        return not self.problems

    def to_dict(self) -> dict[str, Any]:
        """Return it as a JSON document."""
        return {
            "ok": self.ok,
            "problems": list(self.problems),
            "damaged": list(self.damaged),
            "deep": self.deep,
            "files": self.files,
            "bytes_read": self.bytes_read,
            "seconds": round(self.seconds, 3),
            "closure": self.closure.to_dict(),
        }


def check(repository: Repository, snapshot: Snapshot, *, deep: bool = True, events: Events = quiet) -> Verdict:
    """Verify a snapshot and remember the outcome in its repository."""
    verdict = verify(snapshot, deep=deep, recorded=repository.recorded(snapshot.id), events=events)
    now = datetime.now(UTC)
    if verdict.ok:
        repository.mark_verified(snapshot.id, now, deep=deep)
    else:
        repository.mark_damaged(snapshot.id, verdict.damaged, now)
    return verdict


def verify(snapshot: Snapshot, *, deep: bool = True, recorded: str | None = None, events: Events = quiet) -> Verdict:
    """Compare a snapshot with its manifest.

    Args:
        snapshot: it is only read.
        deep: read every byte; else existence and size of each file are looked at, and the databases are read.
        recorded: SHA-256 of the manifest as it was when the snapshot was taken, kept elsewhere.
        events: told how far it is.
    """
    begun = time.monotonic()
    problems = _of_manifest(snapshot, recorded)
    damaged = [FILE] if problems else []
    try:
        manifest = snapshot.manifest
    except StackctlError as error:
        problems.append(error.message)
        return Verdict(tuple(problems), (FILE,), deep, 0, 0, time.monotonic() - begun, Closure())
    wrong, read = _of_files(snapshot.folder, manifest, events, deep=deep)
    problems += [f"{path} {what}" for path, what in wrong.items()]
    damaged += sorted(wrong)
    found = _of_databases(snapshot, manifest, problems)
    seconds = time.monotonic() - begun
    return Verdict(tuple(problems), tuple(damaged), deep, len(manifest.files), read, seconds, found)


def _of_manifest(snapshot: Snapshot, recorded: str | None) -> list[str]:
    """Return what is wrong with manifest and header."""
    try:
        now = sha256_of(snapshot.folder / FILE)
    except OSError as error:
        return [f"{FILE} cannot be read: {error.strerror}."]
    problems = []
    if now != snapshot.header.get("manifest"):
        problems.append(f"{FILE} is not what was written: it was edited or damaged (its digest in {HEADER} differs).")
    elif recorded is not None and now != recorded:
        problems.append(f"{FILE} and {HEADER} were edited: another digest was recorded when the snapshot was taken.")
    if snapshot.header.get("id") != snapshot.folder.name:
        problems.append(f"{HEADER} is that of another snapshot, {snapshot.header.get('id')}.")
    return problems


def _of_files(folder: Path, manifest: Manifest, events: Events, *, deep: bool) -> tuple[dict[str, str], int]:
    """Return what is wrong with each file, and how many bytes were read."""
    found = {path: status for path, status in walk(folder) if path not in OWN_FILES}
    wrong = {path: "is missing." for path in (*manifest.links, *manifest.files) if path not in found}
    for path, status in found.items():
        if what := _at_first_sight(folder, path, status, manifest):
            wrong[path] = what
    if not deep:
        return wrong, 0
    right = [(path, entry) for path, entry in manifest.files.items() if path not in wrong]
    progress = Progress(events, "verify", len(right), sum(entry.size for _, entry in right))
    with ThreadPoolExecutor(_READERS) as threads:
        for (path, entry), what in zip(right, threads.map(lambda item: _when_read(folder, *item), right), strict=True):
            if what:
                wrong[path] = what
            progress.add(entry.size)
    progress.say()
    return wrong, progress.bytes


def _at_first_sight(folder: Path, path: str, status: os.stat_result, manifest: Manifest) -> str | None:
    """Return what a file's status says is wrong with it."""
    entry = manifest.files.get(path)
    if stat.S_ISLNK(status.st_mode) and entry is None:
        return None if manifest.links.get(path) == str((folder / path).readlink()) else "leads elsewhere than it did."
    if entry is None:
        return "is not in the manifest." if stat.S_ISREG(status.st_mode) else None
    if not stat.S_ISREG(status.st_mode):
        return "is no file any more."
    return None if status.st_size == entry.size else f"has {status.st_size} bytes, not {entry.size}."


def _when_read(folder: Path, path: str, entry: Entry) -> str | None:
    """Return what a file's content says is wrong with it."""
    try:
        return None if sha256_of(folder / path) == entry.sha256 else "is not what was taken: its bytes changed."
    except OSError as error:
        return f"cannot be read: {error.strerror}."


def _of_databases(snapshot: Snapshot, manifest: Manifest, problems: list[str]) -> Closure:
    """Add what is wrong inside the databases, and return the closure."""
    for file in sorted((snapshot.folder / "db").glob("*.db")):
        damage = damage_of(file)
        problems += [f"db/{file.name}: {text}" for text in damage[:20]]
        if not damage:
            problems += dangling_in(file)[:20]
        if damage and file.name == MAIN:
            return Closure()
    database = snapshot.folder / "db" / MAIN
    bucket = manifest.parts.get("objects", {}).get("buckets", {}).get("mlflow")
    if bucket is None or not database.is_file():
        return Closure()
    found = closure(database, manifest.below(f"objects/{bucket}"), bucket=bucket)
    problems += found.incomplete
    return found
