"""Whether a snapshot is what was taken: every file, every database, and that what belongs together is there."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
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
READ_AGAIN = timedelta(days=30)
"""How long a file that was read is trusted to be as it was."""


class Gone(StackctlError):
    """A snapshot was deleted while it was read."""


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
        also: other snapshots that share damaged files with it: they are damaged as well.
    """

    problems: tuple[str, ...]
    damaged: tuple[str, ...]
    deep: bool
    files: int
    bytes_read: int
    seconds: float
    closure: Closure
    also: tuple[str, ...] = ()

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
            "also": list(self.also),
        }


def check(repository: Repository, snapshot: Snapshot, *, deep: bool = True, events: Events = quiet) -> Verdict:
    """Verify a snapshot and remember the outcome in its repository.

    Raises:
        Gone: retention let it go meanwhile.
    """
    verdict = verify(snapshot, deep=deep, recorded=repository.marks.recorded(snapshot.id), events=events)
    return _remember(repository, snapshot, verdict, datetime.now(UTC) if deep else None)


def check_new(repository: Repository, snapshot: Snapshot, *, events: Events = quiet) -> Verdict:
    """Verify a snapshot that was just taken, and remember the outcome.

    What it shares with one whose every byte was read in the last ``READ_AGAIN`` is not read again.
    """
    now = datetime.now(UTC)
    read, other = _read_before(repository, snapshot, now)
    verdict = verify(snapshot, recorded=repository.marks.recorded(snapshot.id), proven=other, events=events)
    return _remember(repository, snapshot, verdict, read)


def _read_before(repository: Repository, snapshot: Snapshot, now: datetime) -> tuple[datetime, Snapshot | None]:
    """Return an earlier snapshot whose every byte was read, and when; none: this one is to be read."""
    read = repository.marks.read_through()
    for other in reversed(repository.snapshots()):
        at = read.get(other.id)
        if other.sequence < snapshot.sequence and at is not None and timedelta() <= now - at < READ_AGAIN:
            return at, other
    return now, None


def _remember(repository: Repository, snapshot: Snapshot, verdict: Verdict, read: datetime | None) -> Verdict:
    now, marks = datetime.now(UTC), repository.marks
    if not snapshot.folder.is_dir():
        raise Gone(
            f"The snapshot {snapshot.id} was deleted while it was read.", "`stackctl backup list` shows the others."
        )
    if verdict.ok:
        marks.mark_verified(snapshot.id, now, read=read)
        return verdict
    sharing = repository.sharing(snapshot.id, verdict.damaged)
    marks.mark_damaged(snapshot.id, verdict.damaged, now)
    for other, paths in sharing.items():
        marks.mark_damaged(other, paths, now, more=True)
    return replace(verdict, also=tuple(sorted(sharing)))


def verify(
    snapshot: Snapshot,
    *,
    deep: bool = True,
    recorded: str | None = None,
    proven: Snapshot | None = None,
    events: Events = quiet,
) -> Verdict:
    """Compare a snapshot with its manifest.

    Args:
        snapshot: it is only read.
        deep: read every byte; else existence and size of each file are looked at, and the databases are read.
        recorded: SHA-256 of the manifest as it was when the snapshot was taken, kept elsewhere.
        proven: a snapshot whose every byte was read: files that are its very files are not read again.
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
    wrong, found = _at_first_sight(snapshot.folder, manifest)
    read = 0
    if deep:
        right = {path: entry for path, entry in manifest.files.items() if path not in wrong}
        known = _digests(proven) if proven else {}
        unread = {
            path: entry
            for path, entry in right.items()
            if not (proven and known.get(path) == entry and _shared(path, found, proven))
        }
        changed, read = _when_read(snapshot.folder, unread, events)
        wrong.update(changed)
    problems += [f"{path} {what}" for path, what in wrong.items()]
    damaged += sorted(wrong)
    closed = _of_databases(snapshot, manifest, problems)
    seconds = time.monotonic() - begun
    return Verdict(tuple(problems), tuple(damaged), deep, len(manifest.files), read, seconds, closed)


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


def _at_first_sight(folder: Path, manifest: Manifest) -> tuple[dict[str, str], dict[str, os.stat_result]]:
    """Return what is wrong with files by their status alone, and the status of each."""
    found = {path: status for path, status in walk(folder) if path not in OWN_FILES}
    wrong = {path: "is missing." for path in (*manifest.links, *manifest.files) if path not in found}
    for path, status in found.items():
        if what := _odd(folder, path, status, manifest):
            wrong[path] = what
    return wrong, found


def _odd(folder: Path, path: str, status: os.stat_result, manifest: Manifest) -> str | None:
    """Return what a file's status says is wrong with it."""
    entry = manifest.files.get(path)
    if stat.S_ISLNK(status.st_mode) and entry is None:
        return None if manifest.links.get(path) == str((folder / path).readlink()) else "leads elsewhere than it did."
    if entry is None:
        return "is not in the manifest." if stat.S_ISREG(status.st_mode) else None
    if not stat.S_ISREG(status.st_mode):
        return "is no file any more."
    return None if status.st_size == entry.size else f"has {status.st_size} bytes, not {entry.size}."


def _digests(snapshot: Snapshot) -> Mapping[str, Entry]:
    """Return what a snapshot's manifest says of its files; nothing where that is damaged."""
    try:
        return snapshot.manifest.files
    except StackctlError:
        return {}


def _shared(path: str, found: Mapping[str, os.stat_result], other: Snapshot) -> bool:
    """Return whether a file is the very file of another snapshot."""
    try:
        there = os.lstat(f"{other.folder}/{path}")
    except OSError:
        return False
    return (there.st_dev, there.st_ino) == (found[path].st_dev, found[path].st_ino)


def _when_read(folder: Path, files: Mapping[str, Entry], events: Events) -> tuple[dict[str, str], int]:
    """Read files, and return what is wrong with them and how many bytes they have."""

    def read(item: tuple[str, Entry]) -> str | None:
        path, entry = item
        try:
            return None if sha256_of(folder / path) == entry.sha256 else "is not what was taken: its bytes changed."
        except OSError as error:
            return f"cannot be read: {error.strerror}."

    wrong: dict[str, str] = {}
    progress = Progress(events, "verify", len(files), sum(entry.size for entry in files.values()))
    with ThreadPoolExecutor(_READERS) as threads:
        for (path, entry), what in zip(files.items(), threads.map(read, files.items()), strict=True):
            if what:
                wrong[path] = what
            progress.add(entry.size)
    progress.say()
    return wrong, progress.bytes


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
