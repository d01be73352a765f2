"""What the local engine keeps of a stack, in words, and its end."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

SNAPSHOTS = "backups"
"""The folder of snapshots in ``var/``; it outlives the other data unless somebody says otherwise."""


def in_words(var: Path, *, backups: bool) -> list[str]:
    """Return what ``delete`` would delete, and its size."""
    entries = list(_entries(var, backups=backups))
    if not var.is_dir() or not (entries or backups):
        return []
    size = 0
    for entry in entries:
        for file in (entry, *entry.rglob("*")):
            with contextlib.suppress(FileNotFoundError):  # services at work delete files of theirs
                size += 0 if file.is_dir() else file.lstat().st_size
    place = f"{var}" + (f" -> {var.resolve()}" if var.is_symlink() else "")
    kept = ", but not its snapshots" if not backups and (var / SNAPSHOTS).is_dir() else ""
    return [f"folder {place} (databases, artifacts, logs; {size / 1e6:.0f} MB){kept}"]


def delete(var: Path, *, backups: bool) -> None:
    """Delete ``var`` (``backups``: with its snapshots); a link to another disk stays, what it leads to is emptied."""
    for entry in _entries(var, backups=backups):
        shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
    if not var.is_symlink() and not any(var.iterdir()):
        var.rmdir()


def _entries(var: Path, *, backups: bool) -> Iterator[Path]:
    if var.is_dir():
        for entry in sorted(var.resolve().iterdir()):
            if backups or entry.name != SNAPSHOTS:
                yield entry
