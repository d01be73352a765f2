"""``models import``: bring networks into the registry as versions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from stackctl.cli.output import Terminal, terminal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stackctl.models import ModelVersion


def import_(context: typer.Context, source: Annotated[str, typer.Argument(help="What to import: starter.")]) -> None:
    """Register networks as versions of the stack's model; a second time finds what the first one registered."""
    from stackctl.cli.models import versions_table
    from stackctl.lifecycle.import_model import import_model

    screen = terminal(context)
    stack, engine = screen.engine()
    with screen.progress() as progress:
        versions = import_model(source, stack, engine, progress)
    document = {"model": stack.settings.model, "versions": [entry.to_dict() for entry in versions]}
    screen.data(document, lambda: versions_table(versions))
    _suggest_promotion(screen, versions)


def _suggest_promotion(screen: Terminal, versions: Sequence[ModelVersion]) -> None:
    if versions and not screen.json and all(entry.stage != "Production" for entry in versions):
        first = versions[0]
        screen.note(f"Next: `stackctl promote {first.name} {first.version}`.")
