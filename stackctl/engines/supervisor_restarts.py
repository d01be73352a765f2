"""Runs inside supervisord: counts restarts, ends what a crashed service leaves behind, remembers when logs grew.

Supervisor loads it as an RPC interface (``[rpcinterface:stackctl]`` in ``supervisord.conf``); its events reach it in
the same process.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path
from typing import Any

from stackctl.engines.local_log_times import note_growth

FINGERPRINT = "STACKCTL_FINGERPRINT"
LOGS = Path("var/logs")


class Restarts:
    """The RPC namespace ``stackctl`` of a stack's supervisord."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}

    def describe(self) -> dict[str, Any]:
        """Return the fingerprint supervisord was started with, its services' interpreter, and restarts per service."""
        return {
            "fingerprint": os.environ.get(FINGERPRINT, ""),
            "python": os.environ.get("STACKCTL_PYTHON", ""),
            "restarts": dict(self._counts),
        }

    def forget(self, name: str) -> bool:
        """Count the restarts of one service from 0 again; always true, because XML-RPC has no empty answer."""
        self._counts.pop(name, None)
        return True

    def starting(self, event: Any) -> None:
        """Count a start that nobody asked for: supervisord makes it out of these states only."""
        from supervisor.states import ProcessStates

        if event.from_state in {ProcessStates.EXITED, ProcessStates.BACKOFF}:
            name = event.process.config.name
            self._counts[name] = self._counts.get(name, 0) + 1

    @staticmethod
    def ended(event: Any) -> None:
        """End the rest of a service's process group: a child that outlives its parent would keep the port."""
        if event.process.pid > 0:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(event.process.pid, signal.SIGKILL)

    @staticmethod
    def tick(_event: Any) -> None:
        """Note how long the logs are now, so that ``stackctl logs --since`` finds its place."""
        for log in LOGS.glob("*.log"):
            note_growth(log, time.time())


def make(_supervisord: Any, **_options: Any) -> Restarts:
    """Return the RPC namespace, subscribed to supervisord's events."""
    from supervisor import events

    restarts = Restarts()
    events.subscribe(events.ProcessStateStartingEvent, restarts.starting)
    for kind in (events.ProcessStateExitedEvent, events.ProcessStateBackoffEvent, events.ProcessStateStoppedEvent):
        events.subscribe(kind, restarts.ended)
    events.subscribe(events.Tick5Event, restarts.tick)
    return restarts
