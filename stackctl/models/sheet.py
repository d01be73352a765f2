"""A contact sheet of two versions: what each made of the same golden inputs, side by side.

The outputs are those that were logged with the versions (computed in fp32 when they were registered). Run it where the
services' packages are: ``python -m stackctl.models.sheet MODEL BEFORE AFTER --out FILE``.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from stackctl.errors import StackctlError

if TYPE_CHECKING:
    from PIL import Image

GOLDEN = "artifacts/golden"
AMPLIFIED = 8
GAP = 12
CAPTION = 22
LARGEST = 512
PAPER, INK = (250, 250, 250), (40, 40, 40)


@dataclass(frozen=True)
class Row:
    """One golden input and what two versions made of it."""

    name: str
    input: Path
    before: Path
    after: Path


def rows(before: Path, after: Path) -> list[Row]:
    """Return the golden inputs that two golden folders share, told by the inputs' content.

    Raises:
        StackctlError: they share none.
    """
    theirs = {pair["sha256_input"]: pair for pair in _pairs(after)}
    found = [
        Row(
            pair["input"],
            before / pair["input"],
            before / pair["output"],
            after / theirs[pair["sha256_input"]]["output"],
        )
        for pair in _pairs(before)
        if pair["sha256_input"] in theirs
    ]
    if not found:
        raise StackctlError("The two versions share no golden input, so there is nothing to set side by side.")
    return found


def draw(found: Sequence[Row], before: str, after: str) -> Image.Image:
    """Return the sheet: for each golden input itself (enlarged plainly), both outputs, and their difference."""
    from PIL import Image, ImageDraw

    cells = [_cells(row) for row in found]
    widths = [max(row[column].width for row in cells) for column in range(4)]
    heights = [max(cell.height for cell in row) for row in cells]
    size = (sum(widths) + GAP * 5, CAPTION + sum(heights) + (GAP + CAPTION) * len(cells) + GAP)
    sheet = Image.new("RGB", size, PAPER)
    pen = ImageDraw.Draw(sheet)
    lefts = [GAP + sum(widths[:column]) + GAP * column for column in range(4)]
    titles = ("input", f"version {before}", f"version {after}", f"difference x{AMPLIFIED}")
    for left, title in zip(lefts, titles, strict=True):
        pen.text((left, 6), title, fill=INK)
    top = CAPTION
    for row, line, height in zip(found, cells, heights, strict=True):
        for left, cell in zip(lefts, line, strict=True):
            sheet.paste(cell, (left, top))
        pen.text((GAP, top + height + 3), row.name, fill=INK)
        top += height + GAP + CAPTION
    return sheet


def main(argv: Sequence[str] | None = None) -> int:
    """Write the sheet; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m stackctl.models.sheet", description=__doc__)
    parser.add_argument("model")
    parser.add_argument("before")
    parser.add_argument("after")
    parser.add_argument("--out", type=Path, required=True, help="PNG to write")
    chosen = parser.parse_args(argv)
    try:
        with tempfile.TemporaryDirectory(prefix="stackctl-sheet-") as temporary:
            folders = [_golden(chosen.model, word, Path(temporary) / word) for word in (chosen.before, chosen.after)]
            found = rows(*folders)
            draw(found, chosen.before, chosen.after).save(chosen.out, "PNG")
        sys.stdout.write(json.dumps({"rows": len(found)}) + "\n")
    except StackctlError as error:
        sys.stderr.write(f"{error.message}\n")
        return error.code
    return 0


def _golden(model: str, version: str, folder: Path) -> Path:
    """Download the golden pairs of a version."""
    import mlflow.artifacts
    from mlflow.exceptions import MlflowException

    folder.mkdir()
    try:
        return Path(mlflow.artifacts.download_artifacts(f"models:/{model}/{version}/{GOLDEN}", dst_path=str(folder)))
    except (MlflowException, OSError) as error:
        raise StackctlError(f"{model} version {version} has no golden images: {error}") from error


def _pairs(folder: Path) -> list[dict[str, str]]:
    try:
        found: list[dict[str, str]] = json.loads((folder / "manifest.json").read_text())["pairs"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StackctlError(f"The golden images in {folder.name} have no readable manifest.") from error
    return found


def _cells(row: Row) -> list[Image.Image]:
    from PIL import Image, ImageChops

    before, after = _open(row.before), _open(row.after)
    plain = _open(row.input).resize(after.size, Image.Resampling.NEAREST)
    if before.size != after.size:  # versions of different scales: compare at the later one's size
        before = before.resize(after.size, Image.Resampling.BICUBIC)
    difference = ImageChops.difference(before, after).point(lambda level: min(255, level * AMPLIFIED))
    cells = [plain, before, after, difference]
    for cell in cells:
        cell.thumbnail((LARGEST, LARGEST))
    return cells


def _open(file: Path) -> Image.Image:
    from PIL import Image

    with Image.open(file) as image:
        return image.convert("RGB")


if __name__ == "__main__":
    sys.exit(main())
