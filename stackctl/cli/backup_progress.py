"""What is shown while a backup works: a bar per step on a terminal, a line per step elsewhere."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from stackctl.cli.output import Terminal, bytes_in_words

if TYPE_CHECKING:
    from stackctl.lifecycle.backup import Heard


@contextlib.contextmanager
def watched(screen: Terminal) -> Iterator[Heard]:
    """Yield what hears events and shows them on standard error."""
    if screen.quiet:
        yield lambda event: _note(screen, event)
        return
    if not (screen.color and sys.stderr.isatty()):
        yield _Lines(screen).hear
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description:<12}"), BarColumn(), TextColumn("{task.fields[amount]}"))
    progress = Progress(*columns, TimeElapsedColumn(), console=screen.console(stderr=True))
    tasks: dict[str, Any] = {}

    def hear(event: dict[str, Any]) -> None:
        if event["event"] != "step":
            _note(screen, event)
            return
        name = str(event["name"])
        if _inside(event):
            return
        if name not in tasks:
            tasks[name] = progress.add_task(name, total=None, amount="")
        total, done = event.get("total"), event.get("done")
        progress.update(tasks[name], total=total, completed=done or 0, amount=amount(event))

    with progress:
        yield hear


def amount(event: dict[str, Any]) -> str:
    """Return how far a step is, in words."""
    done, total = event.get("done"), event.get("total")
    if done == 0 and total is None:
        return "nothing new"
    files = "" if done is None else f"{done}/{total} files" if total else f"{done} file{'' if done == 1 else 's'}"
    size = bytes_in_words(int(event["bytes"])) if event.get("bytes") else ""
    return "  ".join(part for part in (files, size) if part)


class _Lines:
    """A line when a step begins; what it did is said with the next one."""

    def __init__(self, screen: Terminal) -> None:
        self._screen = screen
        self._step = ""

    def hear(self, event: dict[str, Any]) -> None:
        """Show an event."""
        if event["event"] != "step":
            _note(self._screen, event)
        elif event["name"] != self._step and not _inside(event):
            self._step = str(event["name"])
            self._screen.note(f"  {self._step:<14} {amount(event)}".rstrip())


def _inside(event: dict[str, Any]) -> bool:
    """Return whether an event tells of a step that takes no time worth a line, or has told of itself already."""
    return event.get("state") == "done" and event["name"] != "databases"


def _note(screen: Terminal, event: dict[str, Any]) -> None:
    match event["event"]:
        case "warning":
            screen.warn(str(event["text"]))
        case "note":
            screen.note(f"  {event['text']}")
        case "removed":
            screen.note(f"  deleted {event['snapshot']}{', which was damaged' if event.get('damaged') else ''}")
