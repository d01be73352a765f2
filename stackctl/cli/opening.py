"""``open``: a service's page in the browser."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from stackctl.cli.output import print_json, terminal


class Page(StrEnum):
    """Pages that a person can open."""

    MLFLOW = "mlflow"
    DEMO = "demo"
    STORE = "store"


def open_(
    context: typer.Context,
    page: Annotated[Page, typer.Argument(help="Which page.")],
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Only print the address.")] = False,
) -> None:
    """Open MLflow, the demo or the object store in the browser, and print the address."""
    from stackctl.stack.pages import page_address

    screen = terminal(context)
    address = page_address(screen.stack(), page.value)
    if screen.json:
        print_json({"page": page.value, "url": address})
    else:
        screen.line(address)
    if not no_browser and typer.launch(address) != 0:
        screen.note("No browser could be started here: open the address yourself.")
