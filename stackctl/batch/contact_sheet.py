"""What a run did, as pictures: some images whole, and their richest detail before and after; also as one JPEG."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from stackctl.batch.manifest import Record
from stackctl.batch.sizing import free_memory
from stackctl.errors import StackctlError
from stackctl.store.places import Place

if TYPE_CHECKING:
    from PIL.Image import Image

FILE = "contact-sheet.jpg"
MOST = 24
SIDE = 168
"""Pixels of each of a cell's three pictures."""
GAP, INSET = 12, 4
WIDTH = 3 * SIDE + 2 * INSET
LABEL = 22
COLUMNS = 3
DECODING_BYTES = 7
"""Memory that each pixel of a result takes while it is decoded (measured: 1.4 GiB for 192 million)."""
MEMORY_SHARE = 0.8
"""Share of the free memory that one result may take; a larger one is left out."""
SECONDS = 15.0
"""No further image is begun after so long."""
_PAPER, _INK = (250, 250, 248), (60, 60, 64)
Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Shown:
    """One image of a run.

    Attributes:
        name: of the input, as far as it is text.
        before: width and height of the input.
        after: of the result.
        pictures: the whole result, a detail of the input, the same detail of the result; none larger than ``SIDE``.
    """

    name: str
    before: tuple[int, int]
    after: tuple[int, int]
    pictures: tuple[Image, Image, Image]

    def encoded(self) -> list[bytes]:
        """Return the pictures as JPEG."""
        files = [BytesIO() for _ in self.pictures]
        for picture, file in zip(self.pictures, files, strict=True):
            picture.save(file, "JPEG", quality=88)
        return [file.getvalue() for file in files]


def write(file: Path, records: Sequence[Record], inputs: Place, outputs: Place) -> list[Shown]:
    """Write the sheet of up to ``MOST`` of these results and return what is on it (without any there is no file)."""
    shown = list(_shown(records, inputs, outputs))
    if not shown:
        return []
    columns = min(COLUMNS, len(shown))
    width, height = WIDTH + GAP, SIDE + LABEL + GAP
    from PIL import Image

    rows = -(-len(shown) // columns)
    sheet = Image.new("RGB", (columns * width + GAP, rows * height + GAP), _PAPER)
    for number, each in enumerate(shown):
        sheet.paste(_cell(each), (GAP + number % columns * width, GAP + number // columns * height))
    temporary = file.with_name(f".partial-{file.name}")
    sheet.save(temporary, "JPEG", quality=88)
    temporary.replace(file)
    return shown


def _shown(records: Sequence[Record], inputs: Place, outputs: Place) -> Iterator[Shown]:
    began, made = time.monotonic(), 0
    for record in records:
        if made == MOST or time.monotonic() - began > SECONDS:
            return
        if record.out_pixels * DECODING_BYTES > MEMORY_SHARE * free_memory():
            continue
        try:
            shown = _pictures(record, inputs, outputs)
        except (StackctlError, OSError, MemoryError):  # changed or gone since; the sheet shows the others
            continue
        if shown is not None:
            made += 1
            yield shown


def _pictures(record: Record, inputs: Place, outputs: Place) -> Shown | None:
    """Return the pictures of a result, None where it or its input is none that can be decoded."""
    before, after = _decoded(inputs.read(record.name)), _decoded(outputs.read(record.output))
    if before is None or after is None:
        return None
    factor = after.shape[1] / before.shape[1]
    side = max(1, min(round(SIDE / factor), *before.shape[:2]))
    top, left = _richest(before, side)
    detail = before[top : top + side, left : left + side]
    large = round(side * factor)
    y, x = (
        min(round(start * factor), max(0, limit - large))
        for start, limit in zip((top, left), after.shape[:2], strict=False)
    )
    pictures = (
        _fitted(after, nearest=False),
        _fitted(detail, nearest=True),
        _fitted(after[y : y + large, x : x + large], nearest=False),
    )
    name = record.name.encode(errors="surrogateescape").decode(errors="replace")
    return Shown(name, (before.shape[1], before.shape[0]), (after.shape[1], after.shape[0]), pictures)


def _cell(shown: Shown) -> Image:
    """Return the pictures beside each other, with a caption."""
    from PIL import Image, ImageDraw, ImageFont

    cell = Image.new("RGB", (WIDTH, SIDE + LABEL), _PAPER)
    for number, picture in enumerate(shown.pictures):
        place = (number * (SIDE + INSET) + (SIDE - picture.width) // 2, (SIDE - picture.height) // 2)
        cell.paste(picture, place)
    sizes = "{}x{} to {}x{}".format(*shown.before, *shown.after)  # all that the font has
    font = ImageFont.load_default(13)
    draw = ImageDraw.Draw(cell)
    room = WIDTH - draw.textlength(sizes, font)
    draw.text((0, SIDE + 3), _shortened(shown.name, room - 2 * GAP, draw, font), fill=_INK, font=font)
    draw.text((room, SIDE + 3), sizes, fill=_INK, font=font)
    return cell


def _fitted(part: Pixels, *, nearest: bool) -> Image:
    """Return a picture no larger than ``SIDE``; details of an input are enlarged without smoothing."""
    import cv2
    from PIL import Image

    height, width = part.shape[:2]
    scale = SIDE / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_NEAREST if nearest else cv2.INTER_CUBIC
    return Image.fromarray(cv2.cvtColor(cv2.resize(part, size, interpolation=way), cv2.COLOR_BGR2RGB))


def _richest(pixels: Pixels, side: int) -> tuple[int, int]:
    """Return top and left of the square of ``side`` pixels with the strongest edges."""
    import cv2

    edges = cv2.convertScaleAbs(cv2.Laplacian(cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY), cv2.CV_16S))
    means = cv2.boxFilter(edges, cv2.CV_32F, (side, side), anchor=(0, 0))
    inside = means[: means.shape[0] - side + 1, : means.shape[1] - side + 1]
    top, left = np.unravel_index(int(np.argmax(inside)), inside.shape)
    return int(top), int(left)


def _decoded(data: bytes) -> Pixels | None:
    """Return H×W×3 uint8, blue before green and red, upright, or None where it cannot be decoded."""
    import cv2

    try:
        found: Any = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:
        return None
    return found  # type: ignore[no-any-return]


def _shortened(text: str, room: float, draw: Any, font: Any) -> str:
    """Return a caption that fits, its end kept: that is what differs."""
    text = text.replace("\n", " ")
    if draw.textlength(text, font) <= room:
        return text
    while text and draw.textlength(f"…{text}", font) > room:
        text = text[1:]
    return f"…{text}"
