"""One line of JSON per request on stderr; no query, no cookie, no file name."""

from __future__ import annotations

import json
import logging
import sys
import time
from datetime import UTC, datetime
from http import HTTPStatus

from flask import Flask, Response, g, request

QUIET = {"/healthz"}


def add_access_log(app: Flask, logger: logging.Logger) -> None:
    """Log every answer of `app` to `logger`; health probes and unchanged polls are left out."""

    def start() -> None:
        g.started = time.perf_counter()

    def finish(response: Response) -> Response:
        if request.path not in QUIET and response.status_code != HTTPStatus.NOT_MODIFIED:
            logger.info(json.dumps(_line(response), separators=(",", ":")))
        return response

    app.before_request(start)
    app.after_request(finish)


def stderr_logger(name: str = "flask_demo.access") -> logging.Logger:
    """Return a logger that writes bare lines to stderr."""
    logger = logging.getLogger(name)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    if not logger.handlers:
        logger.addHandler(logging.StreamHandler(sys.stderr))
    return logger


def _line(response: Response) -> dict[str, object]:
    line: dict[str, object] = {
        "at": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "client": request.remote_addr,
        "method": request.method,
        "path": request.path,
        "status": response.status_code,
        "bytes_in": request.content_length or 0,
        "bytes_out": response.content_length or 0,
        "ms": round((time.perf_counter() - g.get("started", time.perf_counter())) * 1000, 1),
    }
    for key in ("version", "error"):
        if key in g:
            line[key] = g.get(key)
    return line
