"""Batch runs as a person reads them: the list, one run's state, a report."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stackctl.cli.batch_progress import clock, counted, pixels, printable
from stackctl.cli.output import Terminal
from stackctl.store.places import HOST

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import RenderableType
    from rich.text import Text

    from stackctl.batch.runs import Run, RunState

NAMED = 20
"""Images in quarantine that a printed report names."""
SLOWEST = 3
ENDS = {
    "ok": "done",
    "incomplete": "done but for what could not be looked at",
    "threshold": "ended early",
    "cancelled": "cancelled",
    "failed": "failed",
}
COLORS = {
    "starting": "cyan",
    "running": "cyan",
    "waiting": "yellow",
    "done": "green",
    "incomplete": "red",
    "threshold": "red",
    "cancelled": "yellow",
    "failed": "red",
    "died": "red",
}


class Sheet:
    """Titles and values below each other; a long value is never cut."""

    def __init__(self) -> None:
        self._rows: list[tuple[str, str, str]] = []

    def row(self, title: str, value: str, color: str = "") -> None:
        """Add a line; an empty title goes on with the one before."""
        lines = value.splitlines() or [""]
        self._rows += [(title if number == 0 else "", line, color) for number, line in enumerate(lines)]

    def text(self) -> Text:
        """Return all lines."""
        from rich.text import Text

        width = max(len(title) for title, _, _ in self._rows) + 2
        parts = [(f"{title:<{width}}", value, color) for title, value, color in self._rows]
        return Text("\n").join(Text.assemble(title, (value, color)) for title, value, color in parts)


def runs_table(runs: Sequence[tuple[Run, RunState]]) -> RenderableType:
    """Return the list of runs."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    for title in ("RUN", "STATE", "DONE", "SKIPPED", "BAD", "LEFT", "MODEL"):
        right = title in {"DONE", "SKIPPED", "BAD", "LEFT"}
        table.add_column(title, justify="right" if right else "left", no_wrap=title != "MODEL", overflow="fold")
    for run, state in runs:
        order = run.order()
        counts = (state.done, state.skipped, state.quarantined, state.pending)
        table.add_row(
            run.id,
            Text(state.phase, COLORS[state.phase]),
            *(f"{count:,}" if count else "–" for count in counts),
            _model(order).replace(" version ", "/"),
        )
    return table


def state_table(run: Run, state: RunState) -> RenderableType:
    """Return what is known of one run."""
    order = run.order()
    sheet = Sheet()
    sheet.row("run", run.id)
    sheet.row("state", state.phase, COLORS[state.phase])
    if state.message:
        sheet.row("", state.message)
    if state.hint:
        sheet.row("", f"→ {state.hint}")
    sheet.row("images", _counts(state))
    if state.live and state.images_per_s:
        eta = f", ETA {clock(state.eta_s)}" if state.eta_s is not None else ""
        sheet.row("speed", f"{state.images_per_s:.2f} images/s, {pixels(state.pixels_per_s)}/s{eta}")
    if state.live and state.workers:
        sheet.row("workers", str(state.workers))
    sheet.row("model", _model(order))
    for name in ("input", "output"):
        sheet.row(name, place(order, name))
    sheet.row("folder", str(run.folder))
    return sheet.text()


def plan_table(run: Run, state: RunState) -> RenderableType:
    """Return what a run would do."""
    order = run.order()
    sheet = Sheet()
    sheet.row("to do", f"{counted(state.pending, 'image')}, about {pixels(state.pixels)}")
    sheet.row("done before", f"{state.skipped:,}")
    if state.known_bad:
        sheet.row("known to be bad", f"{state.known_bad:,} (tried again with --retry-failed)")
    sheet.row("model", _model(order))
    for name in ("input", "output"):
        sheet.row(name, place(order, name))
    return sheet.text()


def place(order: dict[str, Any], name: str) -> str:
    """Return a place of a run as a person knows it: their folder, and the URL where they can use it too."""
    url = str(order.get(name, "–"))
    return _where(order.get(f"{name}_folder") or url, url)


def _reported(document: dict[str, Any], name: str) -> str:
    return _where(document[name], document.get("urls", {}).get(name, document[name]))


def _where(shown: str, url: str) -> str:
    return shown if shown == url or f"/{HOST}/" in url else f"{shown} ({url})"


def _counts(state: RunState) -> str:
    parts = [f"{state.done:,} done"]
    parts += [f"{state.skipped:,} done before"] if state.skipped else []
    parts += [f"{state.quarantined:,} quarantined"] if state.quarantined else []
    parts += [f"{state.known_bad:,} known to be bad"] if state.known_bad else []
    parts += [f"{state.pending:,} left"] if state.pending else []
    return ", ".join(parts)


def _model(order: dict[str, Any]) -> str:
    model = order.get("model") or {}
    return f"{model.get('name', '–')} version {model.get('version', '–')}"


def report_table(run: Run, document: dict[str, Any]) -> RenderableType:
    """Return a report, as ``report.json`` has it."""
    figures, sheet = document["figures"], Sheet()
    sheet.row("run", f"{run.id}, {ENDS.get(document['status'], document['status'])} after {clock(figures['seconds'])}")
    speed = f"{figures['images_per_s']:.2f} images/s, {pixels(figures['pixels_per_s'])}/s"
    sheet.row("done", counted(figures["done"], "image") + (f" ({speed})" if figures["done"] else ""))
    for name, title in (
        ("unchanged", "unchanged"),
        ("skipped", "done before"),
        ("known_bad", "known to be bad"),
        ("left", "removed meanwhile" if document["status"] == "ok" else "left"),
    ):
        if figures[name]:
            sheet.row(title, counted(figures[name], "image"))
    if figures["quarantined"]:
        reasons = ", ".join(f"{count:,} {code}" for code, count in document["reasons"].items())
        sheet.row("quarantined", f"{counted(figures['quarantined'], 'image')}: {reasons}")
        for image in document["quarantined"][:NAMED]:
            sheet.row("", printable(f"{image['name']}: {image['reason']}"), "red")
        if figures["quarantined"] > NAMED:
            sheet.row("", f"and {figures['quarantined'] - NAMED:,} more, in report.html")
    if document["slowest"]:
        slowest = (f"{image['seconds']:.2f} s  {printable(image['name'])}" for image in document["slowest"][:SLOWEST])
        sheet.row("slowest", "\n".join(slowest))
    model = document["model"]
    sheet.row("model", f"{model['name']} version {model['version']} ({model['digest'][:19]})")
    sheet.row("results", _reported(document, "output"))
    if figures["quarantined"] or figures["known_bad"]:
        sheet.row("quarantine", _reported(document, "quarantine"))
    for title, name in (("contact sheet", "contact-sheet.jpg"), ("report", "report.html")):
        if (run.folder / name).is_file():
            sheet.row(title, str(run.folder / name))
    return sheet.text()


def print_report(screen: Terminal, run: Run, document: dict[str, Any]) -> None:
    """Print a report on standard output."""
    screen.console().print(report_table(run, document), soft_wrap=True)
