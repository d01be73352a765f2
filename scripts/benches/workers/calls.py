"""The worker's end of a `Peer`: answer calls by name until the connection closes. Standard library only."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Mapping
from multiprocessing.connection import Client
from pathlib import Path
from typing import Any


def answer_calls(functions: Mapping[str, Callable[..., Any]]) -> None:
    """Connect to the socket that the last argument names and answer until the other end hangs up."""
    with Client(sys.argv[-1], family="AF_UNIX") as line:
        while True:
            try:
                name, words = line.recv()
            except (EOFError, ConnectionError):
                return
            try:
                line.send((True, functions[name](**words)))
            except Exception:  # noqa: BLE001 - whatever went wrong is for the one who asked
                line.send((False, traceback.format_exc()))


def peak_mib() -> float:
    """Return the largest resident size that this process has had, in MiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024
