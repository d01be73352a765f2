"""Free loopback ports for stacks under test."""

from __future__ import annotations

import socket

NAMES = ("mlflow", "store", "store_console", "serving", "serving_staging", "demo", "deployer", "backup")


def free_ports() -> dict[str, int]:
    """Return a free port for each of a stack's ports; all are held until the last one is found, so they differ."""
    sockets = [socket.socket() for _ in NAMES]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return {name: each.getsockname()[1] for name, each in zip(NAMES, sockets, strict=True)}
    finally:
        for each in sockets:
            each.close()
