"""Putting the objects of a snapshot back into a bucket; what they replace is kept until the restore has succeeded.

Everything here can be interrupted and done again: what is there already is left alone, and what was kept stays kept.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from stackctl.backup.manifest import sha256_of
from stackctl.backup.restore_files import FolderPlace, Place
from stackctl.errors import StackctlError
from stackctl.store.urls import ObjectInfo, ObjectMissing

THREADS = 8
_KEEPING = ".stackctl-keeping-"


@dataclass(frozen=True)
class Wanted:
    """An object as the snapshot has it: its key, the file with its content, and that content's SHA-256 in hex."""

    key: str
    file: Path
    sha256: str

    @property
    def size(self) -> int:
        """Its bytes."""
        return self.file.stat().st_size


@dataclass(frozen=True)
class Put:
    """What became of the objects: written anew, written over another content, there already; and bytes written."""

    added: int = 0
    replaced: int = 0
    same: int = 0
    bytes: int = 0

    def __add__(self, other: Put) -> Put:
        return Put(
            self.added + other.added,
            self.replaced + other.replaced,
            self.same + other.same,
            self.bytes + other.bytes,
        )


def put_back(
    store: Place, wanted: Iterable[Wanted], kept: Path, *, progress: Callable[[int], None] = lambda _done: None
) -> Put:
    """Make the store hold every wanted object; others in it are left alone.

    Args:
        store: the bucket.
        wanted: the snapshot's objects.
        kept: folder that receives what is replaced, by key.
        progress: called with the number of objects done.

    Raises:
        StackctlError: an object cannot be read or written, or its file is not what the snapshot's manifest says.
    """
    if isinstance(store, FolderPlace):
        store.sweep()
    live = {info.key: info for info in store.list()}
    total = Put()
    with ThreadPoolExecutor(THREADS) as threads:
        try:
            done = threads.map(lambda each: _put_one(store, each, live.get(each.key), kept), wanted)
            for number, outcome in enumerate(done, 1):
                total += outcome
                progress(number)
        except BaseException:
            threads.shutdown(wait=True, cancel_futures=True)
            raise
    if isinstance(store, FolderPlace):
        store.settle()  # before anything that refers to its files is on the disk
    return total


def remove(store: Place, keys: Iterable[str]) -> int:
    """Delete objects and return how many."""
    with ThreadPoolExecutor(THREADS) as threads:
        return len(list(threads.map(store.delete, keys)))


def bring_back(store: Place, kept: Path) -> int:
    """Put kept objects back over those that replaced them, and return how many."""
    if isinstance(store, FolderPlace):
        store.sweep()
    files = [file for file in kept.rglob("*") if file.is_file()]
    whole = [file for file in files if not file.name.startswith(_KEEPING)]  # others are what a sudden end left
    for file in whole:
        store.put_file(file.relative_to(kept).as_posix(), file)
        file.unlink()
    shutil.rmtree(kept, ignore_errors=True)
    return len(whole)


def differing(store: Place, wanted: Iterable[Wanted]) -> list[str]:
    """Return the keys of wanted objects that the store lacks or holds with another content."""
    live = {info.key: info for info in store.list()}
    return [each.key for each in wanted if not _holds(store, each, live.get(each.key))]


def _put_one(store: Place, wanted: Wanted, live: ObjectInfo | None, kept: Path) -> Put:
    if _holds(store, wanted, live):
        return Put(same=1)
    if sha256_of(wanted.file) != wanted.sha256:
        raise StackctlError(f"{wanted.file} is damaged: it is not what the snapshot's manifest says.")
    if live is not None:
        _keep(store, wanted.key, kept / wanted.key)
    store.put_file(wanted.key, wanted.file)
    return Put(added=live is None, replaced=live is not None, bytes=wanted.size)


def _holds(store: Place, wanted: Wanted, live: ObjectInfo | None) -> bool:
    """Return whether the store has this very content: by a plain ETag (an MD5), else by reading it."""
    if live is None or live.size != wanted.size:
        return False
    etag = (live.etag or "").strip('"')
    if len(etag) == 32 and "-" not in etag:
        with wanted.file.open("rb") as handle:
            if hashlib.file_digest(handle, "md5").hexdigest() == etag:
                return True  # of an encrypted bucket it is no MD5: then the content decides
    try:
        digest = hashlib.sha256()
        for block in store.blocks(wanted.key):
            digest.update(block)
    except ObjectMissing:
        return False
    return digest.hexdigest() == wanted.sha256


def _keep(store: Place, key: str, target: Path) -> None:
    """Keep what the store has under ``key``, once: what a second attempt finds is not what people had."""
    if target.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=target.parent, prefix=_KEEPING)
    try:
        with os.fdopen(descriptor, "wb") as handle:
            for block in store.blocks(key):
                handle.write(block)
            handle.flush()
            os.fsync(handle.fileno())
        Path(temporary).replace(target)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
