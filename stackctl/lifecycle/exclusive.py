"""One promotion at a time from one stack folder, and the name under which it runs."""

from __future__ import annotations

import contextlib
import fcntl
import getpass
import hashlib
import os
import socket
from collections.abc import Iterator

from stackctl.engines import Progress
from stackctl.errors import StackctlError
from stackctl.models.clock import Clock
from stackctl.stack import Stack

LOCK_WAIT = 300.0


@contextlib.contextmanager
def exclusive(stack: Stack, progress: Progress, clock: Clock) -> Iterator[None]:
    """Hold the folder's promotion lock; another process that holds it is waited for, and that is said.

    Raises:
        StackctlError: the other one takes too long.
    """
    with _lock_file(stack) as handle:
        deadline = clock.monotonic() + LOCK_WAIT
        while not _try_lock(handle):
            progress("lock", "another promotion from this folder is running; waiting for it")
            if clock.monotonic() > deadline:
                raise StackctlError("Another promotion from this folder has been running for too long.")
            clock.sleep(0.2)
        yield


@contextlib.contextmanager
def if_free(stack: Stack) -> Iterator[bool]:
    """Hold the folder's promotion lock if nobody else does; yield whether it is held."""
    with _lock_file(stack) as handle:
        yield _try_lock(handle)


def owner_of(stack: Stack) -> str:
    """Return who promotes: user, machine and a short hash of the stack's folder."""
    folder = hashlib.sha256(os.fsencode(stack.home)).hexdigest()[:8]
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}#{folder}"


@contextlib.contextmanager
def _lock_file(stack: Stack) -> Iterator[int]:
    stack.state.mkdir(parents=True, exist_ok=True)
    handle = os.open(stack.state / "promote.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        yield handle
    finally:
        os.close(handle)


def _try_lock(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
