"""What happens in a run, as lines of JSON: the coordinator writes them, whoever follows the run reads them.

Each line is ``{"at": "2026-11-21T08:05:01.123Z", "event": NAME, …}``:

- ``begin``: run, total, pending, skipped, known_bad, pixels
- ``worker``: name, state (``joined``, ``died``)
- ``started``: name, worker
- ``image``: name, status (``done``, ``skipped``, ``quarantined``), seconds, pixels, out_pixels, output, code, reason
- ``progress``: done, skipped, quarantined, pending, images_per_s, pixels_per_s, eta_s, workers;
  at most one per second, and one per minute while nothing changes
- ``waiting``: why; then ``resumed``
- ``note``: text
- ``mlflow``: state
- ``end``: status (``ok``, ``threshold``, ``cancelled``, ``failed``,
  ``incomplete``: all but what could not be looked at), exit, message, hint
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

FILE = "events.jsonl"
EventName = Literal["begin", "worker", "started", "image", "progress", "waiting", "resumed", "note", "mlflow", "end"]
_MOST_KEPT = 10_000
"""Lines kept in memory while the disk is full; then the oldest that is neither ``begin`` nor ``end`` goes."""


class EventLog:
    """Appends events to a file, each line at once; safe to share between threads.

    Writing never raises: while the disk is full lines are kept and written when it has space again.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._lock = threading.Lock()
        self._kept: list[bytes] = []
        self._descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
        self._torn = False

    def say(self, event: EventName, **facts: Any) -> None:
        """Append one event."""
        self.say_all([(event, facts)])

    def say_all(self, events: list[tuple[EventName, dict[str, Any]]]) -> None:
        """Append several events with one write."""
        at = now()
        lines = [
            json.dumps({"at": at, "event": event, **facts}, ensure_ascii=True).encode() + b"\n"
            for event, facts in events
        ]
        with self._lock:
            self._kept += lines
            self._write()

    def close(self) -> None:
        """Write what was kept, as far as that is possible, and close the file."""
        with self._lock:
            self._write()
            os.close(self._descriptor)

    def _write(self) -> None:
        data = (b"\n" if self._torn else b"") + b"".join(self._kept)
        try:
            written = os.write(self._descriptor, data)
        except OSError:
            written = 0
        if written == len(data):
            self._kept, self._torn = [], False
            return
        if written:
            self._torn = True  # a part of a line stands there: the next write ends it, and readers skip it
        if len(self._kept) > _MOST_KEPT:
            del self._kept[1 : len(self._kept) - _MOST_KEPT + 1]


def read(file: Path, offset: int = 0) -> Iterator[tuple[dict[str, Any], int]]:
    """Yield (event, offset after it) of the complete lines from ``offset`` on; torn lines are left out."""
    try:
        with file.open("rb") as handle:
            handle.seek(offset)
            for line in handle:
                if not line.endswith(b"\n"):
                    return
                offset += len(line)
                try:
                    event = json.loads(line)
                except ValueError:
                    continue
                if isinstance(event, dict):
                    yield event, offset
    except FileNotFoundError:
        return


def now() -> str:
    """Return the time as events tell it."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
