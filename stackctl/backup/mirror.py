"""A bucket's objects as files that follow it: only what changed since the last time is read from the store.

The files are shared with snapshots by hard links, so none is ever changed: an object that changed becomes a new file.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from stackctl.backup.events import Hooks, Progress, nothing
from stackctl.backup.manifest import Entry
from stackctl.errors import StackctlError
from stackctl.store.places import HOST
from stackctl.store.urls import ObjectInfo, ObjectMissing, ObjectStore

THREADS = 12
GROUP = 500
"""Objects that are noted together."""
ATTEMPTS = 3


class Known(NamedTuple):
    """What is known of an object's file: the object's ETag, the file's bytes and time of change, its SHA-256."""

    etag: str
    size: int
    mtime_ns: int
    sha256: str


class Index:
    """Remembers which object each file of the mirror is a copy of. It can be lost: the objects are read again then."""

    def __init__(self, file: Path) -> None:
        self._file = file
        try:
            self._connection = self._open()
        except sqlite3.DatabaseError:
            file.unlink(missing_ok=True)
            self._connection = self._open()

    def load(self, bucket: str) -> dict[str, Known]:
        """Return what is known of a bucket's objects."""
        rows = self._connection.execute(
            "SELECT key, etag, size, mtime_ns, sha256 FROM objects WHERE bucket = ?", (bucket,)
        )
        return {row[0]: Known(*row[1:]) for row in rows}

    def put(self, bucket: str, known: Mapping[str, Known]) -> None:
        """Remember objects."""
        with self._connection:
            self._connection.executemany(
                "INSERT OR REPLACE INTO objects VALUES (?, ?, ?, ?, ?, ?)",
                [(bucket, key, *each) for key, each in known.items()],
            )

    def drop(self, bucket: str, keys: Iterable[str]) -> None:
        """Forget objects."""
        with self._connection:
            self._connection.executemany(
                "DELETE FROM objects WHERE bucket = ? AND key = ?", [(bucket, key) for key in keys]
            )

    def close(self) -> None:
        """Close its file."""
        self._connection.close()

    def _open(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._file)
        try:
            connection.execute(
                "CREATE TABLE IF NOT EXISTS objects (bucket TEXT, key TEXT, etag TEXT, size INTEGER, mtime_ns INTEGER, "
                "sha256 TEXT, PRIMARY KEY (bucket, key)) WITHOUT ROWID"
            )
            connection.execute("SELECT count(*) FROM objects").fetchone()
        except sqlite3.DatabaseError:
            connection.close()
            raise
        return connection


@dataclass(frozen=True)
class Plan:
    """What a mirror has to do: objects to read, and what it has already."""

    wanted: tuple[ObjectInfo, ...]
    kept: Mapping[str, Known]
    stale: tuple[str, ...]

    @property
    def bytes(self) -> int:
        """Bytes to read."""
        return sum(info.size for info in self.wanted)


