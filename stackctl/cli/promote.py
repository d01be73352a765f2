"""``promote`` and ``rollback``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from stackctl.cli.completion import complete_models, complete_targets, complete_versions
from stackctl.cli.output import terminal

if TYPE_CHECKING:
    from rich.console import RenderableType

    from stackctl.models.gates import MetricGate
    from stackctl.models.promotion import Promotion

Model = Annotated[str, typer.Argument(help="The registered model.", autocompletion=complete_models)]
Version = Annotated[
    str,
    typer.Argument(
        help="The version: its number, latest, @alias or a run's id.",
        autocompletion=complete_versions,
    ),
]
Wait = Annotated[bool, typer.Option(help="Return only once the model servers serve it.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Check it and have the servers prepare it, then undo.")]


def promote(
    context: typer.Context,
    model: Model,
    version: Version,
    to: Annotated[
        str,
        typer.Option("--to", metavar="TARGET", help="production or staging.", autocompletion=complete_targets),
    ] = "production",
    if_better: Annotated[
        str | None,
        typer.Option(metavar="METRIC", help="Only if this metric is better than that of the version in Production."),
    ] = None,
    min_delta: Annotated[float | None, typer.Option(min=0.0, help="Better by at least this much.")] = None,
    higher: Annotated[
        bool | None, typer.Option("--higher/--lower", help="Which figures are better.", show_default="higher")
    ] = None,
    wait: Wait = True,
    dry_run: DryRun = False,
) -> None:
    """Bring a version into Production: check it on the model server first, then switch without a failed request."""
    from stackctl.lifecycle.promote import promote as bring
    from stackctl.models.targets import target_of

    screen = terminal(context)
    target = target_of(to)
    gate = _metric_gate(if_better, min_delta, higher=higher)
    stack = screen.stack()
    with screen.progress() as progress:
        done = bring(stack, model, version, target=target, metric=gate, wait=wait, dry_run=dry_run, progress=progress)
    screen.data(done.to_dict(), lambda: _sentence(done))


def rollback(
    context: typer.Context,
    model: Model,
    to_version: Annotated[
        str | None,
        typer.Option(
            metavar="VERSION",
            help="Which version instead: its number, @alias or a run's id.",
            autocompletion=complete_versions,
        ),
    ] = None,
    wait: Wait = True,
    dry_run: DryRun = False,
) -> None:
    """Bring back the version that was in Production before; again leads one further back."""
    from stackctl.lifecycle.promote import rollback as bring_back

    screen = terminal(context)
    stack = screen.stack()
    with screen.progress() as progress:
        done = bring_back(stack, model, to_version, wait=wait, dry_run=dry_run, progress=progress)
    screen.data(done.to_dict(), lambda: _sentence(done))


def _metric_gate(metric: str | None, min_delta: float | None, *, higher: bool | None) -> MetricGate | None:
    from stackctl.errors import UsageError
    from stackctl.models.gates import MetricGate

    if metric is None:
        if min_delta is not None or higher is not None:
            raise UsageError(
                "--min-delta, --higher and --lower say how --if-better compares.", "Add --if-better METRIC."
            )
        return None
    return MetricGate(metric, min_delta or 0.0, "lower" if higher is False else "higher")


def _sentence(done: Promotion) -> RenderableType:
    from rich.text import Text

    where = "in Production" if done.target == "production" else "in staging"
    stays = done.previous == done.version
    step = f"{done.model}: " + ("" if stays else f"{done.previous or 'nothing'} → ") + done.version
    if done.dry_run:
        return Text(f"{step} would go through ({done.seconds:.1f} s). Nothing was changed.")
    if not done.changed:
        return Text(f"{done.model}: version {done.version} is {where} already.")
    served = "" if done.live_seconds is None else f", served {done.live_seconds:.1f} s after the commit"
    before = "Its stage or its alias was missing" if stays else "Stage and alias had led to different versions"
    healed = f" {before}; both lead to it now." if done.disagreed else ""
    return Text(f"{step}{'' if done.target == 'production' else f' {where}'} ({done.seconds:.1f} s{served}){healed}")
