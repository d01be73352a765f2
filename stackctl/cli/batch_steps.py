"""``batch step``: the four steps of a batch, each by itself."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stackctl.cli.batch_tables import Sheet
from stackctl.cli.completion import complete_batch_models
from stackctl.cli.output import Terminal, terminal

if TYPE_CHECKING:
    from collections.abc import Callable

    from stackctl.lifecycle.batch_steps import Steps

app = typer.Typer(no_args_is_help=True, help="Do one step of a batch by itself; each is a run of its own in MLflow.")

Model = Annotated[
    str | None,
    typer.Option(
        "-m",
        "--model",
        metavar="MODEL",
        help="NAME, NAME@ALIAS or NAME/VERSION (default: the stack's model in Production).",
        autocompletion=complete_batch_models,
    ),
]
Experiment = Annotated[
    str,
    typer.Option(help="MLflow's experiment.", envvar=["STACKCTL_BATCH_STEP_EXPERIMENT", "AE_MLFLOW_EXPERIMENT_NAME"]),
]


@app.callback()
def _group() -> None:
    """Do one step of a batch by itself; each is a run of its own in MLflow."""


@app.command("prepare-model")
def prepare_model(context: typer.Context, *, model: Model = None, experiment: Experiment = "batch") -> None:
    """Resolve the model's version and lay its verified files where all workers find them."""
    _do(context, experiment, lambda steps: steps.prepare_model(model))


@app.command("prepare-environment")
def prepare_environment(context: typer.Context, *, experiment: Experiment = "batch") -> None:
    """Make the workers' environment, once per content; it is said when it is there already."""
    _do(context, experiment, lambda steps: steps.prepare_environment())


@app.command("manage-workers")
def manage_workers(
    context: typer.Context,
    *,
    inbound: Annotated[str | None, typer.Option("-i", "--input", metavar="URL", help="As for `batch run`.")] = None,
    output: Annotated[str | None, typer.Option("-o", "--output", metavar="URL", help="As for `batch run`.")] = None,
    model: Model = None,
    workers: Annotated[int | None, typer.Option(min=1, help="For how many workers; default: as many as fit.")] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Most images of a batch.")] = None,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="As for `batch run`.")] = False,
    error_threshold: Annotated[
        str | None, typer.Option(metavar="N|P%", help="Exit 1 where more images of a batch than that are quarantined.")
    ] = None,
    suffix: Annotated[str, typer.Option(help="As for `batch run`.")] = "_out",
    experiment: Experiment = "batch",
) -> None:
    """Split what is to be done into batches of about equal cost, one file each, for `batch step process-batch`."""
    from stackctl.lifecycle.batch import Wanted

    wanted = Wanted(
        input=inbound,
        output=output,
        model=model,
        workers=workers,
        batch_size=batch_size,
        error_threshold=error_threshold,
        retry_failed=retry_failed,
        suffix=suffix,
        experiment=experiment,
        local=True,
    )
    _do(context, experiment, lambda steps: steps.manage_workers(wanted))


@app.command("process-batch")
def process_batch(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="A batch that `batch step manage-workers` wrote.")],
    *,
    experiment: Experiment = "batch",
) -> None:
    """Work on one batch here, without a cluster; several may be worked on at once, and again after a crash.

    It ends as `batch run` does: bad images are quarantined; exit 1 where images are left, or more are quarantined than
    the --error-threshold of `manage-workers` allows.
    """
    _do(context, experiment, lambda steps: steps.process_batch(file))


def _do(context: typer.Context, experiment: str, step: Callable[[Steps], dict[str, Any]]) -> None:
    from stackctl.lifecycle.batch_steps import Steps

    screen = terminal(context)
    stack, engine = screen.engine()
    with screen.progress() as progress:
        answer = step(Steps(stack, engine, progress, screen.warn, experiment))
    _show(screen, answer)


def _show(screen: Terminal, answer: dict[str, Any]) -> None:
    def table() -> Any:
        sheet = Sheet()
        for name, value in answer.items():
            sheet.row(name.replace("_", " "), "\n".join(map(str, value)) if isinstance(value, list) else str(value))
        return sheet.text()

    screen.data({"schema_version": 1, **answer}, table)
