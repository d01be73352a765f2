"""``stackctl init``."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stackctl.cli.output import Terminal, print_json, terminal

if TYPE_CHECKING:
    from stackctl.scaffold import Created


class TerminalPrompts:
    """Asks the person at this terminal; questions go to standard error."""

    def confirm(self, question: str) -> bool:
        """Ask a yes-or-no question; the default is no."""
        return typer.confirm(question, default=False, err=True)

    def hidden(self, question: str, *, optional: bool = False) -> str:
        """Ask for a secret without showing it; an ``optional`` one may be empty."""
        default = "" if optional else None
        return str(typer.prompt(question, default=default, show_default=False, hide_input=True, err=True))


def init(
    context: typer.Context,
    folder: Annotated[
        Path | None,
        typer.Argument(
            metavar="[DIR]", help="The new stack's folder (default: one of the stack's name, here).", show_default=False
        ),
    ] = None,
    data: Annotated[
        list[str] | None,
        typer.Option(
            "--data", "-d", metavar="KEY=VALUE", help="Answer one of the template's questions.", show_default=False
        ),
    ] = None,
    data_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Answer questions from a YAML file.", show_default=False)
    ] = None,
    defaults: Annotated[
        bool, typer.Option("--defaults", help="Ask nothing: take the default of every other question.")
    ] = False,
    engine: Annotated[
        str | None, typer.Option(metavar="docker|local", help="The same as --data engine=….", show_default=False)
    ] = None,
    s3_credentials_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Credentials of an S3 endpoint in AWS's format (or STACKCTL_S3_ACCESS_KEY, STACKCTL_S3_SECRET_KEY).",
            show_default=False,
        ),
    ] = None,
    mlflow_token_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Token of an external MLflow server (or MLFLOW_TRACKING_TOKEN).", show_default=False
        ),
    ] = None,
) -> None:
    """Make a new stack folder.

    Asks for what it needs to know; without a terminal, or with --defaults, --yes or --json, it takes the defaults.
    Secrets are generated, or taken from files, the environment or a hidden prompt: they are no answers, and only the
    folder's secrets/ holds them.
    """
    from stackctl.scaffold import init as make
    from stackctl.scaffold import read_data_file, read_pairs

    out = terminal(context)
    answers: dict[str, Any] = {**(read_data_file(data_file) if data_file else {}), **read_pairs(data or [])}
    if engine is not None:
        answers["engine"] = engine
    nobody = defaults or out.json or out.yes or not (sys.stdin.isatty() and sys.stdout.isatty())
    created = make(
        folder,
        data=answers,
        defaults=nobody,
        prompts=None if nobody else TerminalPrompts(),
        s3_credentials_file=s3_credentials_file,
        mlflow_token_file=mlflow_token_file,
    )
    _tell(out, created)


def _tell(out: Terminal, created: Created) -> None:
    home, settings = created.stack.home, created.stack.settings
    steps = ["stackctl up", "stackctl models import starter", f"stackctl promote {settings.model} 1"]
    if home != Path.cwd():
        shown = home.relative_to(Path.cwd()) if home.is_relative_to(Path.cwd()) else home
        steps.insert(0, f"cd {shlex.quote(str(shown))}")
    for note in created.notes:
        out.warn(note)
    if out.json:
        print_json(
            {
                "name": settings.name,
                "folder": str(home),
                "engine": settings.engine,
                "ports": settings.ports.model_dump(),
                "notes": list(created.notes),
                "next": steps,
            }
        )
        return
    out.note(f"Made the stack {settings.name} in {home} (engine {settings.engine}). Its settings are in stack.yaml.")
    out.note("Next:\n" + "\n".join(f"  {step}" for step in steps))
