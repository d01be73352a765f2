"""The folder in which snapshots are kept: complete ones, the one in the making, and what must be remembered of them."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import shutil
import socket
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from stackctl.backup.documents import flush, read_document, write_document
from stackctl.backup.manifest import FILE, HEADER, Manifest
from stackctl.backup.marks import Marks
from stackctl.errors import StackctlError, UsageError

SCHEMA = 1
IDENTITY = "repository.json"
PARTIAL = ".partial-"
REMOVED = ".removed-"
LATEST = "latest"
_REMEMBERED = 1000
"""Removed snapshots that are remembered."""


class Busy(StackctlError):
    """Something else works in the repository."""


@dataclass(frozen=True)
class Snapshot:
    """A complete snapshot.

    Attributes:
        id: its name, which begins with the time in UTC.
        at: when it was begun, by the clock of the machine that took it.
        sequence: 1 for the first of the repository, and one more for each: the order that no clock can change.
        folder: where its files lie.
        header: the document ``snapshot.json``.
    """

    id: str
    at: datetime
    sequence: int
    folder: Path
    header: Mapping[str, Any]

    @classmethod
    def load(cls, folder: Path) -> Snapshot:
        """Read the header of a snapshot.

        Raises:
            StackctlError: there is none, or it is no header.
        """
        try:
            header = json.loads((folder / HEADER).read_bytes())
            at = datetime.fromisoformat(header["at"]).astimezone(UTC)
            return cls(str(header["id"]), at, int(header["sequence"]), folder, header)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise StackctlError(f"{folder / HEADER} is no header of a snapshot: {error}.") from error

    @cached_property
    def manifest(self) -> Manifest:
        """Its manifest, read on first use.

        Raises:
            StackctlError: it cannot be read.
        """
        return Manifest.load(self.folder / FILE)


class Repository:
    """Snapshots below one folder.

    Attributes:
        root: the folder; ``snapshots/ID`` and ``latest`` in it are for people too, ``state`` is not.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    @property
    def home(self) -> Path:
        """The folder of the complete snapshots."""
        return self.root / "snapshots"

    @property
    def state(self) -> Path:
        """What is remembered beside the snapshots."""
        return self.root / "state"

    @property
    def mirror(self) -> Path:
        """The newest objects of each bucket, which snapshots share by hard links."""
        return self.state / "mirror"

    @property
    def marks(self) -> Marks:
        """What is remembered of each snapshot: whether it is right, and the digest of its manifest."""
        return Marks(self.state, self.home, self.mirror)

    @property
    def id(self) -> str | None:
        """The identity that the repository was given when it was made; None: there is none here."""
        identity = read_document(self.root / IDENTITY).get("id")
        return str(identity) if identity else None

    def prepare(self) -> None:
        """Make the repository where there is none.

        Raises:
            StackctlError: the folder cannot be made or written.
        """
        try:
            for folder in (self.root, self.home, self.state, self.mirror):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if self.id is None:
                made = datetime.now(UTC).isoformat(timespec="seconds")
                document = {"schema_version": SCHEMA, "id": secrets.token_hex(8), "made": made}
                write_document(self.root / IDENTITY, document)
        except OSError as error:
            raise self._unusable(error) from error

    def snapshots(self) -> list[Snapshot]:
        """Return the complete snapshots, oldest first in the order in which they were taken."""
        return sorted(self._readable(), key=lambda snapshot: (snapshot.sequence, snapshot.id))

    def latest(self) -> Snapshot | None:
        """Return the snapshot that was taken last."""
        return max(self._readable(), key=lambda snapshot: (snapshot.sequence, snapshot.id), default=None)

    def find(self, word: str | None = None) -> Snapshot:
        """Return the snapshot that a person means: its id, the beginning of it, or ``latest``.

        Raises:
            UsageError: there is none, or it could be several.
        """
        snapshots = self.snapshots()
        if not snapshots:
            raise UsageError(f"There is no snapshot in {self.root}.", "Take one with `stackctl backup`.")
        if word in {None, "", LATEST}:
            return snapshots[-1]
        found = [each for each in snapshots if each.id.startswith(str(word))]
        if len(found) != 1:
            known = ", ".join(snapshot.id for snapshot in snapshots[-5:])
            what = f"{len(found)} snapshots begin with" if found else "There is no snapshot"
            raise UsageError(f"{what} {word}.", f"The newest are {known}; `stackctl backup list` shows all.")
        return found[0]

    def unreadable(self) -> list[Path]:
        """Return folders among the snapshots that have lost their header."""
        known = {snapshot.folder for snapshot in self._readable()}
        return sorted(folder for folder in self._folders() if folder not in known)

    def partial(self) -> list[Path]:
        """Return what unfinished backups left."""
        return sorted(self.root.glob(f"{PARTIAL}*"))

    @contextlib.contextmanager
    def lock(self, what: str = "backup", *, shared: bool = False) -> Iterator[None]:
        """Keep everything else out of the repository, or with ``shared`` everything that changes it.

        Raises:
            Busy: something else is at work in it.
        """
        try:
            handle = os.open(self.state / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise self._unusable(error) from error
        try:
            try:
                fcntl.flock(handle, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
            except BlockingIOError:
                holder = os.pread(handle, 1000, 0).decode(errors="replace").strip()
                raise Busy(
                    f"Another command works in {self.root}: {holder or 'one that reads it'}.",
                    "Wait until it has ended.",
                ) from None
            if not shared:
                since = datetime.now(UTC).isoformat(timespec="seconds")
                os.truncate(handle, 0)
                os.pwrite(handle, f"{what} since {since} (process {os.getpid()} on {socket.gethostname()})".encode(), 0)
            yield
        finally:
            os.close(handle)

    def clean(self) -> list[str]:
        """Remove what unfinished backups and removals left, mend ``latest``; return their names. Call it locked."""
        left = [*self.partial(), *self.root.glob(f"{REMOVED}*")]
        for folder in left:
            shutil.rmtree(folder)
        shutil.rmtree(self.state / "incoming", ignore_errors=True)
        self.point_latest()
        return [folder.name for folder in left]

    def remove(self, identity: str) -> None:
        """Delete a snapshot; it is gone as a whole before its files are. Call it locked."""
        names = [*(name for name in self.removed() if name != identity), identity]
        write_document(self.state / "removed.json", {"removed": names[-_REMEMBERED:]})
        gone = self.root / f"{REMOVED}{identity}"
        (self.home / identity).rename(gone)
        flush(self.home)
        self.point_latest()
        self.marks.forget(identity)
        shutil.rmtree(gone)

    def removed(self) -> tuple[str, ...]:
        """Return the snapshots that were deleted here on purpose; others that are not here were lost."""
        return tuple(read_document(self.state / "removed.json").get("removed", ()))

    def point_latest(self) -> None:
        """Let the link ``latest`` lead to the snapshot that was taken last."""
        latest = self.latest()
        link = self.root / LATEST
        if latest is None:
            link.unlink(missing_ok=True)
            return
        target = f"{self.home.name}/{latest.folder.name}"
        if link.is_symlink() and str(link.readlink()) == target:
            return
        fresh = self.root / f".{LATEST}-{secrets.token_hex(4)}"
        fresh.symlink_to(target)
        fresh.replace(link)
        flush(self.root)

    def next_sequence(self) -> int:
        """Return the number of the next snapshot."""
        return max((snapshot.sequence for snapshot in self._readable()), default=0) + 1

    def sharing(self, identity: str, paths: Iterable[str]) -> dict[str, set[str]]:
        """Return the other snapshots that have the very same files, and which of ``paths`` these are."""
        found: dict[str, set[str]] = {}
        for path in paths:
            for other in self._folders():
                with contextlib.suppress(OSError):
                    if other.name != identity and (other / path).samefile(self.home / identity / path):
                        found.setdefault(other.name, set()).add(path)
        return found

    def _unusable(self, error: OSError) -> StackctlError:
        in_the_way = isinstance(error, FileExistsError | NotADirectoryError)
        reason = f"{error.filename} is no folder" if in_the_way else error.strerror
        return StackctlError(
            f"The backup target {self.root} cannot be used: {reason}.",
            "See that it is mounted and that this user may write to it (backup.target in stack.yaml).",
        )

    def _folders(self) -> list[Path]:
        try:
            return [folder for folder in self.home.iterdir() if folder.is_dir()]
        except OSError:
            return []

    def _readable(self) -> Iterator[Snapshot]:
        for folder in self._folders():
            with contextlib.suppress(StackctlError):
                yield Snapshot.load(folder)
