"""Trees of files into a snapshot, by rsync: what an earlier snapshot has already becomes a hard link to it."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from stackctl.errors import MissingPrerequisite, StackctlError
from stackctl.process import ProcessFailed, run

OLDEST = (3, 2, 4)
"""The first version that knows ``--fsync``."""
VANISHED = 24
"""rsync's status where files went away while it read them."""
ATTEMPTS = 3
_ITEM = re.compile(r"[<>ch.*][fdLDS]\S* +\d+$")
"""What rsync prints of each thing it makes: ``--out-format=%i %l``."""
_COPIED = re.compile(r"[<>]f\S* +(\d+)")
_INSTALL = {
    "apt-get": "sudo apt-get install rsync",
    "dnf": "sudo dnf install rsync",
    "zypper": "sudo zypper install rsync",
    "apk": "sudo apk add rsync",
    "pacman": "sudo pacman -S rsync",
    "brew": "brew install rsync",
}


def require() -> str:
    """See that there is an rsync that can be used, and return its version.

    Raises:
        MissingPrerequisite: there is none, or one that is too old.
    """
    install = next((line for tool, line in _INSTALL.items() if shutil.which(tool)), "Install the package rsync")
    hint = f"Install it: {install}" if install != "Install the package rsync" else f"{install}."
    if shutil.which("rsync") is None:
        raise MissingPrerequisite("Backups need rsync, and there is none on this machine.", hint)
    text = run(["rsync", "--version"], check=False).stdout
    found = re.search(r"version v?(\d+)\.(\d+)\.(\d+)", text)
    if found is None or tuple(int(part) for part in found.groups()) < OLDEST:
        known = found.group(0) if found else "another program of that name"
        needed = ".".join(str(part) for part in OLDEST)
        raise MissingPrerequisite(f"Backups need rsync {needed} or later; this machine has {known}.", hint)
    return ".".join(found.groups())


def copy_tree(
    source: Path,
    target: Path,
    bases: Sequence[Path],
    *,
    only: Sequence[str] = (),
    checksum: bool = False,
    on_file: Callable[[int], None] = lambda _size: None,
) -> None:
    """Copy what is below ``source`` into the new folder ``target``.

    Args:
        source: a folder.
        target: a folder that is empty or does not exist.
        bases: folders that may have the same files already, the most trusted one first: they are linked to.
        only: files and folders (with a slash at their end) below it, and nothing else; none named: everything.
        checksum: compare by content, not by size and time of change.
        on_file: called with the bytes of each file that was copied.

    Raises:
        StackctlError: rsync failed; nothing in ``target`` can be used then.
    """
    target.mkdir(mode=0o700, parents=True, exist_ok=True)
    argv = ["rsync", "-aH", "--fsync", "--chmod=Du+rwx", "--out-format=%i %l", *(["--checksum"] if checksum else [])]
    argv += [f"--link-dest={base.absolute()}" for base in bases]
    argv += _filters(only)
    argv += ["--", f"{source.absolute()}/", f"{target.absolute()}/"]

    def on_line(line: str) -> None:
        if copied := _COPIED.fullmatch(line):
            on_file(int(copied[1]))

    for attempt in range(1, ATTEMPTS + 1):
        try:
            run(argv, on_line=on_line)
        except ProcessFailed as error:
            if error.completed.returncode == VANISHED and attempt < ATTEMPTS:
                continue
            lines = [line for line in error.completed.stdout.splitlines() if not _ITEM.match(line)]
            text = " ".join(lines[-3:])
            unreadable = "Permission denied" in text
            raise StackctlError(
                f"rsync could not copy {source} (status {error.completed.returncode}): {text}",
                f"Backups run as user {os.getuid()}: let that user read it (chmod a+rX)." if unreadable else None,
            ) from error
        else:
            return


def _filters(only: Sequence[str]) -> list[str]:
    """Return rsync's words for these files and folders alone; what they hold in names is no pattern."""
    if not only:
        return []
    words = []
    for path in only:
        parts = path.strip("/").split("/")
        words += [f"--include=/{'/'.join(parts[:depth])}/" for depth in range(1, len(parts))]
        words.append(f"--include=/{'/'.join(parts)}{'/***' if path.endswith('/') else ''}")
    return [*words, "--exclude=*"]
