"""Replays a version's golden images through the very call that will serve, before anybody's request reaches it."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from stackctl.serving.errors import Refused

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FOLDER = "golden"
MANIFEST = "manifest.json"
PEAK = 255.0


class ImageModel(Protocol):
    """The Python model of a version that keeps the image contract."""

    def upscale(
        self,
        data: bytes,
        *,
        outscale: float,
        format: str,  # noqa: A002 - the contract's word
        tile: int,
        precision: str,
    ) -> tuple[bytes, dict[str, Any]]:
        """Return the upscaled image, encoded, and a report."""

    def network_info(self) -> dict[str, Any]:
        """Return scale, formats and limits."""


def golden_folder(version: Path) -> Path | None:
    """Return the folder of golden images in a version's files, or None; artifacts lie one level down in them."""
    found = sorted(version.glob(f"**/{FOLDER}/{MANIFEST}"), key=lambda file: len(file.parts))
    return found[0].parent if found else None


def replay(model: ImageModel, folder: Path) -> str:
    """Upscale every golden input, compare with its golden output, and return a sentence about the worst one.

    In fp32 the largest difference counts (8-bit levels), in bf16 the PSNR (dB): bf16 differs between processors.

    Raises:
        Refused: an output differs by more than the manifest's tolerance.
    """
    manifest = json.loads((folder / MANIFEST).read_text())
    tolerance = manifest.get("tolerance", {})
    levels_allowed = int(tolerance.get("fp32_max_levels", 1))
    psnr_wanted = float(tolerance.get("bf16_min_psnr_db", 50.0))
    worst_levels, worst_psnr = 0, math.inf
    pairs = manifest.get("pairs", [])
    if not pairs:
        raise Refused("The version's golden manifest names no images.")
    for pair in pairs:
        data = (folder / pair["input"]).read_bytes()
        made, report = model.upscale(data, outscale=0.0, format="png", tile=0, precision="auto")
        levels, psnr = difference(_decoded(made), _decoded((folder / pair["output"]).read_bytes()))
        worst_levels, worst_psnr = max(worst_levels, levels), min(worst_psnr, psnr)
        precision = str(report.get("precision", "fp32"))
        if precision == "bf16" and psnr < psnr_wanted:
            raise Refused(
                f"Golden image {pair['input']} came out at {psnr:.1f} dB in bf16; {psnr_wanted:g} dB are wanted."
            )
        if precision != "bf16" and levels > levels_allowed:
            raise Refused(
                f"Golden image {pair['input']} is {levels} levels off in {precision}; {levels_allowed} is allowed."
            )
    return f"{len(pairs)} golden images, {worst_levels} levels off at most"


def difference(made: NDArray[np.uint8], wanted: NDArray[np.uint8]) -> tuple[int, float]:
    """Return the largest difference in levels and the PSNR in dB of two images (H×W×C uint8).

    Raises:
        Refused: they differ in size or channels.
    """
    import numpy as np

    if made.shape != wanted.shape:
        raise Refused(f"A golden image came out as {_size(made)}; {_size(wanted)} is wanted.")
    error = made.astype(np.int16) - wanted.astype(np.int16)
    mse = float(np.mean(np.square(error, dtype=np.float64)))
    return int(np.abs(error).max()), math.inf if mse == 0 else 10 * math.log10(PEAK * PEAK / mse)


def _decoded(data: bytes) -> NDArray[np.uint8]:
    import io

    import numpy as np
    from PIL import Image

    with Image.open(io.BytesIO(data)) as image:
        pixels = np.asarray(image)
    return pixels[:, :, None] if pixels.ndim == 2 else pixels  # grey has no channel axis


def _size(image: NDArray[np.uint8]) -> str:
    return "×".join(str(side) for side in (image.shape[1], image.shape[0], image.shape[2]))
