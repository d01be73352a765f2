"""Ports for what tests start: none is given out twice, whatever processes tests run in."""

from __future__ import annotations

import fcntl
import os
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stackctl.stack.settings import Ports

FIRST, LAST = 20_000, 29_999  # below those that the operating system gives to outgoing connections
FOLDER = Path(tempfile.gettempdir())


def free_ports(count: int) -> list[int]:
    """Return ports that are free, and that no other test is given before all the others were."""
    found: list[int] = []
    with _locked("stackctl-test-ports") as note, note.open("r+") as file:
        last = int(file.read() or LAST)
        while len(found) < count:
            last = last + 1 if FIRST <= last < LAST else FIRST
            if _is_free(last):
                found.append(last)
        file.seek(0)
        file.write(f"{last}\n")
        file.truncate()
    return found


def free_port() -> int:
    """Return one such port."""
    return free_ports(1)[0]


def stack_ports() -> dict[str, int]:
    """Return such a port for each setting below ``ports`` in ``stack.yaml``."""
    names = list(Ports.model_fields)
    return dict(zip(names, free_ports(len(names)), strict=True))


@contextmanager
def usual_ports() -> Iterator[None]:
    """Keep other tests from the ports that ``init`` chooses by itself, until what was made holds them."""
    with _locked("stackctl-test-usual-ports"):
        yield


@contextmanager
def _locked(name: str) -> Iterator[Path]:
    """Hold a file of this user, alone among all processes."""
    path = FOLDER / f"{name}-{os.getuid()}"
    with path.open("a") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield path


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("", port))
        except OSError:
            return False
    return True
