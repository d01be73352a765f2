"""What the local engine keeps of a stack, in words, and its end."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path


def in_words(var: Path, *, keep: Path | None) -> list[str]:
    """Return what ``delete`` would delete, and its size."""
    entries = list(_entries(var, keep))
    if not var.is_dir() or (keep and not entries):
        return []
    size = 0
    for entry in entries:
        for file in (entry, *entry.rglob("*")):
            with contextlib.suppress(FileNotFoundError):  # services at work delete files of theirs
                size += 0 if file.is_dir() else file.lstat().st_size
    place = f"{var}" + (f" -> {var.resolve()}" if var.is_symlink() else "")
    kept = ", but not its snapshots" if len(entries) < len(list(var.iterdir())) else ""
    return [f"folder {place} (databases, artifacts, logs; {size / 1e6:.0f} MB){kept}"]


def delete(var: Path, *, keep: Path | None) -> None:
    """Delete ``var``, but for ``keep`` where that lies in it; a link to another disk stays, its target is emptied."""
    for entry in _entries(var, keep):
        shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
    if not var.is_symlink() and not any(var.iterdir()):
        var.rmdir()


def _entries(var: Path, keep: Path | None) -> Iterator[Path]:
    spared = _places(var, keep) if keep else []
    if var.is_dir():
        for entry in sorted(var.resolve().iterdir()):
            if not any(place.is_relative_to(entry) for place in spared):
                yield entry


def _places(var: Path, keep: Path) -> list[Path]:
    """Return where ``keep`` is as it is named, and where it lies: links may lead into ``var`` and out of it."""
    places = [keep.parent.resolve() / keep.name, keep.resolve()]
    return [*places, var.resolve() / keep.relative_to(var)] if keep.is_relative_to(var) else places
