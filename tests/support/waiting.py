"""Waiting for what must come: patient enough for a machine that is slow and busy, and no longer than it takes."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

PATIENCE = 240.0
"""Seconds after which a wait is given up: many times what anything waits for takes, less than a test's own limit."""


class Running(Protocol):
    """A process that may have ended."""

    def poll(self) -> int | None:
        """Return its exit status once it has ended."""
        ...


def eventually(
    condition: Callable[[], object],
    what: str,
    *,
    log: Callable[[], object] = str,
    running: Running | None = None,
    pause: float = 0.05,
) -> None:
    """Wait until a condition holds; fail when it never does, or as soon as the process that brings it about has ended.

    Args:
        condition: is asked again and again.
        what: what is waited for, a noun: the failure says that it did not happen.
        log: what the failure quotes.
        running: the process without which it cannot happen.
        pause: seconds between two questions.
    """
    deadline = time.monotonic() + PATIENCE
    while not condition():
        ended = running is not None and running.poll() is not None
        assert not ended or condition(), f"the process ended before {what}:\n{log()}"
        assert ended or time.monotonic() < deadline, f"{what} did not happen within {PATIENCE:.0f} s:\n{log()}"
        time.sleep(0 if ended else pause)
