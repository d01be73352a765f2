"""``models``: the registered models, their versions, and bringing new ones in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from stackctl.cli import compare, import_models
from stackctl.cli.completion import complete_models, complete_versions
from stackctl.cli.output import terminal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import RenderableType

    from stackctl.models import ModelVersion, RegisteredModel

app = typer.Typer(no_args_is_help=True, help="List, show, compare and import models.")

app.command("import")(import_models.import_)
app.command()(compare.compare)

Model = Annotated[
    str | None,
    typer.Argument(
        help="The registered model; none: the stack's own.", show_default=False, autocompletion=complete_models
    ),
]


@app.command("list")
def list_(context: typer.Context) -> None:
    """List the registered models and which version of each is in Production."""
    from stackctl.models import Registry

    screen = terminal(context)
    with Registry.of(screen.stack()) as registry:
        found = registry.models()
    if not found and not screen.json:
        screen.note("The registry is empty. Try `stackctl models import starter`.")
        return
    screen.data({"models": [model.to_dict() for model in found]}, lambda: _models_table(found))


@app.command()
def show(
    context: typer.Context,
    model: Model = None,
    version: Annotated[
        str | None,
        typer.Argument(
            help="One version: its number, latest, @alias or a run's id.",
            show_default=False,
            autocompletion=complete_versions,
        ),
    ] = None,
) -> None:
    """Show a model's versions, or one of them: stage, aliases, metrics, digest."""
    from stackctl.models import Registry, resolve

    screen = terminal(context)
    stack = screen.stack()
    with Registry.of(stack) as registry:
        found = registry.model(model or stack.settings.model)
        if version is not None:
            one = registry.with_metrics(resolve(registry, found.name, version))
            screen.data(one.to_dict(), lambda: _version_table(one))
            return
        versions = registry.versions(found.name, metrics=True)
    document = {**found.to_dict(), "versions": [entry.to_dict() for entry in versions]}
    screen.data(document, lambda: versions_table(versions))
    if not found.production.agrees:
        stage, alias = found.production.stage or "none", found.production.alias or "none"
        screen.warn(f"Stage and alias of Production disagree: the stage is version {stage}, the alias version {alias}.")


def _models_table(models: Sequence[RegisteredModel]) -> RenderableType:
    from rich.table import Table
    from rich.text import Text

    from stackctl.models.targets import STAGING

    columns = ("model", "latest", "production", "staging", "created")
    table = Table(*columns, box=None, padding=(0, 2, 0, 0), header_style="dim")
    for model in models:
        production = model.production
        mark = "" if production.agrees else f" (alias {production.alias or 'none'}, stage {production.stage or 'none'})"
        created = f"{model.created_at:%Y-%m-%d}"
        staged = model.pair(STAGING).version or "–"
        table.add_row(Text(model.name), model.latest or "–", (production.version or "–") + mark, staged, created)
    return table


def versions_table(versions: Sequence[ModelVersion]) -> RenderableType:
    """Return the table of a model's versions."""
    from rich.table import Table
    from rich.text import Text

    from stackctl.models.tags import SOURCE

    names = sorted({name for version in versions for name in version.metrics if not name.endswith("_bicubic")})
    table = Table(
        "version",
        "stage",
        "aliases",
        "source",
        *names,
        "promoted (UTC)",
        box=None,
        padding=(0, 2, 0, 0),
        header_style="dim",
    )
    for version in versions:
        table.add_row(
            version.version,
            "–" if version.stage == "None" else version.stage,
            Text(", ".join(version.aliases) or "–"),
            Text(version.tags.get(SOURCE, "–")),
            *(f"{version.metrics[name]:.4g}" if name in version.metrics else "–" for name in names),
            (version.promoted_at or "–")[:16].replace("T", " "),
        )
    return table


def _version_table(version: ModelVersion) -> RenderableType:
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2))
    table.add_column()
    table.add_column(overflow="fold")
    rows = {
        "model": version.name,
        "version": version.version,
        "stage": version.stage,
        "aliases": ", ".join(version.aliases) or "–",
        "status": version.status,
        "run": version.run_id or "–",
        "digest": version.digest or "–",
        "promoted": version.promoted_at or "–",
        **{name: f"{value:.4f}" for name, value in sorted(version.metrics.items())},
        **dict(sorted(version.tags.items())),
    }
    for name, value in rows.items():
        table.add_row(Text(name, style="bold"), Text(value))
    return table
