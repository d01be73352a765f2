"""``models compare``: two versions side by side."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stackctl.cli.completion import complete_models, complete_versions
from stackctl.cli.output import terminal

if TYPE_CHECKING:
    from rich.console import RenderableType

    from stackctl.lifecycle.compare import Comparison

_WORDS = "its number, latest, @alias or a run's id."


def compare(
    context: typer.Context,
    before: Annotated[
        str, typer.Argument(metavar="V1", help=f"One version: {_WORDS}", autocompletion=complete_versions)
    ],
    after: Annotated[
        str, typer.Argument(metavar="V2", help=f"The other version: {_WORDS}", autocompletion=complete_versions)
    ],
    model: Annotated[
        str | None,
        typer.Option(help="The registered model; none: the stack's own.", autocompletion=complete_models),
    ] = None,
    sheet: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Also write a PNG with what both made of their golden inputs."),
    ] = None,
) -> None:
    """Compare two versions: their metrics, and with --sheet their golden images."""
    from stackctl.lifecycle.compare import compare as side_by_side
    from stackctl.lifecycle.compare import write_sheet

    screen = terminal(context)
    stack, engine = screen.engine()
    found = side_by_side(stack, model or stack.settings.model, before, after)
    if sheet is not None:
        with screen.progress() as progress:
            write_sheet(engine, found, sheet, progress)
    screen.data({**found.to_dict(), "sheet": None if sheet is None else str(sheet)}, lambda: _table(found))
    if not found.comparable and not screen.json:
        screen.note("It is not recorded that both were measured on the same data: read the metrics with care.")


def _table(found: Comparison) -> RenderableType:
    from rich.table import Table
    from rich.text import Text

    from stackctl.models.tags import SOURCE

    before, after = found.before, found.after
    table = Table(box=None, padding=(0, 3, 0, 0), header_style="dim")
    for name in ("", f"version {before.version}", f"version {after.version}"):
        table.add_column(name)
    table.add_column("difference", justify="right")
    facts = {
        "stage": (before.stage, after.stage),
        "source": (before.tags.get(SOURCE, "–"), after.tags.get(SOURCE, "–")),
        "contract": (before.contract or "–", after.contract or "–"),
        "registered": (f"{before.created_at:%Y-%m-%d %H:%M}", f"{after.created_at:%Y-%m-%d %H:%M}"),
    }
    for name, (one, two) in facts.items():
        table.add_row(name, Text(one), Text(two), "")
    for name, (first, second) in found.metrics.items():
        difference = "" if first is None or second is None else f"{second - first:+.4g}"
        table.add_row(Text(name), _figure(first), _figure(second), difference)
    return table


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"
