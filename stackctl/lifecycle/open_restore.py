"""The note in a stack's folder that a restore is going on, so that nobody starts services on half of it."""

from __future__ import annotations

import json
from pathlib import Path

from stackctl.errors import StackctlError
from stackctl.stack import Stack

FILE = "restore.json"


def begin(stack: Stack, snapshot: str) -> None:
    """Note that the data of ``snapshot`` is being put into place."""
    _write(stack, {"snapshot": snapshot, "state": "applying"})


def applied(stack: Stack, snapshot: str) -> None:
    """Note that all data is in its place; what it replaced is still kept."""
    _write(stack, {"snapshot": snapshot, "state": "applied"})


def end(stack: Stack) -> None:
    """Note that nothing of a restore is left to do."""
    (stack.state / FILE).unlink(missing_ok=True)


def is_open(stack: Stack) -> bool:
    """Return whether a restore was begun and has neither succeeded nor been undone."""
    return (stack.state / FILE).is_file()


def refuse_half(stack: Stack) -> None:
    """Refuse to start services on data that an interrupted restore left between two states.

    Raises:
        StackctlError: a restore was interrupted while it put data into place.
    """
    file = stack.state / FILE
    if not file.is_file():
        return
    found = json.loads(file.read_text())
    if found["state"] == "applying":
        raise StackctlError(
            f"A restore of the snapshot {found['snapshot']} was interrupted.",
            "`stackctl restore` again finishes it; `stackctl restore --undo` goes back.",
        )


def _write(stack: Stack, document: dict[str, str]) -> None:
    file: Path = stack.state / FILE
    file.parent.mkdir(parents=True, exist_ok=True)
    fresh = file.with_name(f".{file.name}.new")
    fresh.write_text(json.dumps(document) + "\n")
    fresh.replace(file)
