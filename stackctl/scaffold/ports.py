"""Free ports on this machine's loopback address."""

from __future__ import annotations

import errno
import socket
from collections.abc import Collection, Mapping

LAST = 65535


def is_free(port: int) -> bool:
    """Return whether nothing listens on ``port`` of 127.0.0.1 (or of every address)."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            return error.errno != errno.EADDRINUSE
    return True


def next_free(port: int, claimed: Collection[int]) -> int:
    """Return ``port`` or the next higher one that is free and not in ``claimed``; where there is none, ``port``."""
    return next((number for number in range(port, LAST + 1) if number not in claimed and is_free(number)), port)


def offers(defaults: Mapping[str, int], given: Collection[int]) -> dict[str, int]:
    """Return a port for each question of ``defaults``: its default where that is free, else the next free one.

    No port is offered twice, nor is one of ``given`` (ports that were asked for).
    """
    claimed = set(given)
    offered: dict[str, int] = {}
    for question, port in defaults.items():
        offered[question] = next_free(port, claimed | (set(defaults.values()) - {port}))
        claimed.add(offered[question])
    return offered
