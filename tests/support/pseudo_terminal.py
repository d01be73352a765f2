"""A program under a pseudo-terminal, and somebody who reads its screen and types."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import select
import signal
import termios
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from support.waiting import PATIENCE

CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[=>()][A-Z0-9]?|\r")


class Typist:
    """Types at a program's terminal once an expected text has appeared on it.

    Attributes:
        seen: everything the program wrote, without control sequences.
    """

    def __init__(self, process: int, terminal: int) -> None:
        self.seen = ""
        self._process = process
        self._terminal = terminal
        self._read_until = 0

    def answer(self, expected: str, keys: str) -> None:
        """Wait until ``expected`` appears after what was answered last, then type ``keys``."""
        end = time.monotonic() + PATIENCE
        while (found := self.seen.find(expected, self._read_until)) < 0:
            assert time.monotonic() < end, f"{expected!r} did not appear:\n{self.seen}"
            assert self._read(0.2), f"the program ended before {expected!r} appeared:\n{self.seen}"
        self._read_until = found + len(expected)
        self._quiet()
        os.write(self._terminal, keys.encode())

    def exit_status(self) -> int:
        """Wait for the program's end and return its exit status."""
        end = time.monotonic() + PATIENCE
        while self._read(0.2):
            assert time.monotonic() < end, f"the program did not end:\n{self.seen}"
        return os.waitstatus_to_exitcode(os.waitpid(self._process, 0)[1])

    def _quiet(self) -> None:
        """Read until the program has stopped drawing and so reads its keyboard."""
        before = -1
        while len(self.seen) != before:
            before = len(self.seen)
            self._read(0.15)

    def _read(self, seconds: float) -> bool:
        """Read for at most ``seconds``; return False when the program has closed its terminal."""
        if select.select([self._terminal], [], [], seconds)[0]:
            try:
                data = os.read(self._terminal, 65536)
            except OSError:
                return False
            self.seen += CONTROL.sub("", data.decode(errors="replace"))
            return bool(data)
        return True


@contextlib.contextmanager
def typist(argv: Sequence[str], *, cwd: Path, env: Mapping[str, str] | None = None) -> Iterator[Typist]:
    """Start a program under a pseudo-terminal; it is ended when the block is left."""
    environment = {**os.environ, "TERM": "xterm", "PROMPT_TOOLKIT_NO_CPR": "1", **(env or {})}
    process, terminal = pty.fork()
    if process == 0:
        termios.tcsetwinsize(0, (50, 200))
        os.chdir(cwd)
        os.execvpe(argv[0], list(argv), environment)  # noqa: S606
    try:
        yield Typist(process, terminal)
    finally:
        with contextlib.suppress(ProcessLookupError, ChildProcessError):
            os.kill(process, signal.SIGKILL)
            os.waitpid(process, 0)
        os.close(terminal)
