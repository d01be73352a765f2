"""``promote``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from stackctl.cli.output import terminal

if TYPE_CHECKING:
    from rich.console import RenderableType

    from stackctl.models.promotion import Promotion


def promote(
    context: typer.Context,
    model: Annotated[str, typer.Argument(help="The registered model.")],
    version: Annotated[str, typer.Argument(help="The version's number.")],
    wait: Annotated[bool, typer.Option(help="Return only once the model server serves it.")] = True,
) -> None:
    """Bring a version into Production: check it on the model server first, then switch without a failed request."""
    from stackctl.lifecycle.promote import promote as bring

    screen = terminal(context)
    stack = screen.stack()
    with screen.progress() as progress:
        done = bring(stack, model, version, wait=wait, progress=progress)
    screen.data(done.to_dict(), lambda: _sentence(done))


def _sentence(done: Promotion) -> RenderableType:
    from rich.text import Text

    if not done.changed:
        return Text(f"{done.model}: version {done.version} is in Production already.")
    served = "" if done.live_seconds is None else f", served {done.live_seconds:.1f} s after the commit"
    return Text(f"{done.model}: {done.previous or 'nothing'} → {done.version} ({done.seconds:.1f} s{served})")
