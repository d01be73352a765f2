"""Replays a version's golden images through the very call that will serve, before anybody's request reaches it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

from stackctl.serving.errors import Refused

FOLDER = "golden"
MANIFEST = "manifest.json"


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

    This server's own imaging code compares, not the one that came with the version: what is checked does not check.

    Raises:
        Refused: an output differs by more than the manifest's tolerance.
    """
    from stackctl.imaging import compare_answers

    def answer(data: bytes) -> tuple[bytes, str]:
        made, report = model.upscale(data, outscale=0.0, format="png", tile=0, precision="auto")
        return made, str(report.get("precision", "fp32"))

    found = compare_answers(folder, answer)
    if not found.passed:
        raise Refused(f"The version does not answer its golden images as it should: {found.reason}")
    return f"{found.worst_levels} levels off at most"
