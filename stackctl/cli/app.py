"""The application: global options and the commands, in the order in which a newcomer meets them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from stackctl import __version__
from stackctl.cli import (
    backup,
    batch,
    doctor,
    gc,
    history,
    image,
    images,
    init,
    models,
    opening,
    promote,
    restore,
    services,
    store,
)
from stackctl.cli.output import Terminal

GLOBAL_FLAGS = {"--json", "--quiet", "-q", "--verbose", "--yes", "-y", "--no-color"}
GLOBAL_VALUES = {"--dir", "-C"}


class GlobalOptionsAnywhere(TyperGroup):
    """Accepts global options before or after the command: ``stackctl --json status``, ``stackctl status --json``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Move global options to the front; what stands behind ``--`` is left alone."""
        return super().parse_args(ctx, hoist(args))


def hoist(args: list[str]) -> list[str]:
    """Return ``args`` with the global options moved to the front."""
    front: list[str] = []
    rest: list[str] = []
    remaining = iter(args)
    for word in remaining:
        if word == "--":
            rest += [word, *remaining]
        elif word in GLOBAL_FLAGS or word.startswith("--dir="):
            front.append(word)
        elif word in GLOBAL_VALUES:
            front += [word, *([value] if (value := next(remaining, None)) is not None else [])]
        else:
            rest.append(word)
    return front + rest


app = typer.Typer(
    cls=GlobalOptionsAnywhere,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "auto_envvar_prefix": "STACKCTL"},
    help="Scaffold and run a self-hosted MLOps stack on one machine.",
)


def _print_version(value: bool) -> None:
    if value:
        typer.echo(f"stackctl {__version__}")
        raise typer.Exit


@app.callback()
def _global_options(
    context: typer.Context,
    folder: Annotated[
        Path | None,
        typer.Option(
            "-C", "--dir", help="The stack's folder (default: found upward from here).", envvar="STACKCTL_DIR"
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document.", envvar="STACKCTL_JSON")] = False,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="No progress, no notes.")] = False,
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="Say what is done in detail.")] = False,
    yes: Annotated[bool, typer.Option("-y", "--yes", help="Answer every question with yes.")] = False,
    no_color: Annotated[bool, typer.Option("--no-color", help="No colours (NO_COLOR is honoured too).")] = False,
    version: Annotated[  # noqa: ARG001 - the callback acts on it
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, allow_from_autoenv=False, help="Print the version."
        ),
    ] = False,
) -> None:
    """Scaffold and run a self-hosted MLOps stack on one machine.

    The options of this page stand before or after the command. Every option of every command can be set by an
    environment variable: STACKCTL_<OPTION> here, STACKCTL_<COMMAND>_<OPTION> for a command's own.
    """
    context.obj = Terminal(folder, json, quiet, verbose, yes, not no_color)


START, MODELS, SAFETY, MORE = "Start and stop", "Models", "Backup", "Machine"
app.command(rich_help_panel=START)(init.init)
app.command(rich_help_panel=START)(services.up)
app.command(rich_help_panel=START)(services.status)
app.command(rich_help_panel=START)(services.logs)
app.command("open", rich_help_panel=START)(opening.open_)
app.command(rich_help_panel=START)(services.restart)
app.command(rich_help_panel=START)(services.scale)
app.command(rich_help_panel=START)(services.down)
app.command(rich_help_panel=START)(services.destroy)
app.command(rich_help_panel=MODELS)(promote.promote)
app.command(rich_help_panel=MODELS)(promote.rollback)
app.command(rich_help_panel=MODELS)(history.history)
app.add_typer(models.app, name="models", rich_help_panel=MODELS)
app.add_typer(image.app, name="image", rich_help_panel=MODELS)
app.add_typer(batch.app, name="batch", rich_help_panel=MODELS)
app.add_typer(backup.app, name="backup", rich_help_panel=SAFETY)
app.command(rich_help_panel=SAFETY)(restore.restore)
app.command(rich_help_panel=SAFETY)(gc.gc)
app.command(rich_help_panel=MORE)(doctor.doctor)
app.add_typer(images.app, name="images", rich_help_panel=MORE)
app.add_typer(store.app, name="store", rich_help_panel=MORE)
