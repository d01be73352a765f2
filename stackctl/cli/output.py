"""What the commands print: data on standard output, everything else on standard error."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from stackctl.engines import Engine, Progress
    from stackctl.stack import Stack

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Terminal:
    """How this invocation talks to whoever called it: the global options.

    Attributes:
        folder: the stack's folder as given by ``-C``, or None for the one found upward from here.
        json: print one JSON document instead of a table.
        quiet: print no progress and no notes.
        verbose: print what is done in detail.
        yes: answer every question with yes.
        color: use colours and redraw lines where the stream is a terminal.
    """

    folder: Path | None = None
    json: bool = False
    quiet: bool = False
    verbose: bool = False
    yes: bool = False
    color: bool = True

    def stack(self) -> Stack:
        """Return the stack that this invocation is about.

        Raises:
            NotAStack: there is none.
        """
        from stackctl.stack import Stack

        return Stack.from_folder(self.folder) if self.folder else Stack.find(Path.cwd())

    def engine(self) -> tuple[Stack, Engine]:
        """Return the stack and the engine that runs it."""
        from stackctl.engines import engine_of

        stack = self.stack()
        return stack, engine_of(stack)

    def data(self, document: dict[str, Any], table: Callable[[], RenderableType]) -> None:
        """Print the answer: ``document`` as JSON under ``--json``, else the rendering that ``table`` makes."""
        if self.json:
            print_json(document)
        else:
            self.console().print(table(), soft_wrap=True)

    def line(self, text: str) -> None:
        """Print one line of data as it is (log lines, a path, a URL)."""
        typer.echo(text)

    def paint(self, text: str, color: str) -> str:
        """Return ``text`` in a colour, where standard output is a terminal and colours are wanted."""
        wanted = self.color and sys.stdout.isatty() and not os.environ.get("NO_COLOR")
        return typer.style(text, fg=color) if wanted else text

    def note(self, text: str) -> None:
        """Tell the person something; not data."""
        if not self.quiet:
            typer.echo(text, err=True)

    def warn(self, text: str) -> None:
        """Warn the person; ``--quiet`` does not silence it."""
        typer.echo(f"⚠ {text}", err=True)

    def confirm(self, question: str, expected: str) -> None:
        """Ask the person to type ``expected``.

        Raises:
            UsageError: something else was typed, or nobody is there to ask.
        """
        from stackctl.errors import UsageError

        if self.yes:
            return
        if not sys.stdin.isatty():
            raise UsageError("This needs a confirmation, and nobody is there to ask.", "Add --yes.")
        if typer.prompt(question, err=True).strip() != expected:
            raise UsageError(f"That was not {expected!r}: nothing was deleted.")

    def console(self, *, stderr: bool = False) -> Console:
        """Return a rich console for one of the two streams."""
        from rich.console import Console

        return Console(stderr=stderr, no_color=not self.color or None, highlight=False)

    @contextlib.contextmanager
    def progress(self) -> Iterator[Progress]:
        """Draw progress while the block runs: one line per subject, redrawn on a terminal, appended elsewhere."""
        if self.quiet:
            yield lambda _subject, _what: None
            return
        console = self.console(stderr=True)
        lines = _Lines(self.verbose)
        if not (console.is_terminal and self.color):
            yield lambda subject, what: lines.plain(console, subject, what)
            return
        from rich.live import Live

        with Live(console=console, refresh_per_second=8, get_renderable=lines.render):
            yield lines.update


@dataclass
class _Lines:
    """The progress lines: the last word on each subject and how long it has been going on."""

    verbose: bool = False
    last: dict[str, str] = field(default_factory=dict)
    began: dict[str, float] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def update(self, subject: str, what: str) -> None:
        with self.lock:
            now = time.monotonic()
            self.began.setdefault(subject, now)
            self.last[subject] = what
            self.seconds[subject] = now - self.began[subject]

    def plain(self, console: Console, subject: str, what: str) -> None:
        from rich.text import Text

        if self.last.get(subject) == what:
            return
        self.update(subject, what)
        console.print(Text(f"  {subject:<14} {what}"), soft_wrap=True)

    def render(self) -> RenderableType:
        from rich.table import Table

        grid = Table.grid(padding=(0, 2))
        with self.lock:
            for subject, what in self.last.items():
                grid.add_row(f"[bold]{subject}[/]", _escape(what[:100]), f"[dim]{self.seconds[subject]:.1f} s[/]")
        return grid


def terminal(context: typer.Context) -> Terminal:
    """Return the terminal that the global options described."""
    found = context.find_object(Terminal)
    return found if isinstance(found, Terminal) else Terminal()


def print_json(document: dict[str, Any]) -> None:
    """Print one JSON document on standard output, with the version of its schema."""
    whole = {"schema_version": SCHEMA_VERSION, **document}
    text = json.dumps(whole, indent=2, ensure_ascii=False)
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:  # a file name that is not UTF-8, or a terminal that is not
        text = json.dumps(whole, indent=2)
    typer.echo(text)


def print_error(message: str, hint: str | None, code: int, *, as_json: bool, color: bool = True) -> None:
    """Print an error: as a document on standard output under ``--json``, else in words on standard error."""
    if as_json:
        print_json({"error": {"code": code, "message": message, "hint": hint}})
        return
    use_color = color and sys.stderr.isatty() and not os.environ.get("NO_COLOR")
    typer.echo(f"{typer.style('Error:', fg='red', bold=True) if use_color else 'Error:'} {message}", err=True)
    if hint:
        typer.echo(f"{typer.style('→', fg='cyan') if use_color else '→'} {hint}", err=True)


def bytes_in_words(count: int | None) -> str:
    """Return a size as a person reads it, in binary units; a dash when it is unknown."""
    if count is None:
        return "–"
    size = float(count)
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.0f} {unit}"
        size /= 1024
    return f"{size:.1f} GiB"


def _escape(text: str) -> str:
    from rich.markup import escape

    return escape(text)
