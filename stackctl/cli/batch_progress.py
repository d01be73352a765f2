"""What is shown while a batch runs: a bar on a terminal, lines elsewhere, or the events themselves as JSON."""

from __future__ import annotations

import contextlib
import json
import signal
import sys
import time
from collections.abc import Callable, Iterator
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol

import typer

from stackctl.batch.runs import RunState
from stackctl.cli.output import Terminal

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

LINE_SECONDS = 5.0
"""How often progress is told where it cannot be redrawn."""


class ProgressStyle(StrEnum):
    """How progress is shown."""

    AUTO = "auto"
    PLAIN = "plain"
    JSON = "json"


class View(Protocol):
    """Shows a run's events."""

    def say(self, text: str, *, warning: bool = False) -> None:
        """Show a sentence."""
        ...

    def show(self, event: dict[str, Any], state: RunState) -> None:
        """Show what follows from an event."""
        ...


def watch(
    screen: Terminal,
    events: Iterator[dict[str, Any]],
    style: ProgressStyle,
    *,
    on_interrupt: Callable[[int], str | None],
) -> RunState:
    """Show a run's events until its end and return the state that they lead to.

    Args:
        screen: where to.
        events: as ``stackctl.batch.runs.follow`` yields them.
        style: how.
        on_interrupt: told of the first and of every later Ctrl-C (or SIGTERM), by its number; returns what to say, or
            None to stop looking on.
    """
    state = RunState()
    with _interrupts() as pressed, _view(screen, style) as view:
        answered = 0
        for event in events:
            while answered < len(pressed):
                answered += 1
                said = on_interrupt(answered)
                if said is None:
                    return state
                view.say(said, warning=True)
            if event:
                state = state.after(event)
                view.show(event, state)
    return state


@contextlib.contextmanager
def preparing(screen: Terminal, style: ProgressStyle) -> Iterator[Callable[[str, str], None]]:
    """Show what is done before a run begins, in the same style."""
    if style is ProgressStyle.JSON:
        yield lambda subject, what: typer.echo(
            json.dumps({"event": "preparing", "subject": subject, "what": what}), err=True
        )
        return
    with screen.progress() as progress:
        yield progress


def warner(screen: Terminal, style: ProgressStyle) -> Callable[[str], None]:
    """Return what shows a warning in this style."""
    return screen.warn if style is not ProgressStyle.JSON else lambda text: _Json().say(text, warning=True)


def printable(text: str) -> str:
    """Return text that may be shown on a terminal: names of files can hold anything."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def sentence(event: dict[str, Any]) -> tuple[str, bool] | None:
    """Return what a person should read of an event, and whether it is a warning; None: nothing."""
    match event.get("event"):
        case "image" if event.get("status") == "quarantined":
            return printable(f"{event.get('name')}: {event.get('reason') or event.get('code')} (quarantined)"), True
        case "worker" if event.get("state") == "died":
            return f"Worker {event.get('name')} died; another one takes over.", True
        case "waiting":
            return f"Waiting: {event.get('why')}", True
        case "resumed":
            return "Going on.", False
        case "note":
            return str(event.get("text")), False
        case "mlflow" if event.get("state") != "connected":
            return f"MLflow is {str(event.get('state')).rstrip('.')}. The run goes on; MLflow is told later.", True
        case _:
            return None


def opening(state: RunState) -> str:
    """Return how much there is to do, in words."""
    if not state.total:
        return "There is no image in the input yet."
    parts = [f"{state.pending} to do"]
    parts += [f"{state.skipped} done before"] if state.skipped else []
    parts += [f"{state.known_bad} known to be bad (try them again with --retry-failed)"] if state.known_bad else []
    return f"{counted(state.total, 'image')}: {', '.join(parts)}."


def figures(state: RunState) -> str:
    """Return progress as a line."""
    parts = [f"{state.done} of {state.done + state.pending} done"]
    if state.images_per_s:
        parts.append(f"{state.images_per_s:.2f} images/s")
        parts.append(f"{pixels(state.pixels_per_s)}/s")
    if state.eta_s is not None:
        parts.append(f"ETA {clock(state.eta_s)}")
    parts.append(counted(state.workers, "worker"))
    if state.quarantined:
        parts.append(f"{state.quarantined} quarantined")
    return " · ".join(parts)


def pixels(count: float) -> str:
    """Return a number of pixels as a person reads it."""
    return f"{count / 1e6:.2f} Mpixel"


def clock(seconds: float) -> str:
    """Return a duration as a clock shows it."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def counted(number: int, noun: str) -> str:
    """Return a number with its noun."""
    plural = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
    return f"{number:,} {noun if number == 1 else plural}"


