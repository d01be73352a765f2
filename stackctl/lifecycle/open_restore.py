"""The note in a stack's folder that a restore is going on, so that nobody starts services on half of it."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from pathlib import Path

from stackctl.errors import StackctlError, UsageError
from stackctl.stack import Stack

FILE = "restore.json"


@contextlib.contextmanager
def alone(stack: Stack) -> Iterator[None]:
    """Keep a second restore out: it would swap databases under the services that the first one has started.

    Raises:
        StackctlError: another one is at work.
    """
    stack.state.mkdir(parents=True, exist_ok=True)
    handle = os.open(stack.state / "restore.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StackctlError("Another restore of this stack is at work.", "Wait until it has ended.") from None
        yield
    finally:
        os.close(handle)


def going_on(stack: Stack, snapshot: str | None, only: str | None) -> tuple[str | None, str | None]:
    """Return which snapshot and part of it to restore: where none is named, those of the restore that is open.

    Raises:
        UsageError: a smaller part is named than the one that is half restored.
    """
    note = _read(stack)
    if note is None:
        return snapshot, only
    before: str | None = note.get("only")
    if only is not None and only != before:
        raise UsageError(
            f"A restore of the snapshot {note['snapshot']} ({before or 'everything'}) has not ended.",
            "`stackctl restore` finishes it; `stackctl restore --undo` goes back.",
        )
    return (note.get("word") or note["snapshot"], before) if snapshot is None else (snapshot, only)


def begin(stack: Stack, snapshot: str, only: str | None = None, *, word: str | None = None) -> None:
    """Note that the data of ``snapshot`` (``word`` finds it) is being put into place."""
    _write(stack, {"snapshot": snapshot, "word": word or snapshot, "only": only, "state": "applying"})


def applied(stack: Stack) -> None:
    """Note that all data is in its place; what it replaced is still kept."""
    _write(stack, {**(_read(stack) or {}), "state": "applied"})


def end(stack: Stack) -> None:
    """Note that nothing of a restore is left to do."""
    (stack.state / FILE).unlink(missing_ok=True)


def is_open(stack: Stack) -> bool:
    """Return whether a restore was begun and has neither succeeded nor been undone."""
    return (stack.state / FILE).is_file()


def sentence(stack: Stack) -> str | None:
    """Return that a restore has not ended, and what to do about it; None where none is open."""
    note = _read(stack)
    if note is None:
        return None
    return (
        f"a restore of {note['snapshot']} has not ended: `stackctl restore` finishes it, "
        "`stackctl restore --undo` goes back to the data before it"
    )


def refuse_half(stack: Stack) -> None:
    """Refuse to start services on data that a restore left between two states, or to take a snapshot of it.

    Raises:
        StackctlError: a restore is putting data into place, or was interrupted then.
    """
    found = _read(stack)
    if found is not None and found["state"] == "applying":
        raise StackctlError(
            f"A restore of the snapshot {found['snapshot']} has not ended.",
            "If it was interrupted, `stackctl restore` finishes it; `stackctl restore --undo` goes back.",
        )


def _read(stack: Stack) -> dict[str, str | None] | None:
    file = stack.state / FILE
    return dict(json.loads(file.read_text())) if file.is_file() else None


def _write(stack: Stack, document: dict[str, str | None]) -> None:
    file: Path = stack.state / FILE
    file.parent.mkdir(parents=True, exist_ok=True)
    fresh = file.with_name(f".{file.name}.new")
    fresh.write_text(json.dumps(document) + "\n")
    fresh.replace(file)
