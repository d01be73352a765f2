"""``batch``: folders of images, in parallel, in the background of whatever else the stack does."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from stackctl.cli import batch_runs, batch_steps
from stackctl.cli.batch_progress import ProgressStyle, preparing, warner
from stackctl.cli.batch_runs import Style
from stackctl.cli.batch_steps import Model
from stackctl.cli.output import terminal

app = typer.Typer(no_args_is_help=True, help="Upscale folders of images in parallel.")


class ResultFormat(StrEnum):
    """Formats of results."""

    AUTO = "auto"
    PNG = "png"
    JPEG = "jpeg"
    JPG = "jpg"
    WEBP = "webp"
    TIFF = "tiff"
    TIF = "tif"
    BMP = "bmp"


class Precision(StrEnum):
    """Precisions of the computation."""

    AUTO = "auto"
    FP32 = "fp32"
    BF16 = "bf16"


@app.callback()
def _group() -> None:
    """Upscale folders of images in parallel."""


@app.command()
def run(
    context: typer.Context,
    *,
    inbound: Annotated[
        str | None,
        typer.Option(
            "-i",
            "--input",
            metavar="URL",
            help="Folder or s3://BUCKET/PREFIX (default: s3://inbound).",
            envvar="STACKCTL_BATCH_RUN_INPUT",
        ),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option("-o", "--output", metavar="URL", help="Where results go (default: s3://outbound)."),
    ] = None,
    model: Model = None,
    workers: Annotated[
        str, typer.Option(metavar="auto|N", help="Worker processes; ADSP_WORKER_MAX allows no more than it says.")
    ] = "auto",
    batch_size: Annotated[str, typer.Option(metavar="auto|N", help="Most images that a worker gets at once.")] = "auto",
    scheduler: Annotated[
        str | None, typer.Option(metavar="URL", help="A Dask scheduler that exists: tls://HOST:8786.")
    ] = None,
    tls: Annotated[
        tuple[Path, Path, Path] | None,
        typer.Option(
            metavar="CA CERT KEY",
            help="Files that prove who we are to that scheduler (default: the stack's own key).",
            show_default=False,
        ),
    ] = None,
    error_threshold: Annotated[
        str | None, typer.Option(metavar="N|P%", help="End early when more images than that are quarantined (exit 1).")
    ] = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Try images again that were quarantined before.")
    ] = False,
    suffix: Annotated[str, typer.Option(metavar="TEXT", help="Results are called NAME_SUFFIX.")] = "_out",
    image_format: Annotated[
        ResultFormat,
        typer.Option(
            "--format",
            metavar="FORMAT",
            help="png, jpeg, webp, tiff or bmp; auto: that of the input.",
            envvar="STACKCTL_BATCH_RUN_FORMAT",
        ),
    ] = ResultFormat.AUTO,
    outscale: Annotated[
        float, typer.Option("-s", "--outscale", metavar="N", min=0, help="Final scale; 0: the network's own.")
    ] = 0.0,
    tile: Annotated[
        int, typer.Option("-t", "--tile", metavar="N", min=0, help="Side of a tile in pixels; 0: chosen.")
    ] = 0,
    precision: Annotated[
        Precision, typer.Option(metavar="auto|fp32|bf16", help="auto: bf16 where it was found good enough.")
    ] = Precision.AUTO,
    watch: Annotated[bool, typer.Option("--watch", help="Go on with what arrives, until stopped.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done; do nothing.")] = False,
    detach: Annotated[
        bool, typer.Option("-d", "--detach", "--background", help="Return at once; `batch status` follows it.")
    ] = False,
    local: Annotated[
        bool, typer.Option("--local", help="Worker processes of this run's own, no scheduler and no worker service.")
    ] = False,
    image_timeout: Annotated[
        float | None, typer.Option(metavar="SECONDS", min=1, help="Longest time for one image.", show_default=False)
    ] = None,
    wait: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS",
            min=0,
            help="How long a full disk or a store that is gone is waited for.",
            show_default=False,
        ),
    ] = None,
    experiment: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="MLflow's experiment.",
            envvar=["STACKCTL_BATCH_RUN_EXPERIMENT", "AE_MLFLOW_EXPERIMENT_NAME"],
        ),
    ] = "batch",
    dashboard: Annotated[bool, typer.Option("--dashboard", help="Show Dask's dashboard, on loopback.")] = False,
    progress: Style = ProgressStyle.AUTO,
) -> None:
    """Upscale all images of a folder or bucket that are new or changed; the rest was done before.

    What is bad is quarantined with the reason and stops nothing.
    Ctrl-C finishes the images in flight and ends; a second one ends at once.
    Whatever ends a run, the same command goes on where it stopped.
    """
    from stackctl.errors import UsageError
    from stackctl.lifecycle.batch import Wanted, launch

    screen = terminal(context)
    if detach and dry_run:
        raise UsageError("--detach and --dry-run exclude each other.", "Leave one of them out.")
    if watch and dry_run:
        raise UsageError("--watch and --dry-run exclude each other.", "Leave one of them out.")
    wanted = Wanted(
        input=inbound,
        output=output,
        model=model,
        workers=_number("--workers", workers),
        batch_size=_number("--batch-size", batch_size),
        scheduler=scheduler,
        tls=tls,
        local=local,
        error_threshold=error_threshold,
        retry_failed=retry_failed,
        watch=watch,
        dry_run=dry_run,
        suffix=suffix,
        format={"jpg": "jpeg", "tif": "tiff"}.get(image_format.value, image_format.value),
        outscale=outscale,
        tile=tile,
        precision=precision.value,
        image_timeout=image_timeout,
        wait_limit=wait,
        experiment=experiment,
        dashboard=dashboard,
    )
    stack, engine = screen.engine()
    with preparing(screen, progress) as told:
        launched = launch(stack, engine, wanted, told, warner(screen, progress))
    if detach:
        batch_runs.leave(screen, stack, launched)
    else:
        batch_runs.finish(screen, stack, engine, launched.run, progress, keep=not dry_run)


app.command()(batch_runs.status)
app.command("list")(batch_runs.list_)
app.command()(batch_runs.report)
app.command()(batch_runs.cancel)
app.add_typer(batch_steps.app, name="step")


def _number(option: str, text: str) -> int | None:
    from stackctl.errors import UsageError

    if text == "auto":
        return None
    if not text.isdecimal() or not 0 < int(text) < 100_000:
        raise UsageError(
            f"{option} is {text!r}: neither auto nor a number from 1 on.", f"Write {option} auto or {option} 4."
        )
    return int(text)
