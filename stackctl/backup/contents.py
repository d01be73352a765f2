"""The files of a snapshot in the making: how they get there, what they share with the one before, and their digests."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from stackctl.backup import rsync, space
from stackctl.backup.events import Events, Progress
from stackctl.backup.manifest import Entry, sha256_of
from stackctl.backup.repository import Snapshot
from stackctl.errors import StackctlError

_HASHERS = 4
_NO_LINKS = frozenset({errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP, errno.EXDEV})
"""What a file system says that has no hard links, or not so many to one file."""


class Contents:
    """What is in a snapshot so far.

    Args:
        folder: where its files lie.
        base: the snapshot whose files it may share.
        careful: compare and read every byte, because files of earlier snapshots are known to be damaged.
        events: told how far it is.

    Attributes:
        files: path to SHA-256 and bytes.
        links: symbolic links: path to where they lead.
        counts: files and bytes by part; ``new`` are those that the base lacks.
    """

    def __init__(self, folder: Path, base: Snapshot | None, events: Events, *, careful: bool) -> None:
        self.files: dict[str, Entry] = {}
        self.links: dict[str, str] = {}
        self.counts: dict[str, dict[str, int]] = {"new": {"files": 0, "bytes": 0}}
        self._folder = folder
        self._base = base
        self._events = events
        self._careful = careful

    def before(self, part: str) -> Path | None:
        """Return a part of the base, if it has it."""
        folder = self._base.folder / part if self._base else None
        return folder if folder and folder.is_dir() else None

    def copy(self, part: str, source: Path, only: tuple[str, ...] = ()) -> None:
        """Copy a folder and take its files in; one that is not there is said to be missing.

        Raises:
            StackctlError: rsync failed.
        """
        before = self.before(part)
        if not source.is_dir():
            text = f"{source} is not there: nothing of it is in the snapshot."
            self._events("warning" if before else "note", text=text)
            self._count(part, {})
            return
        progress = Progress(self._events, part)
        bases = [before] if before else []
        target = self._folder / part
        rsync.copy_tree(source, target, bases, only=only, checksum=self._careful, on_file=progress.add)
        progress.say()
        found = self._walk(part)
        known = {path: entry for path, status in found.items() if (entry := self._shared(path, status))}
        unread = [path for path in found if path not in known]
        with ThreadPoolExecutor(_HASHERS) as threads:
            read = threads.map(lambda path: entry_of(self._folder / path), unread)
            known.update(zip(unread, read, strict=True))
        self.files.update(known)
        self._count(part, found)

    def copy_mirror(self, part: str, mirror: Path, entries: Mapping[str, Entry]) -> None:
        """Take in the files of a mirror, as hard links: it lies beside the snapshots and its files never change.

        Raises:
            StackctlError: the mirror's files are not these.
        """
        target = self._folder / part
        target.mkdir(mode=0o700, parents=True)
        try:
            _link(mirror, target, entries)
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            shutil.rmtree(target)
            rsync.copy_tree(mirror, target, [])
        found = self._walk(part)
        known = {f"{part}/{key}": entry for key, entry in entries.items()}
        if found.keys() != known.keys() or any(known[path].size != status.st_size for path, status in found.items()):
            raise StackctlError(f"The copy of {part} is not what was read from the store.", "Run the backup again.")
        self.files.update(known)
        self._count(part, found)

    def add(self, path: str) -> None:
        """Take in a file that was written into the snapshot; where the base has the same, it is shared."""
        here = self._folder / path
        entry = entry_of(here)
        if self._base and not self._careful and self._base.manifest.files.get(path) == entry:
            before, link = self._base.folder / path, here.with_name(f".{here.name}-link")
            with contextlib.suppress(OSError):
                if before.stat().st_size == entry.size:
                    link.hardlink_to(before)
                    link.replace(here)
        self.files[path] = entry
        self._count_new(path, here.lstat())

    def count(self, part: str, paths: Iterable[str]) -> None:
        """Count the files of a part that were added one by one."""
        self.counts[part] = _sum(self.files[path] for path in paths)

    def total(self) -> None:
        """Count all files."""
        self.counts["total"] = _sum(self.files.values())

    def sizes(self) -> dict[str, dict[str, int]]:
        """Return files and bytes of each folder that can be emptied by itself: ``data/inbound``, for instance."""
        found: dict[str, dict[str, int]] = {}
        for path, entry in self.files.items():
            *folders, _ = path.split("/", 2)
            if folders:
                size = found.setdefault("/".join(folders), {"files": 0, "bytes": 0})
                size["files"] += 1
                size["bytes"] += entry.size
        return found

    def _walk(self, part: str) -> dict[str, os.stat_result]:
        """Return the files of a part, and take in its links; what is neither is no content."""
        files = {}
        for name, status in space.walk(self._folder / part):
            path = f"{part}/{name}"
            if stat.S_ISLNK(status.st_mode):
                self.links[path] = str((self._folder / path).readlink())
            elif stat.S_ISREG(status.st_mode):
                files[path] = status
        return files

    def _shared(self, path: str, status: os.stat_result) -> Entry | None:
        """Return what the base's manifest says of a file, if it is that very file: it needs no reading."""
        if self._base is None or self._careful or not self._same(path, status):
            return None
        entry = self._base.manifest.files.get(path)
        return entry if entry and entry.size == status.st_size else None

    def _same(self, path: str, status: os.stat_result) -> bool:
        """Return whether the base has this very file."""
        if self._base is None:
            return False
        try:
            other = os.lstat(f"{self._base.folder}/{path}")
        except OSError:
            return False
        return (other.st_dev, other.st_ino) == (status.st_dev, status.st_ino)

    def _count(self, part: str, found: Mapping[str, os.stat_result]) -> None:
        self.count(part, found)
        for path, status in found.items():
            self._count_new(path, status)

    def _count_new(self, path: str, status: os.stat_result) -> None:
        if not self._same(path, status):
            self.counts["new"]["files"] += 1
            self.counts["new"]["bytes"] += status.st_size


def _link(source: Path, target: Path, names: Iterable[str]) -> None:
    made = {""}
    for name in names:
        parent = os.path.dirname(name)  # noqa: PTH120 - ten thousands of names
        if parent not in made:
            (target / parent).mkdir(mode=0o700, parents=True, exist_ok=True)
            made.add(parent)
        os.link(f"{source}/{name}", f"{target}/{name}")


def entry_of(file: Path) -> Entry:
    """Return a file's SHA-256 and bytes."""
    return Entry(sha256_of(file), file.stat().st_size)


def _sum(entries: Iterable[Entry]) -> dict[str, int]:
    sizes = [entry.size for entry in entries]
    return {"files": len(sizes), "bytes": sum(sizes)}
