"""When a log file reached which length.

The services write lines without a common time stamp. supervisord notes every 5 s how long each log is
(``NAME.log.times`` beside it: epoch seconds, inode, bytes), so "since" means a place in a file, exact to those 5 s,
also across rotation, which keeps inodes.
"""

from __future__ import annotations

import os
from pathlib import Path

KEPT_LINES = 4000


def note_growth(log: Path, now: float) -> None:
    """Append the length of ``log`` to its index if it changed since the last note."""
    index = log.with_name(f"{log.name}.times")
    try:
        status = log.stat()
    except FileNotFoundError:
        return
    last = _last_line(index)
    if last and last[1:] == (status.st_ino, status.st_size):
        return
    with index.open("a") as handle:
        handle.write(f"{now:.0f} {status.st_ino} {status.st_size}\n")
        size = handle.tell()
    if size > KEPT_LINES * 40:
        _shorten(index)


def place_at(log: Path, since: float) -> dict[int, int]:
    """Return, per inode of ``log`` and its rotated files, how many bytes were written before ``since``."""
    places: dict[int, int] = {}
    lengths: dict[int, int] = {}
    for when, inode, size in _read(log.with_name(f"{log.name}.times")):
        if size < lengths.get(inode, 0):  # the inode belongs to a newer file
            places.pop(inode, None)
        lengths[inode] = size
        if when <= since:
            places[inode] = size
    return places


def _read(index: Path) -> list[tuple[int, int, int]]:
    try:
        lines = index.read_text().splitlines()
    except FileNotFoundError:
        return []
    return [found for line in lines if (found := _parsed(line))]


def _last_line(index: Path) -> tuple[int, int, int] | None:
    try:
        with index.open("rb") as handle:
            handle.seek(max(0, handle.seek(0, os.SEEK_END) - 200))
            lines = handle.read().decode("ascii", "replace").splitlines()
    except FileNotFoundError:
        return None
    return _parsed(lines[-1]) if lines else None


def _parsed(line: str) -> tuple[int, int, int] | None:
    try:
        when, inode, size = (int(part) for part in line.split())
    except ValueError:
        return None
    return when, inode, size


def _shorten(index: Path) -> None:
    lines = index.read_text().splitlines(keepends=True)
    temporary = index.with_name(f"{index.name}.new")
    temporary.write_text("".join(lines[-KEPT_LINES // 2 :]))
    temporary.replace(index)
