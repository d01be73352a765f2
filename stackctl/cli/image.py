"""``image upscale``."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from stackctl.cli.output import Terminal, terminal

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stackctl.lifecycle.upscale import How, Upscaled, Work

app = typer.Typer(no_args_is_help=True, help="Upscale images.")
NAMED_FAILURES = 20
MIXED, MIXED_BY_DEFAULT = "realesr-general-x4v3", 0.5
"""The network that -dn is for, and upstream's default."""


class Extension(StrEnum):
    """Formats of results."""

    AUTO = "auto"
    JPG = "jpg"
    JPEG = "jpeg"
    PNG = "png"
    WEBP = "webp"
    TIFF = "tiff"
    TIF = "tif"


class AlphaUpsampler(StrEnum):
    """What enlarges an alpha channel."""

    BICUBIC = "bicubic"
    REALESRGAN = "realesrgan"


@app.callback()
def _group() -> None:
    """Upscale images."""


@app.command("upscale")
def upscale(
    context: typer.Context,
    *,
    source: Annotated[
        str | None, typer.Argument(metavar="IN", help="An image, a folder, or s3://BUCKET/PREFIX.")
    ] = None,
    target: Annotated[
        str | None,
        typer.Argument(metavar="OUT", help="A folder, a file (for one image), or s3://BUCKET/PREFIX for the results."),
    ] = None,
    inbound: Annotated[
        str | None, typer.Option("-i", "--input", help="The same as IN.", envvar="STACKCTL_IMAGE_UPSCALE_INPUT")
    ] = None,
    output: Annotated[str | None, typer.Option("-o", "--output", help="The same as OUT.")] = None,
    model_name: Annotated[
        str | None,
        typer.Option(
            "-n",
            "--model_name",
            "--model-name",
            metavar="MODEL",
            help="Upscale here, without a stack: an official name (realesr-animevideov3, RealESRGAN_x4plus, …), "
            "starter, a .onnx, .pth or .safetensors file, or NAME/VERSION of the stack's registry. "
            "Without it: the version in Production, through the model server.",
        ),
    ] = None,
    denoise_strength: Annotated[
        float | None,
        typer.Option(
            "-dn",
            "--denoise_strength",
            "--denoise-strength",
            min=0,
            max=1,
            help="Only for -n realesr-general-x4v3 (default there: 0.5, as upstream).",
        ),
    ] = None,
    outscale: Annotated[
        float, typer.Option("-s", "--outscale", min=0, help="Final scale; 0: the network's own.")
    ] = 0.0,
    suffix: Annotated[str, typer.Option(help="Results are named NAME_SUFFIX.")] = "out",
    ext: Annotated[
        Extension, typer.Option("--ext", help="Format of the results; auto: that of the input.")
    ] = Extension.AUTO,
    tile: Annotated[
        int, typer.Option("-t", "--tile", min=0, help="Side of a tile in pixels; 0: chosen by memory and network.")
    ] = 0,
    fp32: Annotated[bool, typer.Option("--fp32", help="Compute in fp32 also where bf16 is good enough.")] = False,
    alpha_upsampler: Annotated[
        AlphaUpsampler,
        typer.Option("--alpha_upsampler", "--alpha-upsampler", help="What enlarges an alpha channel."),
    ] = AlphaUpsampler.BICUBIC,
    tile_pad: Annotated[
        int | None,
        typer.Option(
            "--tile_pad", "--tile-pad", help="Accepted and not needed: tiles overlap by what the network sees."
        ),
    ] = None,
    pre_pad: Annotated[
        int | None, typer.Option("--pre_pad", "--pre-pad", help="Accepted and not needed: borders are not padded.")
    ] = None,
    gpu_id: Annotated[
        int | None, typer.Option("-g", "--gpu-id", "--gpu_id", help="Accepted and not used: networks run on the CPU.")
    ] = None,
    face_enhance: Annotated[
        bool, typer.Option("--face_enhance", "--face-enhance", help="Refused: faces are upscaled as all else is.")
    ] = False,
) -> None:
    """Upscale an image or a folder of images: through the model server, or with -n on this machine.

    The options are those of Real-ESRGAN's own script. A folder keeps its subfolders; an image that cannot be read is
    named at the end and does not stop the others (exit status 1).
    """
    from stackctl.errors import UsageError
    from stackctl.lifecycle.upscale import How

    screen = terminal(context)
    if face_enhance:
        raise UsageError("Faces are not treated apart here: there is no GFPGAN.", "Leave --face_enhance out.")
    _note_unused(screen, {"--tile_pad": tile_pad, "--pre_pad": pre_pad, "--gpu-id": gpu_id})
    how = How(
        outscale=outscale,
        suffix=suffix,
        image_format={"jpg": "jpeg", "tif": "tiff"}.get(ext.value, ext.value),
        tile=tile,
        precision="fp32" if fp32 else "auto",
        alpha="network" if alpha_upsampler is AlphaUpsampler.REALESRGAN else "bicubic",
    )
    places = _one_of("IN", source, "-i", inbound), _one_of("OUT", target, "-o", output)
    work, results = (_here if model_name else _by_server)(screen, *places, how, model_name or "", denoise_strength)
    for note in work.notes:
        screen.note(note)
    _report(screen, work, results)


