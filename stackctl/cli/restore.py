"""``restore``."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stackctl.cli.output import Terminal, bytes_in_words, print_json, terminal

if TYPE_CHECKING:
    from rich.console import RenderableType

    from stackctl.lifecycle.restore import Restored


class Part(StrEnum):
    """Parts of a snapshot that can be restored alone."""

    DB = "db"
    OBJECTS = "objects"
    OUTBOUND = "outbound"


def restore(
    context: typer.Context,
    snapshot: Annotated[
        str | None, typer.Argument(help="Its id, the beginning of it, or its folder; none: the newest verified.")
    ] = None,
    only: Annotated[Part | None, typer.Option(help="Only the databases, the buckets, or the results.")] = None,
    into: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Another stack's folder, or a new folder that gets plain files."),
    ] = None,
    new_stack: Annotated[bool, typer.Option("--new-stack", help="Make a new stack in --into DIR.")] = False,
    engine: Annotated[str | None, typer.Option(metavar="ENGINE", help="Of the new stack: local or docker.")] = None,
    identity: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Also the snapshot's secrets, which this age identity opens."),
    ] = None,
    undo: Annotated[
        bool, typer.Option("--undo", help="Go back from a restore that failed or was interrupted.")
    ] = False,
) -> None:
    """Bring a stack back to the state of a snapshot, and prove it by its Production model's golden images.

    Services are stopped meanwhile. What is replaced is kept until everything was found right; interrupted, the same
    command ends it.
    """
    from stackctl.errors import UsageError
    from stackctl.lifecycle.restore_secrets import read_identity

    screen = terminal(context)
    if new_stack and into is None:
        raise UsageError("A new stack needs a folder.", "Add --into DIR.")
    if engine is not None and not new_stack:
        raise UsageError("--engine is of a new stack.", "Add --new-stack.")
    if identity is not None and (only is not None or undo):
        raise UsageError("Secrets come with everything, not with a part of it.", "Leave out --identity or the other.")
    part = only.value if only else None
    key = read_identity(identity) if identity else None
    if undo:
        _undo(screen)
    elif into is None:
        _same(screen, snapshot, part, key)
    else:
        _elsewhere(screen, snapshot, part, into, engine, key, new=new_stack)


def _undo(screen: Terminal) -> None:
    from stackctl.lifecycle.restore import undo

    stack, engine = screen.engine()
    with screen.progress() as progress:
        done = undo(stack, engine, progress)
    if screen.json:
        print_json(done)
    screen.note(f"What was there before the restore is back: {', '.join(done['databases']) or 'no database'}.")


def _same(screen: Terminal, snapshot: str | None, only: str | None, identity: str | None) -> None:
    from stackctl.lifecycle.open_restore import going_on
    from stackctl.lifecycle.restore import meant
    from stackctl.lifecycle.restore import restore as bring_back

    stack, engine = screen.engine()
    snapshot, only = going_on(stack, snapshot, only)
    what = {None: "everything", "db": "the databases", "objects": "all objects", "outbound": "the results"}[only]
    with screen.progress() as progress:
        name = meant(engine, snapshot, progress)
    screen.note(f"This replaces {what} of {stack.name} by what the snapshot {name} has.")
    screen.confirm(f"Type {stack.name} to restore", stack.name)
    with screen.progress() as progress:
        done = bring_back(stack, engine, snapshot or name, progress, only=only, identity=identity)
    _print(screen, done)


def _elsewhere(
    screen: Terminal,
    snapshot: str | None,
    only: str | None,
    into: Path,
    engine_name: str | None,
    identity: str | None,
    *,
    new: bool,
) -> None:
    from stackctl.lifecycle.restore import meant
    from stackctl.lifecycle.restore_elsewhere import into_folder, into_stack, new_stack_from
    from stackctl.stack.stack import SETTINGS_FILE

    _, engine = screen.engine()
    if not new and not (into / SETTINGS_FILE).is_file():
        with screen.progress() as progress:
            written = into_folder(engine, snapshot, into, progress, only=only, identity=identity)
        _print_files(screen, written)
        return
    if not new:
        with screen.progress() as progress:
            found = meant(engine, snapshot, progress)
        snapshot, name = snapshot or found, into.resolve().name
        screen.note(f"This replaces what is in {into} by what the snapshot {found} has.")
        screen.confirm(f"Type {name} to replace what is in that stack", name)
    with screen.progress() as progress:
        if new:
            done = new_stack_from(engine, snapshot, into, progress, engine_name=engine_name, identity=identity)
        else:
            done = into_stack(engine, snapshot, into, progress, only=only, identity=identity)
    _print(screen, done)


def _print_files(screen: Terminal, written: dict[str, Any]) -> None:
    if screen.json:
        print_json(written)
    screen.note(f"{written['snapshot']} is in {written['folder']} ({written['files']} of its files).")
    if written["secrets"]:
        screen.note(f"Its {len(written['secrets'])} secrets are in {written['folder']}/secrets, for you alone.")
    elif written["sealed"]:
        screen.note("Its secrets are in secrets.age, closed: `age -d -i FILE secrets.age | tar x` opens them.")


def _print(screen: Terminal, done: Restored) -> None:
    screen.data(done.to_dict(), lambda: _sentences(done))
    for note in done.notes:
        screen.warn(note)


def _sentences(done: Restored) -> RenderableType:
    from rich.text import Text

    lines = [f"Restored {done.snapshot}, the state of {done.at[:19].replace('T', ' ')} UTC."]
    for name, put in done.put.items():
        lines.append(
            f"  {name}: {put['added']} added, {put['replaced']} replaced, {put['same']} there already"
            f" ({bytes_in_words(put['bytes'])} written)"
        )
    if done.removed:
        lines.append(f"  {done.removed} artifacts of later runs removed")
    if done.golden is None:
        lines.append("Nothing was in Production then: there was no prediction to compare.")
    elif done.golden["passed"] is None:
        lines.append(f"Version {done.production} is served; {done.golden['reason']}.")
    else:
        lines.append(
            f"Version {done.production} is served, and answers its golden images: "
            f"{_levels(done.golden['worst_levels'])} off at most."
        )
    lines.append(f"It took {sum(done.seconds.values()):.1f} s.")
    return Text("\n".join(lines))


def _levels(count: int) -> str:
    return "1 level" if count == 1 else f"{count} levels"
