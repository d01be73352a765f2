"""``stackctl store``: the MinIO server's program for stacks without Docker."""

from __future__ import annotations

import typer

from stackctl.cli.output import terminal

app = typer.Typer(no_args_is_help=True, help="The MinIO server's program, for stacks without Docker.")


@app.command()
def build(context: typer.Context) -> None:
    """Build MinIO from its last source commit with go (minutes, once), and print where it is."""
    from rich.text import Text

    from stackctl.store.minio import build_minio

    screen = terminal(context)
    with screen.progress() as progress:
        program = build_minio(progress)
    screen.data({"path": str(program)}, lambda: Text(str(program), no_wrap=True, overflow="ignore"))


@app.command()
def path(context: typer.Context) -> None:
    """Print the path of the `minio` program that the local engine would run."""
    from rich.text import Text

    from stackctl.errors import MissingPrerequisite
    from stackctl.store.minio import find_minio

    program = find_minio()
    if program is None:
        raise MissingPrerequisite("There is no `minio` program on this machine.", "stackctl store build")
    terminal(context).data({"path": str(program)}, lambda: Text(str(program), no_wrap=True, overflow="ignore"))