@contextlib.contextmanager
def _interrupts() -> Iterator[list[int]]:
    """Collect interrupts instead of being ended by them."""
    pressed: list[int] = []
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in before:
        signal.signal(number, lambda found, _frame: pressed.append(found))
    try:
        yield pressed
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _view(screen: Terminal, style: ProgressStyle) -> Iterator[View]:
    if style is ProgressStyle.JSON:
        yield _Json()
    elif style is ProgressStyle.AUTO and not screen.quiet and screen.color and sys.stderr.isatty():
        bar = _Bar(screen)
        with bar.progress:
            yield bar
    else:
        yield _Lines(screen)


class _Json:
    def say(self, text: str, *, warning: bool = False) -> None:
        self._print({"event": "note", "text": text, "warning": warning})

    def show(self, event: dict[str, Any], state: RunState) -> None:  # noqa: ARG002 - the event says it all
        self._print(event)

    def _print(self, event: dict[str, Any]) -> None:
        typer.echo(json.dumps(event), err=True)


class _Lines:
    def __init__(self, screen: Terminal) -> None:
        self._screen = screen
        self._told = time.monotonic()

    def say(self, text: str, *, warning: bool = False) -> None:
        (self._screen.warn if warning else self._screen.note)(text)

    def show(self, event: dict[str, Any], state: RunState) -> None:
        if (found := sentence(event)) is not None:
            self.say(found[0], warning=found[1])
        if event.get("event") == "begin":
            self.say(opening(state))
        elif event.get("event") == "progress" and time.monotonic() - self._told >= LINE_SECONDS:
            self._told = time.monotonic()
            self.say(figures(state))


class _Bar:
    """A bar with what is left below it; sentences stay above it."""

    def __init__(self, screen: Terminal) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn

        self.progress: Progress = Progress(
            SpinnerColumn(),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("{task.description}"),
            console=screen.console(stderr=True),
            expand=True,
        )
        self._task: TaskID = self.progress.add_task("starting", total=None)
        self._last = 0.0

    def say(self, text: str, *, warning: bool = False) -> None:
        from rich.text import Text

        self.progress.console.print(Text(f"⚠ {text}" if warning else text), soft_wrap=True)

    def show(self, event: dict[str, Any], state: RunState) -> None:
        if (found := sentence(event)) is not None:
            self.say(found[0], warning=found[1])
        kind = event.get("event")
        if kind == "begin":
            self.say(opening(state))
        if kind in {"begin", "progress", "waiting", "resumed", "end"}:
            total = state.done + state.quarantined + state.pending
            self.progress.update(
                self._task, completed=state.done + state.quarantined, total=total or None, description=_beside(state)
            )


def _beside(state: RunState) -> str:
    from rich.markup import escape

    if state.phase == "waiting":
        return f"[yellow]waiting: {escape((state.message or '')[:60])}[/]"
    if not state.workers:
        return "starting workers" if state.live and state.pending else ""
    parts = [f"{state.images_per_s:.1f} images/s", f"{pixels(state.pixels_per_s)}/s"]
    if state.live and not state.pending:
        parts.append("writing the report")
    parts += [f"ETA {clock(state.eta_s)}"] if state.eta_s and state.pending else []
    parts.append(counted(state.workers, "worker"))
    parts += [f"[red]{state.quarantined} quarantined[/]"] if state.quarantined else []
    return " · ".join(parts)
