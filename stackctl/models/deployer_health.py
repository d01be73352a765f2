"""What the deployer says of itself: lines of JSON in its log, and ``GET /health``."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from stackctl.models.clock import SystemClock
from stackctl.models.versions import iso

STUCK = 600.0
"""Seconds without a sign of life after which the deployer is taken for stuck; a promotion gives many."""


class Health:
    """The last thing that happened, and when; safe to ask from another thread."""

    def __init__(self) -> None:
        self._last = ("starting", "")
        self._at = iso(SystemClock().now())
        self._seen = time.monotonic()

    def tell(self, subject: str, what: str) -> None:
        """Note what happens; a line in the log, unless it is what was said last."""
        self.beat()
        if (subject, what) == self._last:
            return
        self._last, self._at = (subject, what), iso(SystemClock().now())
        line = {"at": self._at, "event": subject, "detail": what}
        print(json.dumps(line, ensure_ascii=False), file=sys.stderr, flush=True)  # noqa: T201 - the service's log

    def beat(self) -> None:
        """Show that the deployer lives."""
        self._seen = time.monotonic()

    @property
    def alive(self) -> bool:
        """Whether there was a sign of life lately."""
        return time.monotonic() - self._seen < STUCK

    def to_dict(self) -> dict[str, Any]:
        """Return the document of ``GET /health``."""
        event, detail = self._last
        return {"schema_version": 1, "alive": self.alive, "event": event, "detail": detail, "since": self._at}


@contextmanager
def serve_health(health: Health, host: str, port: int) -> Iterator[int]:
    """Answer ``GET /health`` at ``host`` and ``port`` (0: any free one), which is yielded; 503 when it is stuck."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = self.path == "/health"
            status = (
                (HTTPStatus.OK if health.alive else HTTPStatus.SERVICE_UNAVAILABLE) if found else HTTPStatus.NOT_FOUND
            )
            body = json.dumps(health.to_dict() if found else {}).encode() + b"\n"
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
            """Leave health probes out of the log."""

    server = ThreadingHTTPServer((host, port), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
