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
        lambda: _table(shown),
    )
    if len(events) > limit:
        screen.note(f"{len(events) - limit} older ones: `--limit {len(events)}`.")


def _table(events: Sequence[Event]) -> RenderableType:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for name in ("when (UTC)", "what", "where", "version", "by"):
        table.add_column(name, no_wrap=True)
    table.add_column("why", overflow="fold")
    for event in events:
        step = f"{event.previous or '–'} → {event.version}" if event.action != "refused" else event.version
        table.add_row(
            event.at[:19].replace("T", " "),
            Text(event.action, style={"refused": "yellow", "failed": "red"}.get(event.action, "")),
            event.target,
            Text(step),
            Text(event.by),
            Text(_why(event)),
        )
    return table


def _why(event: Event) -> str:
    figures = ", ".join(f"{name} {value}" for name, value in event.figures.items() if name != "data")
    return event.reason or figures or "–"
