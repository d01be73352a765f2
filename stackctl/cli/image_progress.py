"""What is shown while many images are upscaled: a bar on a terminal, a line per image elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from stackctl.cli.output import Terminal

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from stackctl.lifecycle.upscale import Upscaled


def watched(screen: Terminal, results: Iterator[Upscaled], total: int) -> Iterator[Upscaled]:
    """Yield the results as they come and show each: where it is (standard output), or why there is none."""
    bar_wanted = total > 1 and not screen.quiet and screen.color and sys.stderr.isatty()
    if not bar_wanted:
        for item in results:
            _show(screen, item)
            yield item
        return
    progress = _bar(screen)
    began, failures = time.monotonic(), 0
    with progress:
        task = progress.add_task("", total=total, rate="", failures="")
        for number, item in enumerate(results, start=1):
            failures += item.error is not None
            _above(screen, progress, item)
            _advance(progress, task, number / (time.monotonic() - began), failures)
            yield item


def _show(screen: Terminal, item: Upscaled) -> None:
    if item.error:
        screen.warn(f"{item.source}: {item.error}")
    elif not screen.json:
        screen.line(item.result or "")


def _above(screen: Terminal, progress: Progress, item: Upscaled) -> None:
    """Show a result where the bar does not: failures above it, files on standard output that is no terminal."""
    from rich.text import Text

    if item.error:
        progress.console.print(Text(f"⚠ {item.source}: {item.error}"), soft_wrap=True)
    elif not screen.json and not sys.stdout.isatty():
        screen.line(item.result or "")


def _bar(screen: Terminal) -> Progress:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    return Progress(
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TextColumn("ETA"),
        TimeRemainingColumn(),
        TextColumn("[red]{task.fields[failures]}"),
        console=screen.console(stderr=True),
    )


def _advance(progress: Progress, task: TaskID, rate: float, failures: int) -> None:
    progress.update(task, advance=1, rate=f"{rate:.2f} images/s", failures=f"{failures} failed" if failures else "")
