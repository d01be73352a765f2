"""``models import``: bring networks into the registry as versions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from stackctl.cli.output import Terminal, terminal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stackctl.models import ModelVersion


def import_(
    context: typer.Context,
    source: Annotated[
        str,
        typer.Argument(help="starter, an official network's name, or a .pth, .safetensors or .onnx file."),
    ],
    name: Annotated[
        str | None, typer.Option("--name", help="The registered model; none: the stack's own.", show_default=False)
    ] = None,
    place: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="FOLDER|URL",
            envvar="STACKCTL_WEIGHTS_DIR",
            help="Where an official network's file is, instead of upstream's release.",
            show_default=False,
        ),
    ] = None,
    denoise: Annotated[
        float | None,
        typer.Option(
            "--denoise",
            "-dn",
            min=0,
            max=1,
            help="Of realesr-general-x4v3: 0 keeps noise, 1 removes most (none: 1).",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Register networks as versions of a model; a second time finds what the first one registered.

    Official networks: RealESRGAN_x4plus, RealESRNet_x4plus, RealESRGAN_x2plus, RealESRGAN_x4plus_anime_6B,
    realesr-animevideov3, realesr-general-x4v3, realesr-general-wdn-x4v3. Checkpoints are converted in an environment
    with torch, which is made once.
    """
    from stackctl.cli.models import versions_table
    from stackctl.lifecycle.import_model import import_model

    screen = terminal(context)
    stack, engine = screen.engine()
    with screen.progress() as progress:
        versions = import_model(source, stack, engine, progress, name=name, place=place, denoise=denoise)
    document = {"model": name or stack.settings.model, "versions": [entry.to_dict() for entry in versions]}
    screen.data(document, lambda: versions_table(versions))
    _suggest_promotion(screen, versions)


def _suggest_promotion(screen: Terminal, versions: Sequence[ModelVersion]) -> None:
    if versions and not screen.json and all(entry.stage != "Production" for entry in versions):
        first = versions[0]
        screen.note(f"Next: `stackctl promote {first.name} {first.version}`.")
