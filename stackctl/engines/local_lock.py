"""What keeps two commands, or a second Ctrl-C, from starting and stopping the services of one stack at once."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

from stackctl.errors import StackctlError


@contextlib.contextmanager
def held(var: Path) -> Iterator[None]:
    """Hold the lock of the stack whose state lies in ``var``; another command that holds it is waited for.

    ``destroy`` deletes the file it holds: whoever waited for that one takes the file that is there by then.

    Raises:
        StackctlError: the folder cannot be written.
    """
    folder = var / "run"
    while True:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            handle = (folder / "lock").open("w")
        except OSError as error:
            raise StackctlError(f"{folder} cannot be used: {error.strerror}.", f"Look at {var}.") from error
        with handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            if _is_still_there(handle.fileno(), folder / "lock"):
                yield
                return


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Let a second Ctrl-C not cut short what the first one asked for."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _is_still_there(descriptor: int, file: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), file.stat())
    except FileNotFoundError:
        return False
