"""A folder that files are restored into, with the verbs of a bucket: for data folders and for stores that are folders.

Unlike a bucket it keeps what the snapshot has of a file: its mode and the time of its last change, so that the next
snapshot finds it unchanged.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from stackctl.backup.documents import flush
from stackctl.store.urls import ObjectInfo, ObjectMissing

PARTIAL = ".restoring-"
_CHUNK = 1 << 20


class Place(Protocol):
    """Where objects are restored into: a bucket (``stackctl.store.urls.ObjectStore``) or a folder."""

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """Yield what is there."""
        ...

    def put_file(self, key: str, file: Path) -> None:
        """Write a file's content under a key, whole or not at all."""
        ...

    def blocks(self, key: str) -> Iterator[bytes]:
        """Yield the content under a key."""
        ...

    def delete(self, key: str) -> None:
        """Delete what is under a key, if anything is."""
        ...


class FolderPlace:
    """A folder; a key is a path below it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._changed: set[Path] = set()

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """Yield its files, links not among them."""
        for folder, _, names in os.walk(self.root / prefix):
            for name in names:
                file = Path(folder) / name
                if name.startswith(PARTIAL) or file.is_symlink() or not file.is_file():
                    continue
                state = file.stat()
                changed = datetime.fromtimestamp(state.st_mtime, UTC)
                yield ObjectInfo(file.relative_to(self.root).as_posix(), state.st_size, changed, None)

    def put_file(self, key: str, file: Path) -> None:
        """Copy a file to its place, whole or not at all."""
        target = self.root / key
        target.parent.mkdir(parents=True, exist_ok=True)
        fresh = target.with_name(f"{PARTIAL}{secrets.token_hex(6)}")
        try:
            shutil.copy2(file, fresh)
            flush(fresh)
            fresh.replace(target)
            self._changed.add(target.parent)
        except BaseException:
            fresh.unlink(missing_ok=True)
            raise

    def blocks(self, key: str) -> Iterator[bytes]:
        """Yield a file's bytes.

        Raises:
            ObjectMissing: there is none.
        """
        try:
            with (self.root / key).open("rb") as handle:
                while block := handle.read(_CHUNK):
                    yield block
        except FileNotFoundError:
            raise ObjectMissing(f"There is no {self.root / key}.") from None

    def delete(self, key: str) -> None:
        """Delete a file, and the folders that it leaves empty."""
        file = self.root / key
        file.unlink(missing_ok=True)
        for folder in file.parents:
            if folder == self.root:
                return
            with contextlib.suppress(OSError):
                folder.rmdir()
                continue
            return

    def settle(self) -> None:
        """Have the names of all that was put here on the disk; their content is there already."""
        while self._changed:
            folder = self._changed.pop()
            flush(folder)

    def sweep(self) -> None:
        """Remove what interrupted copies left."""
        for folder, _, names in os.walk(self.root):
            for name in names:
                if name.startswith(PARTIAL):
                    (Path(folder) / name).unlink(missing_ok=True)
