"""What is remembered of snapshots beside them: the digests of their manifests, which are right, and which damaged."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from stackctl.backup.documents import alone, read_document, write_document

TAKEN, VERIFIED, DAMAGED = "taken.json", "verified.json", "damaged.json"


class Marks:
    """Marks of snapshots, by id.

    Each change reads what there is and writes it whole, and is alone meanwhile: a verification may run beside a backup.
    A snapshot that was deleted in the meantime gets no mark.

    Args:
        state: the folder of the files.
        home: the folder of the snapshots.
        mirror: the folder of the newest objects, which snapshots share.
    """

    def __init__(self, state: Path, home: Path, mirror: Path) -> None:
        self._state = state
        self._home = home
        self._mirror = mirror

    def record(self, identity: str, manifest: str) -> None:
        """Remember the SHA-256 of the manifest of a snapshot that was just taken."""
        with self._changing(identity):
            self._write(TAKEN, {**self._read(TAKEN), identity: manifest})

    def recorded(self, identity: str) -> str | None:
        """Return the SHA-256 of a snapshot's manifest as it was when it was taken; None: nobody recorded it."""
        digest = self._read(TAKEN).get(identity)
        return str(digest) if digest else None

    def mark_verified(self, identity: str, at: datetime, *, read: datetime | None = None) -> None:
        """Remember that a snapshot was found right; ``read``: every byte of it was read since then.

        One that is known to be damaged is right again only after every byte was read.
        """
        with self._changing(identity) as there:
            damaged = self._read(DAMAGED)
            if not there or (read is None and identity in damaged):
                return
            marks = self._read(VERIFIED)
            before = marks.get(identity, {}).get("read")
            marks[identity] = {"at": at.astimezone(UTC).isoformat(), "read": _text(read) or before}
            self._write(VERIFIED, marks)
            if damaged.pop(identity, None) is not None:
                self._write(DAMAGED, damaged)

    def mark_damaged(self, identity: str, paths: Iterable[str], at: datetime, *, more: bool = False) -> None:
        """Remember which files of a snapshot are wrong (``more``: beside those that are known).

        It is verified no more, and no later snapshot shares these files.
        """
        with self._changing(identity) as there:
            if not there:
                return
            marks = self._read(DAMAGED)
            known = marks.get(identity, {}).get("paths", ()) if more else ()
            wrong = sorted({*paths, *known})
            for path in wrong:
                self._forget_object(identity, path)
            marks[identity] = {"at": at.astimezone(UTC).isoformat(), "paths": wrong}
            self._write(DAMAGED, marks)
            verified = self._read(VERIFIED)
            verified.pop(identity, None)
            # The others may share the wrong files.
            self._write(VERIFIED, {name: {**mark, "read": None} for name, mark in verified.items()})

    def verified(self) -> dict[str, datetime]:
        """Return when each snapshot was last found right."""
        return {identity: datetime.fromisoformat(mark["at"]) for identity, mark in self._read(VERIFIED).items()}

    def read_through(self) -> dict[str, datetime]:
        """Return since when every byte was read of the snapshots that are right and were read through."""
        marks = self._read(VERIFIED)
        return {identity: datetime.fromisoformat(mark["read"]) for identity, mark in marks.items() if mark.get("read")}

    def damaged(self) -> dict[str, tuple[str, ...]]:
        """Return the snapshots that are not right, and their wrong files.

        No files: they are as they were taken, but what they hold was not whole even then.
        """
        return {identity: tuple(mark["paths"]) for identity, mark in self._read(DAMAGED).items()}

    def trusted(self, identity: str) -> bool:
        """Return whether the next snapshot may share this one's files: nothing damaged can be among them."""
        damaged = self.damaged()
        return not damaged or (identity not in damaged and identity in self.read_through())

    def forget(self, identity: str) -> None:
        """Forget a snapshot that was deleted."""
        with self._changing(identity):
            for file in (VERIFIED, DAMAGED, TAKEN):
                kept = self._read(file)
                if kept.pop(identity, None) is not None:
                    self._write(file, kept)

    @contextlib.contextmanager
    def _changing(self, identity: str) -> Iterator[bool]:
        """Keep every other change out, and yield whether the snapshot is there."""
        with alone(self._state / "marks.lock"):
            yield (self._home / identity).is_dir()

    def _forget_object(self, identity: str, path: str) -> None:
        """Take a wrong file out of the mirror, where it is there: the next backup reads the object again."""
        part, _, rest = path.partition("/")
        with contextlib.suppress(OSError):
            if part == "objects" and (self._mirror / rest).samefile(self._home / identity / path):
                (self._mirror / rest).unlink()

    def _read(self, name: str) -> dict[str, Any]:
        return read_document(self._state / name)

    def _write(self, name: str, document: Mapping[str, Any]) -> None:
        write_document(self._state / name, document)


def _text(moment: datetime | None) -> str | None:
    return moment.astimezone(UTC).isoformat() if moment else None
