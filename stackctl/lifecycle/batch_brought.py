"""What was brought from one place to another, and how it was then: what has not changed since is not brought again."""

from __future__ import annotations

import contextlib
import hashlib
import os
import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Self

from stackctl.store.places import Listed

TRANSFERS = "transfers"
"""Folder, beside the runs, that remembers what was brought."""
_SCHEMA = """
CREATE TABLE IF NOT EXISTS brought (name BLOB PRIMARY KEY, size INTEGER NOT NULL, stamp TEXT NOT NULL) WITHOUT ROWID;
"""
_THERE = "ALTER TABLE brought ADD COLUMN there TEXT NOT NULL DEFAULT ''"


class Brought:
    """The images that were brought from one place to another."""

    def __init__(self, records: Path, source: str, target: str) -> None:
        """Open the record in the folder ``records`` that belongs to two places, each by a name of its own."""
        records.mkdir(parents=True, exist_ok=True)
        name = hashlib.sha256(f"{source} > {target}".encode(errors="surrogateescape")).hexdigest()[:16]
        self._base = sqlite3.connect(records / f"{name}.sqlite", timeout=30, isolation_level=None)
        self._base.executescript(_SCHEMA)
        with contextlib.suppress(sqlite3.OperationalError):  # it is there
            self._base.execute(_THERE)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._base.close()

    def has(self, image: Listed) -> bool:
        """Return whether an image was brought as it is now."""
        return self._as_it_is(image) is not None

    def there(self, image: Listed) -> str:
        """Return the stamp that an image got when it was brought; empty where it was not, or has changed since."""
        return self._as_it_is(image) or ""

    def keep(self, images: Iterable[tuple[Listed, str]]) -> None:
        """Remember images that were brought, each with its stamp there."""
        entries = [(os.fsencode(image.name), image.size, image.stamp, there) for image, there in images]
        self._base.execute("BEGIN IMMEDIATE")
        self._base.executemany("INSERT OR REPLACE INTO brought (name, size, stamp, there) VALUES (?, ?, ?, ?)", entries)
        self._base.execute("COMMIT")

    def forget(self, names: Iterable[str]) -> None:
        """Remember nothing of images any more."""
        self._base.executemany("DELETE FROM brought WHERE name = ?", [(os.fsencode(name),) for name in names])

    def all(self) -> Iterator[Listed]:
        """Yield what was brought, as its source listed it then."""
        for name, size, stamp in self._base.execute("SELECT name, size, stamp FROM brought"):
            yield Listed(os.fsdecode(name), size, stamp)

    def _as_it_is(self, image: Listed) -> str | None:
        row = self._base.execute(
            "SELECT there FROM brought WHERE name = ? AND size = ? AND stamp = ?",
            (os.fsencode(image.name), image.size, image.stamp),
        ).fetchone()
        return None if row is None else str(row[0])
