"""``history``: what happened to a model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from stackctl.cli.completion import complete_models
from stackctl.cli.output import terminal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import RenderableType

    from stackctl.models.history import Event

STYLES = {"refused": "yellow", "failed": "red", "elsewhere": "cyan"}


def history(
    context: typer.Context,
    model: Annotated[
        str | None,
        typer.Argument(
            help="The registered model; none: the stack's own.", show_default=False, autocompletion=complete_models
        ),
    ] = None,
    limit: Annotated[int, typer.Option("-n", "--limit", min=1, help="Only the newest so many.")] = 30,
) -> None:
    """Show what happened to a model, newest first: promotions, rollbacks, refusals, and what was made elsewhere."""
    from datetime import UTC, datetime

    from stackctl.models import Registry
    from stackctl.models.arrivals import told

    screen = terminal(context)
    stack = screen.stack()
    with Registry.of(stack) as registry:
        found = registry.model(model or stack.settings.model)
    events = told(found, datetime.now(UTC))
    if not events and not screen.json:
        screen.note(f"Nothing was promoted yet. Try `stackctl promote {found.name} latest`.")
        return
    shown = events[:limit]
    screen.data(
        {"model": found.name, "events": [event.to_dict() for event in shown], "total": len(events)},
        lambda: _lines(shown),
    )
    if len(events) > limit:
        screen.note(f"{len(events) - limit} older ones: `--limit {len(events)}`.")


def _lines(events: Sequence[Event]) -> RenderableType:
    """Return one line per event, and below it why: sentences do not fit into a column."""
    from rich.text import Text

    rows = [(event.at[:19].replace("T", " "), event.action, event.target, _step(event), event.by) for event in events]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    text = Text()
    for event, row in zip(events, rows, strict=True):
        cells = [cell.ljust(width) for cell, width in zip(row, (*widths, 0), strict=True)]
        text.append(f"{cells[0]}  ", style="dim").append(f"{cells[1]}  ", style=STYLES.get(event.action, "bold"))
        text.append(f"{cells[2]}  {cells[3]}  ").append(f"{cells[4]}\n", style="dim")
        why = _why(event)
        if why:
            text.append(f"    {why}\n")
    text.rstrip()
    return text


def _step(event: Event) -> str:
    if event.action in {"refused", "aligned"}:
        return event.version
    if event.action == "failed":  # the server went back
        return f"{event.version} → {event.previous or '–'}"
    return f"{event.previous or '–'} → {event.version}"


def _why(event: Event) -> str:
    """Return the reason, else what the metric gate compared."""
    champion = "_champion"
    compared = [name.removesuffix(champion) for name in event.figures if name.endswith(champion)]
    figures = [f"{name} {event.figures.get(name)}, before {event.figures[name + champion]}" for name in compared]
    return event.reason or "; ".join(figures)
