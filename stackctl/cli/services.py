"""``up``, ``status``, ``logs``, ``restart``, ``down``, ``destroy``."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from stackctl.cli.output import Terminal, bytes_in_words, print_json, terminal

if TYPE_CHECKING:
    from stackctl.lifecycle.backup_status import BackupReport
    from stackctl.lifecycle.status import ModelReport, StackStatus

Services = Annotated[list[str] | None, typer.Argument(help="Services; none: all of them.", show_default=False)]


def up(
    context: typer.Context,
    no_backup: Annotated[
        bool, typer.Option("--no-backup", help="Let MLflow change its database's schema without a snapshot before.")
    ] = False,
) -> None:
    """Start the stack and wait until every service is healthy.

    A newer MLflow changes the schema of its database when it starts; a snapshot is taken first.
    """
    from stackctl.lifecycle.up import up as start

    screen = terminal(context)
    stack, engine = screen.engine()
    if no_backup:
        screen.warn("Without a snapshot: where MLflow changes its database's schema, there is no way back.")
    with screen.progress() as progress:
        report = start(stack, engine, progress, backup=not no_backup)
    _print_status(screen, report)
    if report.model and report.model.production is None and not screen.json:
        screen.note("No version is in Production yet. Try `stackctl models import starter`.")
    _exit_when_degraded(report)


def status(context: typer.Context) -> None:
    """Show every service and whether users get the registry's Production version (exit 3 when degraded)."""
    from stackctl.lifecycle.status import status as ask

    screen = terminal(context)
    stack, engine = screen.engine()
    report = ask(stack, engine)
    _print_status(screen, report)
    _exit_when_degraded(report)


def logs(
    context: typer.Context,
    services: Services = None,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on until interrupted.")] = False,
    tail: Annotated[int | None, typer.Option("-n", "--tail", min=0, help="Lines per service.")] = None,
    since: Annotated[str | None, typer.Option(help="Only newer lines: 10m, 2h, or an ISO time.")] = None,
) -> None:
    """Print the services' logs."""
    from stackctl.errors import UsageError

    screen = terminal(context)
    stack, engine = screen.engine()
    there = [service.name for service in stack.services] + [state.name for state in engine.on_demand()]
    wanted = _known(there, services)
    if screen.json and follow:
        raise UsageError("A followed log has no end, so it cannot be one JSON document.", "Leave out --json or -f.")
    with contextlib.closing(engine.logs(wanted, follow=follow, tail=tail, since=since)) as lines:
        if screen.json:
            parts = [line.partition(" | ") for line in lines]
            print_json({"lines": [{"service": service.strip(), "line": text} for service, _, text in parts]})
            return
        for line in lines:
            screen.line(line)


def restart(context: typer.Context, services: Services = None) -> None:
    """Restart services and wait until they are healthy."""
    from stackctl.lifecycle.up import restart as start_again

    screen = terminal(context)
    stack, engine = screen.engine()
    wanted = _known([service.name for service in stack.services], services)
    with screen.progress() as progress:
        report = start_again(stack, engine, wanted, progress)
    _print_status(screen, report)
    _exit_when_degraded(report)


def scale(
    context: typer.Context,
    services: Annotated[list[str], typer.Argument(help="SERVICE=NUMBER, for instance worker=4; worker=0 stops them.")],
) -> None:
    """Change how many batch workers stand ready under Docker."""
    from stackctl.lifecycle.scale import scale as change

    screen = terminal(context)
    stack, engine = screen.engine()
    with screen.progress() as progress:
        states = change(stack, engine, services, progress)
    if screen.json:
        print_json({"services": [asdict(state) for state in states]})
        return
    for state in states:
        screen.line(f"{state.name}: {state.state}" + (f", {state.detail}" if state.detail else ""))
    if not states:
        screen.note("No batch worker stands ready; `stackctl batch run` starts them.")


def down(context: typer.Context) -> None:
    """Stop the stack; all data stays."""
    from stackctl.lifecycle.down import down as stop

    screen = terminal(context)
    stack, engine = screen.engine()
    stop(stack, engine)
    if screen.json:
        _print_status(screen, _now(screen))
    screen.note(f"{stack.name} is stopped. Its data stays; `stackctl up` starts it again.")


