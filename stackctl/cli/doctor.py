"""``doctor``."""

from __future__ import annotations

from dataclasses import asdict

import typer

from stackctl.cli.output import terminal

MARKS = {"ok": "[green]✓[/]", "warning": "[yellow]⚠[/]", "failed": "[red]✗[/]"}


def doctor(context: typer.Context) -> None:
    """Check the stack and this machine; under each failure stands the command that mends it."""
    from rich.markup import escape

    from stackctl.lifecycle.doctor import doctor as examine

    screen = terminal(context)
    stack, engine = screen.engine()
    checks = examine(stack, engine)

    def table() -> str:
        lines = []
        for check in checks:
            lines.append(f"{MARKS[check.outcome]} {check.name}: {escape(check.detail)}")
            if check.fix and check.outcome != "ok":
                lines.append(f"    → {escape(check.fix)}")
        return "\n".join(lines)

    screen.data({"checks": [asdict(check) for check in checks]}, table)
    if any(check.outcome == "failed" for check in checks):
        raise typer.Exit(3)
