"""What ``doctor`` looks at of files on this machine that the backup's container reads: whether its user may."""

from __future__ import annotations

import os
import shlex
import stat
from collections.abc import Iterator
from pathlib import Path

from stackctl.backup.sources import STACK_FILES
from stackctl.engines import Engine
from stackctl.lifecycle.doctor_check import Check
from stackctl.stack import Stack

CONTAINER = 1000
"""User and group of all containers."""


def readable_checks(stack: Stack, engine: Engine) -> list[Check]:
    """Return the check under Docker; elsewhere backups run as the person, and there is none."""
    if engine.name != "docker":
        return []
    wanted = dict.fromkeys(Path(name).parts[0] for name in (*STACK_FILES, *stack.settings.backup.include))
    closed = [name for name in wanted if any(not _open(path) for path in _below(stack.home / name))]
    commands = [] if _open(stack.home) else [f"chmod a+rX {shlex.quote(str(stack.home))}"]
    if closed:
        commands.append(f"chmod -R a+rX {shlex.join(str(stack.home / name) for name in closed)}")
    if not commands:
        return [Check("backup reads", "ok", "all that belongs into a snapshot")]
    what = f"the backup's container (user {CONTAINER}) may not read {', '.join(closed) or stack.home}: backups fail"
    return [Check("backup reads", "failed", what, " && ".join(commands))]


def _below(path: Path) -> Iterator[Path]:
    if path.exists():
        yield path
    for folder, folders, files in os.walk(path):
        yield from (Path(folder) / name for name in (*folders, *files))


def _open(path: Path) -> bool:
    """Return whether the container's user may read a file, or list a folder and enter it."""
    try:
        found = path.lstat()
    except FileNotFoundError:  # gone since it was listed
        return True
    if stat.S_ISLNK(found.st_mode):
        return True
    shift = 6 if found.st_uid == CONTAINER else 3 if found.st_gid == CONTAINER else 0
    needed = 0o5 if stat.S_ISDIR(found.st_mode) else 0o4
    return found.st_mode >> shift & needed == needed
