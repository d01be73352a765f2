"""``up``, ``status``, ``logs``, ``restart``, ``down``, ``destroy``."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Annotated

import typer

from stackctl.cli.output import Terminal, bytes_in_words, terminal

if TYPE_CHECKING:
    from rich.console import RenderableType

    from stackctl.lifecycle.status import StackStatus

Services = Annotated[list[str] | None, typer.Argument(help="Services; none: all of them.", show_default=False)]


def up(context: typer.Context) -> None:
    """Start the stack and wait until every service is healthy."""
    from stackctl.lifecycle.up import up as start

    screen = terminal(context)
    stack, engine = screen.engine()
    with screen.progress() as progress:
        report = start(stack, engine, progress)
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
    screen = terminal(context)
    stack, engine = screen.engine()
    wanted = _known([service.name for service in stack.services], services)
    with contextlib.closing(engine.logs(wanted, follow=follow, tail=tail, since=since)) as lines:
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


def down(context: typer.Context) -> None:
    """Stop the stack; all data stays."""
    screen = terminal(context)
    stack, engine = screen.engine()
    engine.down()
    if screen.json:
        _print_status(screen, _now(screen))
    screen.note(f"{stack.name} is stopped. Its data stays; `stackctl up` starts it again.")


def destroy(context: typer.Context) -> None:
    """Stop the stack and delete its data (asks for the stack's name)."""
    screen = terminal(context)
    stack, engine = screen.engine()
    holdings = engine.holdings()
    screen.note(
        f"This deletes for good, of {stack.name}:" + "".join(f"\n  {item}" for item in holdings or ["nothing: no data"])
    )
    screen.confirm(f"Type {stack.name} to delete", stack.name)
    engine.destroy()
    if screen.json:
        from stackctl.cli.output import print_json

        print_json({"name": stack.name, "deleted": holdings})
    screen.note(f"Deleted. The folder {stack.home} with stack.yaml and secrets/ is still there.")


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
    screen.data(report.to_dict(), lambda: _table(report))


def _table(report: StackStatus) -> RenderableType:
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for heading in ("Service", "State", "Health", "URL", "Memory", "Restarts"):
        table.add_column(heading, justify="right" if heading in {"Memory", "Restarts"} else "left", no_wrap=True)
    for service in report.services:
        color = {"healthy": "green", "unhealthy": "red"}.get(service.health, "dim")
        table.add_row(
            service.title,
            service.state,
            Text(service.health, style=color),
            service.url,
            bytes_in_words(service.memory),
            str(service.restarts),
        )
    versions = ", ".join(f"{service.name} {service.version}" for service in report.services if service.version)
    lines: list[RenderableType] = [table]
    if versions:
        lines.append(Text(f"Versions: {versions}", style="dim"))
    if report.model:
        model = report.model
        served = f"version {model.served}" if model.served else "no version yet"
        registry = f"Production is {model.production}" if model.production else "nothing is in Production"
        mark = Text("✓ ", style="green") if model.agrees else Text("✗ ", style="red")
        lines.append(mark.append_text(Text(f"{model.name}: serves {served}; {registry}", style="default")))
    if report.model and report.model.recovered:
        lines.append(Text(report.model.recovered, style="dim"))
    lines += [Text(f"⚠ {problem}", style="yellow") for problem in report.problems]
    if report.problems:
        lines.append(Text("→ stackctl logs SERVICE, stackctl doctor", style="dim"))
    if not report.running:
        lines.append(Text("→ stackctl up", style="dim"))
    return Group(*lines)
