"""``images``: bootstrap, build, list, save, load, push, prune."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stackctl.cli.output import Terminal, bytes_in_words, terminal

if TYPE_CHECKING:
    from rich.console import RenderableType

    from stackctl.images import Listed
    from stackctl.stack import Stack

app = typer.Typer(no_args_is_help=True, help="Build container images on this machine, and move them between machines.")

Names = Annotated[list[str] | None, typer.Argument(metavar="IMAGE", help="Images; none: all that the stack can start.")]


def _stack_if_any(screen: Terminal) -> Stack | None:
    """Return the stack of this invocation; images can be built without one, with default settings."""
    from stackctl.errors import NotAStack

    try:
        return screen.stack()
    except NotAStack:
        if screen.folder is not None:
            raise
        return None


@app.command("bootstrap")
def bootstrap(
    context: typer.Context,
    force: Annotated[bool, typer.Option("--force", help="Make it again from today's packages.")] = False,
    with_go: Annotated[bool, typer.Option("--go", help="Also make the image that MinIO is built in.")] = False,
) -> None:
    """Make the base image from the distribution's own packages: no image registry is needed."""
    from stackctl.images import bootstrap as make

    screen = terminal(context)
    with screen.progress() as progress:
        made = make(_stack_if_any(screen), progress, force=force, go=with_go)
    screen.data({"images": made}, lambda: "\n".join(made))


@app.command("build")
def build(
    context: typer.Context,
    images: Names = None,
    force: Annotated[bool, typer.Option("--force", help="Build also what is there in its present form.")] = False,
) -> None:
    """Build images whose inputs changed; an unchanged one is left alone."""
    from stackctl.images import build as make

    screen = terminal(context)
    with screen.progress() as progress:
        made = make(_stack_if_any(screen), images or (), progress, force=force)
    screen.data({"images": made}, lambda: "\n".join(made.values()))


@app.command("list")
def list_(context: typer.Context) -> None:
    """List the images: which are here in their present form, their sizes, and what is left of earlier ones."""
    from stackctl.images import listing

    screen = terminal(context)
    rows = listing(_stack_if_any(screen))
    documents = [
        {
            "name": row.name,
            "reference": row.reference,
            "bytes": row.size,
            "created": row.created,
            "outdated": list(row.outdated),
        }
        for row in rows
    ]
    screen.data({"images": documents}, lambda: _table(rows))


@app.command("save")
def save(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(dir_okay=False, help="The tar file to write.")],
    images: Names = None,
) -> None:
    """Write the base and all that the stack can start into one tar file, for a machine without a network.

    That is what `up` and `batch` need there; the image for training comes along where it is here.
    """
    from stackctl.images import save as write

    screen = terminal(context)
    with screen.progress() as progress:
        saved = write(_stack_if_any(screen), file, images or (), progress)
    screen.data({"file": str(file), "bytes": file.stat().st_size, "images": saved}, lambda: "\n".join(saved))


@app.command("load")
def load(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(dir_okay=False, help="A file that `images save` wrote.")],
) -> None:
    """Read images from a tar file."""
    from stackctl.images import load as read

    screen = terminal(context)
    with screen.progress() as progress:
        loaded = read(file, progress)
    screen.data({"images": loaded}, lambda: "\n".join(loaded))


@app.command("push")
def push(
    context: typer.Context,
    registry: Annotated[str, typer.Argument(help="Address of a registry, for instance registry.example.org/team.")],
    images: Names = None,
) -> None:
    """Push the base and all that the stack can start to a registry: `images.registry` pulls them from there."""
    from stackctl.images import push as upload

    screen = terminal(context)
    with screen.progress() as progress:
        pushed = upload(_stack_if_any(screen), registry, images or (), progress)
    screen.data({"images": pushed}, lambda: "\n".join(pushed))


@app.command("prune")
def prune(
    context: typer.Context,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be deleted.")] = False,
) -> None:
    """Delete images that were made from earlier inputs, unless a container uses them."""
    from stackctl.images import prune as delete

    screen = terminal(context)
    with screen.progress() as progress:
        pruned = delete(_stack_if_any(screen), progress, dry_run=dry_run)
    document = {"dry_run": dry_run, "deleted": list(pruned.deleted), "in_use": list(pruned.in_use)}
    screen.data(document, lambda: "\n".join(pruned.deleted))
    if not screen.json:
        screen.note(f"{'Would delete' if dry_run else 'Deleted'} {len(pruned.deleted)} images.")
        for reference in pruned.in_use:
            screen.note(f"Kept {reference}: a container uses it.")


def _table(rows: list[Listed]) -> RenderableType:
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for heading in ("Image", "What it holds", "Reference", "Size", "Outdated"):
        table.add_column(heading, justify="right" if heading in {"Size", "Outdated"} else "left")
    for row in rows:
        table.add_row(
            row.name,
            row.title,
            row.reference or "[dim]not here[/]",
            bytes_in_words(row.size),
            str(len(row.outdated) or "–"),
        )
    return table
