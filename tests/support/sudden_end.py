"""Ends a process at its n-th change of the file system, as SIGKILL would: nothing is cleaned up after it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

ENDED = 77
_CHANGES = {"os.rename", "os.link", "os.remove", "os.mkdir", "os.rmdir", "os.symlink", "os.truncate", "sqlite3.connect"}


def ends_at(number: int, work: Callable[[], object]) -> bool:
    """Do ``work`` in a child that dies right before its n-th change; return whether it came to an end before."""
    child = os.fork()
    if child == 0:
        sys.addaudithook(_Executioner(number).hear)
        try:
            work()
        except BaseException:  # noqa: BLE001 - the child must not go on with the parent's tests
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    assert code in {0, ENDED}, f"the child failed ({code})"
    return code == 0


class _Executioner:
    def __init__(self, number: int) -> None:
        self._left = number

    def hear(self, event: str, arguments: tuple[object, ...]) -> None:
        if event in _CHANGES or (event == "open" and _writes(arguments)):
            self._left -= 1
            if self._left == 0:
                os._exit(ENDED)


def _writes(arguments: tuple[object, ...]) -> bool:
    flags = arguments[2] if len(arguments) > 2 else 0
    return isinstance(flags, int) and bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
