"""``gc``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from stackctl.cli.output import terminal

if TYPE_CHECKING:
    from rich.console import RenderableType

    from stackctl.lifecycle.gc import Collected

SHOWN = 20


def gc(
    context: typer.Context,
    older_than: Annotated[
        float, typer.Option(metavar="DAYS", min=0, help="Only what was deleted at least so many days ago.")
    ] = 30.0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be deleted.")] = False,
    no_backup: Annotated[bool, typer.Option("--no-backup", help="Without a fresh snapshot: no way back.")] = False,
) -> None:
    """Delete for good what MLflow's trash holds, except what a registered version or a kept snapshot refers to.

    It needs a verified snapshot of the last 24 hours, and takes one where there is none.
    """
    from stackctl.lifecycle.gc import collect

    screen = terminal(context)
    stack, engine = screen.engine()
    if no_backup and not dry_run:
        screen.warn("Without a snapshot: what is deleted now is gone for good.")
    if not dry_run:
        screen.note(f"This empties the trash of {stack.name}'s MLflow for good.")
        screen.confirm(f"Type {stack.name} to go on", stack.name)
    with screen.progress() as progress:
        done = collect(stack, engine, progress, older_than_days=older_than, backup=not no_backup, dry_run=dry_run)
    screen.data(done.to_dict(), lambda: _sentences(done))


def _sentences(done: Collected) -> RenderableType:
    from rich.text import Text

    verb = "would be deleted" if done.dry_run else "deleted"
    counts = f"{len(done.runs)} runs, {len(done.models)} logged models and {len(done.experiments)} experiments"
    lines = [f"{counts} {verb} for good."]
    lines += [f"  kept: {each['kind']} {each['id']}: {each['reason']}" for each in done.kept[:SHOWN]]
    if len(done.kept) > SHOWN:
        lines.append(f"  and {len(done.kept) - SHOWN} more are kept (--json lists them)")
    return Text("\n".join(lines))
