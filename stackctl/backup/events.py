"""What a backup says while it works: one JSON object per line on standard output, for whoever started the process."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Protocol

PAUSE = 0.2


class Events(Protocol):
    """Takes one event: its name and what belongs to it."""

    def __call__(self, event: str, **fields: Any) -> None:
        """Say it."""
        ...


Hooks = Callable[[str], None]
"""Called with the name of each step once it is done; tests stop a backup there."""


def quiet(event: str, **fields: Any) -> None:
    """Say nothing."""


def nothing(step: str) -> None:
    """Do nothing between the steps."""


def to_stdout(event: str, **fields: Any) -> None:
    """Write the event as one line of JSON with the time (``at``)."""
    line = {"at": datetime.now(UTC).isoformat(timespec="milliseconds"), "event": event, **fields}
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def bar(events: Events, name: str, total: int) -> Callable[[int], None]:
    """Return what says how far a step is: call it with how many of ``total`` are done; every 50th is told."""

    def report(done: int) -> None:
        if done % 50 == 0 or done == total:
            events("step", name=name, done=done, total=total)

    return report


class Progress:
    """Says how far a step is, a few times a second at most.

    Args:
        events: who is told.
        name: the step.
        total: how many files there are to do; None: unknown.
        total_bytes: how many bytes they have; None: unknown.
    """

    def __init__(self, events: Events, name: str, total: int | None = None, total_bytes: int | None = None) -> None:
        self._events = events
        self._name = name
        self._totals = {"total": total, "total_bytes": total_bytes}
        self._said = time.monotonic()
        self.done = 0
        self.bytes = 0

    def add(self, size: int, files: int = 1) -> None:
        """Count files that are done, and their bytes."""
        self.done += files
        self.bytes += size
        if time.monotonic() - self._said >= PAUSE:
            self.say()

    def say(self) -> None:
        """Say it now."""
        self._said = time.monotonic()
        known = {key: value for key, value in self._totals.items() if value is not None}
        self._events("step", name=self._name, done=self.done, bytes=self.bytes, **known)
