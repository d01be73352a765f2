"""Whether there is room for what a backup is about to write."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from stackctl.errors import StackctlError

MARGIN = 1.05
"""Folders, links and the file system's own needs beside the files."""
RESERVE = 16 << 20
"""Bytes that a backup leaves free for others."""


class NoRoom(StackctlError):
    """The target is full, or would be."""


def need(folder: Path, size: int, files: int = 0) -> None:
    """See that there is room for files with ``size`` bytes in all below ``folder``.

    Raises:
        NoRoom: there is not.
    """
    status = os.statvfs(folder)
    free = status.f_bavail * status.f_frsize
    wanted = int(size * MARGIN) + files * status.f_frsize // 2 + RESERVE
    if free < wanted:
        raise NoRoom(
            f"The backup needs {_words(wanted)} in {folder}, and {_words(free)} are free.",
            "Make room there, or take old snapshots away with `stackctl backup prune`.",
        )
    if status.f_files and status.f_favail < 2 * files + 100:
        raise NoRoom(
            f"The backup needs {2 * files + 100} file entries in {folder}, and {status.f_favail} are free.",
            "Make room there, or take old snapshots away with `stackctl backup prune`.",
        )


def changed(folder: Path, base: Path | None) -> tuple[int, int]:
    """Return how many bytes and files below ``folder`` are not below ``base`` with the same size and time of change."""
    size = count = 0
    for path, status in walk(folder):
        try:
            before = os.lstat(base / path) if base else None
        except OSError:
            before = None
        if before is None or (before.st_size, before.st_mtime_ns) != (status.st_size, status.st_mtime_ns):
            size, count = size + status.st_size, count + 1
    return size, count


def walk(folder: Path) -> Iterator[tuple[str, os.stat_result]]:
    """Yield what lies below a folder and is no folder: its POSIX path below it, and its status (links not followed)."""
    pending = [("", str(folder))]
    while pending:
        prefix, path = pending.pop()
        try:
            entries = list(os.scandir(path))
        except (FileNotFoundError, NotADirectoryError):
            continue
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                pending.append((f"{prefix}{entry.name}/", entry.path))
                continue
            try:
                yield f"{prefix}{entry.name}", entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue


def _words(size: int) -> str:
    return f"{size / (1 << 30):.1f} GiB" if size >= 1 << 30 else f"{size / (1 << 20):.1f} MiB"
