"""``image upscale``."""

from __future__ import annotations

from pathlib import Path
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
    source: Annotated[Path, typer.Argument(metavar="IN", exists=True, help="An image, or a folder of images.")],
    target: Annotated[Path, typer.Argument(metavar="OUT", file_okay=False, help="Folder for the results.")],
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
            screen.line(str(item.result))
    if screen.json:
        results = [
            {
                "source": str(item.source),
                "result": str(item.result) if item.result else None,
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