class Mirror:
    """The files of one bucket.

    Args:
        bucket: its name.
        store: the objects.
        folder: where their files lie.
        index: remembers what they are copies of.
    """

    def __init__(self, bucket: str, store: ObjectStore, folder: Path, index: Index) -> None:
        self.folder = folder
        self._bucket = bucket
        self._store = store
        self._index = index
        self._made: set[Path] = set()

    def plan(self) -> Plan:
        """List the bucket and compare: objects whose ETag is new, or whose file is not as it was left, are wanted.

        Copies of images that lie in a folder elsewhere, and pass through the store, are not kept.

        Raises:
            StackctlError: the store does not answer.
        """
        known = self._index.load(self._bucket)
        listed = {info.key: info for info in self._store.list() if not info.key.startswith(f"{HOST}/")}
        kept = {key: each for key, each in known.items() if key in listed and self._holds(listed[key], each)}
        wanted = tuple(info for key, info in listed.items() if key not in kept)
        return Plan(wanted, kept, tuple(key for key in known if key not in listed))

    def follow(self, plan: Plan, progress: Progress, hooks: Hooks = nothing) -> dict[str, Entry]:
        """Carry out a plan and return every object of the bucket: key to SHA-256 and bytes.

        Objects that are deleted meanwhile are left out. What was read stays, also if this fails: the next time it is
        not read again.

        Raises:
            StackctlError: the store does not answer, or an object's key cannot be a file's name.
        """
        self._drop(plan.stale)
        incoming = self.folder.parent.parent / "incoming"
        incoming.mkdir(mode=0o700, exist_ok=True)
        found = dict(plan.kept)
        fresh: dict[str, Known] = {}
        try:
            for info, known in _in_parallel(plan.wanted, lambda info: self._fetch(info, incoming)):
                if known is None:
                    continue
                fresh[info.key] = known
                progress.add(known.size)
                if len(fresh) >= GROUP:
                    self._index.put(self._bucket, fresh)
                    found.update(fresh)
                    fresh = {}
                hooks("object")
        finally:
            self._index.put(self._bucket, fresh)
        found.update(fresh)
        return {key: Entry(known.sha256, known.size) for key, known in found.items()}

    def _holds(self, info: ObjectInfo, known: Known) -> bool:
        """Return whether the file is a copy of the object and is as it was left."""
        if known.etag != _version(info) or known.size != info.size:
            return False
        try:
            status = os.lstat(f"{self.folder}/{info.key}")
        except OSError:
            return False
        return status.st_size == known.size and status.st_mtime_ns == known.mtime_ns

    def _fetch(self, info: ObjectInfo, incoming: Path) -> Known | None:
        """Read one object into its file; None: it was deleted meanwhile."""
        for _ in range(ATTEMPTS):
            temporary = incoming / secrets.token_hex(8)
            try:
                digest, size = self._read(info.key, temporary)
                if size == info.size:
                    return self._place(info, temporary, digest)
                info = self._store.head(info.key)  # it was replaced after it was listed
            except ObjectMissing:
                return None
            finally:
                temporary.unlink(missing_ok=True)
        raise StackctlError(f"{self._store.url}/{info.key} changes faster than it can be read.", "Try again.")

    def _read(self, key: str, file: Path) -> tuple[str, int]:
        digest, size = hashlib.sha256(), 0
        handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            for block in self._store.blocks(key):
                digest.update(block)
                size += len(block)
                view = memoryview(block)
                while view:
                    view = view[os.write(handle, view) :]
            os.fsync(handle)
        finally:
            os.close(handle)
        return digest.hexdigest(), size

    def _place(self, info: ObjectInfo, temporary: Path, digest: str) -> Known:
        target = self.folder / info.key
        mtime_ns = int(info.modified.timestamp() * 1_000_000) * 1000
        os.utime(temporary, ns=(mtime_ns, mtime_ns))
        try:
            if target.parent not in self._made:
                target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                self._made.add(target.parent)
            temporary.replace(target)
        except (NotADirectoryError, FileExistsError, IsADirectoryError, OSError) as error:
            if _is_naming(error):
                raise StackctlError(
                    f"{self._store.url}/{info.key} cannot be kept as a file: {error.strerror}.",
                    "Give the object another name.",
                ) from error
            raise
        return Known(_version(info), info.size, mtime_ns, digest)

    def _drop(self, keys: Iterable[str]) -> None:
        """Remove the files of objects that are no more, and folders that become empty."""
        keys = tuple(keys)
        for key in keys:
            file = self.folder / key
            file.unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                for parent in file.parents:
                    if parent == self.folder:
                        break
                    parent.rmdir()
        self._index.drop(self._bucket, keys)


def _version(info: ObjectInfo) -> str:
    """Return what changes with an object's content: its ETag, or where the store gives none when it was written."""
    return info.etag or info.modified.isoformat()


def _is_naming(error: OSError) -> bool:
    import errno

    return error.errno in {errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENOTEMPTY, errno.ENAMETOOLONG, errno.EINVAL}


def _in_parallel(
    items: Iterable[ObjectInfo], work: Callable[[ObjectInfo], Known | None]
) -> Iterator[tuple[ObjectInfo, Known | None]]:
    """Yield each item with what ``work`` made of it, as it is done; after a failure what was begun is still yielded."""
    left = iter(items)
    running: dict[Future[Known | None], ObjectInfo] = {}
    failure: BaseException | None = None
    with ThreadPoolExecutor(THREADS, thread_name_prefix="mirror") as threads:
        try:
            while True:
                if failure is None:
                    for item in islice(left, 2 * THREADS - len(running)):
                        running[threads.submit(work, item)] = item
                if not running:
                    break
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    item = running.pop(future)
                    if future.cancelled():
                        continue
                    if error := future.exception():
                        failure = failure or error
                        for other in running:
                            other.cancel()
                    else:
                        yield item, future.result()
        finally:
            threads.shutdown(wait=True, cancel_futures=True)
    if failure is not None:
        raise failure
