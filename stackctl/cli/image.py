"""``image upscale``."""

from __future__ import annotations

from typing import Annotated

import typer

from stackctl.cli.output import terminal

app = typer.Typer(no_args_is_help=True, help="Upscale images.")


@app.callback()
def _group() -> None:
    """Upscale images."""


@app.command("upscale")
def upscale(
    context: typer.Context,
    source: Annotated[str, typer.Argument(metavar="IN", help="An image, a folder, or s3://BUCKET/PREFIX.")],
    target: Annotated[str, typer.Argument(metavar="OUT", help="A folder or s3://BUCKET/PREFIX for the results.")],
    outscale: Annotated[
        float, typer.Option("-s", "--outscale", min=0, help="Final scale; 0: the network's own.")
    ] = 0.0,
    suffix: Annotated[str, typer.Option(help="Results are named NAME_SUFFIX.")] = "out",
    image_format: Annotated[str, typer.Option("--ext", help="auto, png, jpeg, webp or tiff.")] = "auto",
) -> None:
    """Upscale an image or a folder of images with the version that is in Production, through the model server."""
    from stackctl.lifecycle.upscale import upscale as run

    screen = terminal(context)
    done = []
    for item in run(screen.stack(), source, target, outscale=outscale, suffix=suffix, image_format=image_format):
        done.append(item)
        if item.error:
            screen.warn(f"{item.source}: {item.error}")
        elif not screen.json:
            screen.line(item.result or "")
    if screen.json:
        results = [
            {
                "source": item.source,
                "result": item.result,
                "version": item.version,
                "error": item.error,
            }
            for item in done
        ]
        screen.data({"results": results}, str)
    failed = sum(item.error is not None for item in done)
    screen.note(f"{len(done) - failed} upscaled" + (f", {failed} failed" if failed else ""))
    if failed:
        raise typer.Exit(1)
