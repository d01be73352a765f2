"""The secrets of a snapshot in a restore: opened with an age identity, and put where they are wanted.

Where a stack gets them, what they replace is kept until the restore has succeeded. Interrupted and called again it
ends right.
"""

from __future__ import annotations

import os
import secrets as randomness
import shutil
import tempfile
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from stackctl.backup.manifest import HEADER
from stackctl.backup.secrets import FILE, decrypt
from stackctl.engines import Engine
from stackctl.errors import StackctlError, UsageError
from stackctl.scaffold.secret_files import FILE_MODE, FOLDER_MODE
from stackctl.stack import Stack

OWN = frozenset({"store_root_user", "store_root_password", "s3_credentials"})
"""What a stack never takes over: these open its own object store, which may not be the one that was backed up."""
TELLING = ("webhook_key", "demo_secret_key")
"""Secrets that every stack has, and that other things were made with."""
PRIVATE = 0o600
WHOLE = ".whole"
"""File beside the replaced secrets that says that all of the snapshot's are in place."""


def read_identity(file: Path) -> str:
    """Return the text of an age identity file.

    Raises:
        UsageError: it cannot be read.
    """
    try:
        return file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise UsageError(
            f"The identity {file} cannot be read: {reason}.", "Name the file that age-keygen wrote."
        ) from error


def opened(engine: Engine, snapshot: str, part: Mapping[str, Any], identity: str) -> dict[str, bytes]:
    """Return the secrets of one of an engine's snapshots, of which the manifest says ``part``: name to content.

    Raises:
        UsageError: it holds none, or this identity does not open them.
        MissingPrerequisite: this machine lacks what opens them.
    """
    if not part.get("included"):
        raise UsageError(f"The snapshot {snapshot} holds no secrets.", _HOW_TO_HAVE)
    with tempfile.TemporaryDirectory(prefix="stackctl-secrets-") as scratch:
        return opened_in(engine.snapshot_out(snapshot, Path(scratch), (HEADER, FILE)), identity)


def opened_in(snapshot: Path, identity: str) -> dict[str, bytes]:
    """Return the secrets in the folder of a snapshot; see ``opened``."""
    if not (snapshot / FILE).is_file():
        raise UsageError(f"The snapshot {snapshot.name} holds no secrets.", _HOW_TO_HAVE)
    return decrypt(snapshot / FILE, identity)


def put(stack: Stack, values: Mapping[str, bytes], at: str) -> list[str]:
    """Make these the stack's secrets, as old as their snapshot, and return their names; nothing may run.

    Those of the stack's own store stay as they are. Without any, what an interrupted attempt put in part is taken back.

    Raises:
        StackctlError: a secret cannot be read or written.
    """
    folder, kept = stack.home / "secrets", _kept(stack)
    if not values:
        if not (kept / WHOLE).exists():
            bring_back(stack)
        return []
    then = datetime.fromisoformat(at).timestamp() - 1
    names = sorted(set(values) - OWN)
    try:
        kept.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
        for name in names:
            file = folder / name
            if file.exists() and not (kept / name).exists():  # once: a second attempt finds what the first one put
                _copy(file, kept / name)
            _write(file, values[name], FILE_MODE)
            os.utime(file, (then, then))
        (kept / WHOLE).touch()
    except OSError as error:
        raise StackctlError(
            f"The stack's secrets could not be restored: {error}.",
            "Mend that; then the same command goes on, or `stackctl restore --undo` goes back.",
        ) from error
    return names


def bring_back(stack: Stack) -> None:
    """Put the secrets that a restore replaced back into their place."""
    kept = _kept(stack)
    for file in sorted(kept.glob("[!.]*")):
        _copy(file, stack.home / "secrets" / file.name)
    forget_kept(stack)


def forget_kept(stack: Stack) -> None:
    """Delete the secrets that a restore replaced: it has succeeded."""
    shutil.rmtree(_kept(stack), ignore_errors=True)


def write_private(folder: Path, values: Mapping[str, bytes]) -> None:
    """Write secrets into a folder that only its owner can enter, each readable for nobody else."""
    folder.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
    for name, value in values.items():
        _write(folder / name, value, PRIVATE)


def warnings(stack: Stack, snapshot: str, at: str, part: Mapping[str, Any]) -> list[str]:
    """Return what it means that this stack's secrets are not those of the snapshot; nothing where they may be.

    Args:
        stack: it was restored.
        snapshot: how its engine calls the snapshot.
        at: when that was taken, ISO 8601.
        part: what the snapshot's manifest says of secrets.
    """
    taken = datetime.fromisoformat(at).timestamp()
    files = [stack.home / "secrets" / name for name in TELLING]
    if _kept(stack).exists() or not any(file.is_file() and file.stat().st_mtime > taken for file in files):
        return []
    meaning = (
        "The secrets of this stack were made after the snapshot: webhooks that people made in MLflow need their secret "
        "again, sessions of the demo end, and keys that people put into secrets/ are missing."
    )
    if part.get("included"):
        command = f"stackctl -C {stack.home} restore {snapshot} --identity FILE"
        return [f"{meaning} The snapshot holds the old ones, encrypted: `{command}` puts them back."]
    return [f"{meaning} The snapshot does not hold the old ones (backup.encrypt_to was empty)."]


_HOW_TO_HAVE = "Leave out --identity. Snapshots hold secrets once backup.encrypt_to in stack.yaml names a recipient."


def _kept(stack: Stack) -> Path:
    return stack.home / "secrets" / ".replaced"  # where git does not look


def _copy(file: Path, target: Path) -> None:
    """Copy a secret, as old as it is."""
    state = file.stat()
    _write(target, file.read_bytes(), FILE_MODE)
    os.utime(target, ns=(state.st_atime_ns, state.st_mtime_ns))


def _write(file: Path, data: bytes, mode: int) -> None:
    """Write a file whole or not at all, never readable for more than it is meant to be."""
    fresh = file.with_name(f".{file.name}-{randomness.token_hex(4)}")
    handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, PRIVATE)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
            os.fchmod(stream.fileno(), mode)
        fresh.replace(file)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise
