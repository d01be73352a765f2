"""Small JSON files beside the snapshots: written whole, and by one at a time."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from stackctl.errors import StackctlError


@contextlib.contextmanager
def alone(lock: Path) -> Iterator[None]:
    """Wait until nobody else, thread or process, holds this lock file, and hold it; for what takes moments.

    Raises:
        StackctlError: its folder cannot be written.
    """
    try:
        handle = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StackctlError(
            f"{lock} cannot be written: {error.strerror}.", "Look at backup.target in stack.yaml."
        ) from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def write_document(file: Path, document: Mapping[str, Any]) -> None:
    """Write a JSON document; a reader sees the old one or the new one, also after a loss of power."""
    fresh = file.with_name(f".{file.name}-{secrets.token_hex(4)}")
    try:
        with fresh.open("x") as handle:
            json.dump(document, handle, indent=1)
            handle.write("\n")
            handle.flush()
            os.fsync(handle.fileno())
        fresh.replace(file)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise
    flush(file.parent)


def read_document(file: Path) -> dict[str, Any]:
    """Return a JSON document; an empty one where there is none.

    Raises:
        StackctlError: it cannot be read.
    """
    try:
        document = json.loads(file.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise StackctlError(f"{file} cannot be read: {error}.", "Delete it if nothing else helps.") from error
    return document if isinstance(document, dict) else {}


def flush(path: Path) -> None:
    """Write a file or folder through to the disk."""
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
