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
    wanted = dict.fromkeys(name.rstrip("/") for name in (*STACK_FILES, *stack.settings.backup.include))
    above = dict.fromkeys(folder for name in wanted for folder in reversed(Path(name).parents))
    shut = [stack.home / folder for folder in above if not _open(stack.home / folder)]
    closed = [stack.home / name for name in wanted if any(not _open(path) for path in _below(stack.home / name))]
    commands = [
        f"{command} {shlex.join(map(str, paths))}"
        for command, paths in (("chmod a+rX", shut), ("chmod -R a+rX", closed))
        if paths
    ]
    if not commands:
        return [Check("backup reads", "ok", "all that belongs into a snapshot")]
    names = ", ".join(
        str(path) if path == stack.home else str(path.relative_to(stack.home)) for path in (*shut, *closed)
    )
    what = f"the backup's container (user {CONTAINER}) may not read {names}: backups fail"
    return [Check("backup reads", "failed", what, " && ".join(commands))]


def _below(path: Path) -> Iterator[Path]:
    if os.path.lexists(path):
        yield path
    for folder, folders, files in os.walk(path):
        yield from (Path(folder) / name for name in (*folders, *files))


def _open(path: Path) -> bool:
    """Return whether the container's user may read a file, or list a folder and enter it."""
    try:
        found = path.lstat()
    except OSError:  # gone since it was listed, or in a folder that this person may not enter either
        return True
    if stat.S_ISLNK(found.st_mode):
        return True
    shift = 6 if found.st_uid == CONTAINER else 3 if found.st_gid == CONTAINER else 0
    needed = 0o5 if stat.S_ISDIR(found.st_mode) else 0o4
    return found.st_mode >> shift & needed == needed
