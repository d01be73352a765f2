"""Commands that the local engine starts and lets go: processes that outlive the command line, found again by name.

A note of pid and start time is left under ``var/run/launched``: a pid alone may be somebody else's by now.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from stackctl import process
from stackctl.engines.protocol import LaunchState
from stackctl.errors import StackctlError, UsageError

if TYPE_CHECKING:
    import subprocess  # noqa: TID251 - a type

    import psutil

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class LocalLaunches:
    """The launched commands of one stack, whose notes lie in ``folder``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._children: dict[str, subprocess.Popen[str]] = {}

    def start(self, name: str, argv: Sequence[str], *, cwd: Path, env: Mapping[str, str], log: Path) -> None:
        """Start a command in a session of its own.

        Raises:
            StackctlError: one of that name runs.
        """
        import psutil

        note = self._note(name)
        if self._process(name) is not None:
            raise StackctlError(f"{name} runs already.")
        self._folder.mkdir(parents=True, exist_ok=True)
        self._forget_ended()
        child = process.start(argv, cwd=cwd, env=env, log=log)
        self._children[name] = child
        with contextlib.suppress(psutil.NoSuchProcess):
            started = psutil.Process(child.pid).create_time()
            fresh = note.with_suffix(".new")
            fresh.write_text(json.dumps({"pid": child.pid, "started": started}))
            fresh.replace(note)

    def state(self, name: str) -> LaunchState:
        """Return whether a command runs, and its exit status where this very process started it."""
        alive = self._process(name) is not None
        child = self._children.get(name)
        return LaunchState(alive, child.poll() if child is not None and not alive else None)

    def end(self, name: str, *, kill: bool) -> None:
        """Ask a command to end, or kill its whole group."""
        found = self._process(name)
        if found is None:
            return
        with contextlib.suppress(ProcessLookupError):
            if kill:
                os.killpg(found.pid, signal.SIGKILL)
            else:
                os.kill(found.pid, signal.SIGTERM)  # its workers are its own to end

    def end_all(self, patience: float) -> None:
        """Ask every command to end, wait for it, and kill what is left after ``patience`` seconds."""
        running = {name: found for name in self._names() if (found := self._process(name)) is not None}
        for name in running:
            self.end(name, kill=False)
        if running:
            import psutil

            psutil.wait_procs(list(running.values()), timeout=patience)
        for name in running:
            self.end(name, kill=True)

    def _process(self, name: str) -> psutil.Process | None:
        """Return the live process of a command."""
        import psutil

        try:
            note = json.loads(self._note(name).read_text())
            found = psutil.Process(int(note["pid"]))
            same = found.create_time() == note["started"]
            return found if same and found.status() != psutil.STATUS_ZOMBIE else None
        except (OSError, ValueError, KeyError, psutil.Error):
            return None

    def _names(self) -> list[str]:
        return [note.stem for note in self._folder.glob("*.json")]

    def _forget_ended(self) -> None:
        for name in self._names():
            if self._process(name) is None:
                self._note(name).unlink(missing_ok=True)

    def _note(self, name: str) -> Path:
        if not _NAME.fullmatch(name):
            raise UsageError(f"`{name}` cannot name a command.", "Use letters, digits, dots and hyphens.")
        return self._folder / f"{name}.json"
