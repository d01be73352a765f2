"""Processes of the local engine: memory of a tree, its end, and what a killed supervisord left behind."""

from __future__ import annotations

import contextlib
import http.client
import os
import socket
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from stackctl.engines.supervisor_config import MARK

if TYPE_CHECKING:
    import psutil

KILL_PATIENCE = 5.0


def resident_bytes(pid: int) -> int | None:
    """Return the memory of a process and its descendants, or None when it is gone.

    It is the sum of RSS with shared pages counted once: each process' private part (RSS - shared) plus the largest
    shared part of the tree. Exact figures (PSS) cost a walk through every mapping.
    """
    import psutil

    try:
        root = psutil.Process(pid)
        tree = [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return None
    private, shared = 0, 0
    for process in tree:
        with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            memory = process.memory_info()
            common = getattr(memory, "shared", 0)
            private += memory.rss - common
            shared = max(shared, common)
    return private + shared


def family(pid: int) -> list[psutil.Process]:
    """Return a process and all its descendants that live now."""
    import psutil

    try:
        root = psutil.Process(pid)
        return [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def supervised(folder: Path) -> list[psutil.Process]:
    """Return the processes of this user that a supervisord of the stack in ``folder`` started, or that are one."""
    import psutil

    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if (
                process.pid != os.getpid()
                and process.uids().real == os.getuid()
                and process.environ().get(MARK) == str(folder)
            ):
                found.append(process)
    return found


def end(processes: Iterable[psutil.Process], patience: float) -> None:
    """Wait until all processes are gone; after ``patience`` seconds kill what is left."""
    import psutil

    _, alive = psutil.wait_procs(list(processes), timeout=patience)
    for process in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(alive, timeout=KILL_PATIENCE)


def terminate(processes: Iterable[psutil.Process], patience: float) -> None:
    """Ask processes to end, wait for it, and kill what is left after ``patience`` seconds."""
    import psutil

    asked = list(processes)
    for process in asked:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.terminate()
    end(asked, patience)


def port_is_open(port: int) -> bool:
    """Return whether somebody listens on a loopback port."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2.0):
            return True
    except OSError:
        return False


def answers(port: int, path: str, timeout: float = 2.0) -> bool:
    """Return whether HTTP on a loopback port answers ``path`` with a status of 200 to 299."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request("GET", path)
        return 200 <= connection.getresponse().status < 300
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