def _one_of(name: str, argument: str | None, flag: str, option: str | None) -> str:
    from stackctl.errors import UsageError

    if argument and option:
        raise UsageError(f"{name} was given twice: as {argument} and by {flag} as {option}.", "Give one of them.")
    if not (argument or option):
        raise UsageError(f"{name} is missing.", "stackctl image upscale IN OUT")
    return argument or option or ""


def _note_unused(screen: Terminal, flags: dict[str, int | None]) -> None:
    reasons = {
        "--tile_pad": "tiles overlap by what the network sees",
        "--pre_pad": "borders are not padded",
        "--gpu-id": "networks run on the CPU",
    }
    for flag, value in flags.items():
        if value is not None:
            screen.note(f"{flag} is not needed: {reasons[flag]}.")


def _by_server(
    screen: Terminal, source: str, target: str, how: How, _model: str, denoise: float | None
) -> tuple[Work, Iterator[Upscaled]]:
    from stackctl.errors import UsageError
    from stackctl.lifecycle.upscale import plan, through_server

    for flag, given in (("-dn", denoise is not None), ("--alpha_upsampler realesrgan", how.alpha == "network")):
        if given:
            raise UsageError(f"{flag} needs a network on this machine.", "Name one with -n.")
    stack = screen.stack()
    work = plan(source, target, how, stack)
    return work, through_server(work, stack.endpoints.serving)


def _here(
    screen: Terminal, source: str, target: str, how: How, model: str, denoise: float | None
) -> tuple[Work, Iterator[Upscaled]]:
    from stackctl.engines.environments import service_environment
    from stackctl.lifecycle.upscale import plan
    from stackctl.lifecycle.upscale_locally import find_network, locally

    work = plan(source, target, how)
    if denoise is None and model == MIXED:
        denoise = MIXED_BY_DEFAULT
    with screen.progress() as progress:
        network = find_network(model, screen.stack, progress, denoise=denoise)
        python = service_environment(progress)
    return work, locally(work, network, python)


def _report(screen: Terminal, work: Work, results: Iterator[Upscaled]) -> None:
    from stackctl.cli.image_progress import watched

    done = list(watched(screen, results, len(work.names)))
    if screen.json:
        screen.data({"results": [item.to_dict() for item in done]}, str)
    failed = [item for item in done if item.error]
    screen.note(f"{len(done) - len(failed)} upscaled" + (f", {len(failed)} failed" if failed else ""))
    if failed:
        if len(done) > 1:
            more = f" and {len(failed) - NAMED_FAILURES} more" if len(failed) > NAMED_FAILURES else ""
            screen.warn(f"Failed: {', '.join(item.source for item in failed[:NAMED_FAILURES])}{more}")
        raise typer.Exit(1)