def destroy(
    context: typer.Context,
    *,
    with_backups: Annotated[
        bool, typer.Option("--with-backups", help="Also the snapshots that are kept beside the data.")
    ] = False,
) -> None:
    """Stop the stack and delete its data, but not its snapshots (asks for the stack's name)."""
    from stackctl.lifecycle.down import destroy as delete
    from stackctl.lifecycle.down import holdings as held

    screen = terminal(context)
    stack, engine = screen.engine()
    holdings = held(stack, engine, backups=with_backups)
    screen.note(
        f"This deletes for good, of {stack.name}:" + "".join(f"\n  {item}" for item in holdings or ["nothing: no data"])
    )
    screen.confirm(f"Type {stack.name} to delete", stack.name)
    delete(stack, engine, backups=with_backups)
    if screen.json:
        print_json({"name": stack.name, "deleted": holdings})
    kept = "" if with_backups else " Snapshots are kept (--with-backups deletes them)."
    screen.note(f"Deleted. The folder {stack.home} with stack.yaml and secrets/ is still there.{kept}")


def _known(known: list[str], asked: list[str] | None) -> list[str]:
    from stackctl.errors import UsageError

    unknown = [name for name in asked or [] if name not in known]
    if unknown:
        raise UsageError(f"This stack has no service {', '.join(unknown)}.", f"Its services: {', '.join(known)}.")
    return asked or known


def _now(screen: Terminal) -> StackStatus:
    from stackctl.lifecycle.status import status as ask

    return ask(*screen.engine())


def _exit_when_degraded(report: StackStatus) -> None:
    if report.problems:
        raise typer.Exit(3)


def _print_status(screen: Terminal, report: StackStatus) -> None:
    if screen.json:
        print_json(report.to_dict())
        return
    for line in _lines(screen, report):
        screen.line(line)


def _lines(screen: Terminal, report: StackStatus) -> Iterator[str]:
    """Yield the status as text. Drawn by hand: importing rich would be a seventh of this command's time."""
    rows = [("Service", "State", "Health", "URL", "Memory", "Restarts")]
    rows += [
        (
            each.title,
            each.state,
            each.health,
            each.url or each.detail or "-",
            bytes_in_words(each.memory),
            str(each.restarts),
        )
        for each in report.services
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for number, row in enumerate(rows):
        cells = [
            cell.rjust(width) if column > 3 else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        color = {"healthy": "green", "unhealthy": "red"}.get(row[2], "bright_black")
        cells[2] = screen.paint(cells[2], color)
        line = "  ".join(cells).rstrip()
        yield screen.paint(line, "bright_black") if number == 0 else line
    versions = ", ".join(f"{service.name} {service.version}" for service in report.services if service.version)
    if versions:
        yield screen.paint(f"Versions: {versions}", "bright_black")
    for model in (report.model, report.staging):
        if model:
            yield from _model_lines(screen, model)
    if report.running and report.backup and report.backup.document:
        yield _backup_line(screen, report.backup)
    for problem in report.problems:
        yield screen.paint(f"⚠ {problem}", "yellow")
    if report.problems:
        yield "→ stackctl logs SERVICE, stackctl doctor"
    if not report.running:
        yield "→ stackctl up"


def _backup_line(screen: Terminal, backup: BackupReport) -> str:
    from datetime import timedelta

    from stackctl.backup.freshness import in_days

    document = backup.document or {}
    mark = screen.paint("✗", "red") if document["problem"] else screen.paint("✓", "green")
    newest = f"{document['snapshot']}, {in_days(timedelta(seconds=backup.age))} old" if backup.age is not None else ""
    last = f"; last run {document['last_run']}, {document['last_outcome']}" if document["last_run"] else ""
    note = f" ({backup.note})" if backup.note else ""
    return f"{mark} backup: {newest or 'none is verified'}{last}{note}"


def _model_lines(screen: Terminal, model: ModelReport) -> Iterator[str]:
    served = f"version {model.served}" if model.served else "no version yet"
    stage = model.target.capitalize()
    nothing = f"{stage} is unknown" if model.error else f"nothing is in {stage}"
    registry = f"{stage} is {model.production}" if model.production else nothing
    mark = screen.paint("✓", "green") if model.agrees else screen.paint("✗", "red")
    yield f"{mark} {model.name}: serves {served}; {registry}"
    if model.recovered:
        yield model.recovered
    if model.last_death:
        death = model.last_death
        yield screen.paint(f"⚠ {death['at']}: the process of version {death['version']} {death['how']}", "yellow")
