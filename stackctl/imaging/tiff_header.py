"""What a TIFF's first directory says, and which TIFFs are accepted.

Accepted are the kinds that decode to exactly what they mean: Pillow and OpenCV also open others, but show some of them
darker, inverted or with rows missing and say nothing. Source: TIFF revision 6.0, sections 2 to 10; BigTIFF design.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass

from .errors import AnimatedImage, CorruptImage, UnsupportedFormat

WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC = 256, 257, 258, 259, 262
SAMPLES, ROWS_PER_STRIP, PLANAR, EXTRA, SAMPLE_FORMAT = 277, 278, 284, 338, 339
_STRIPS, _TILE_WIDTH, _TILE_HEIGHT, _TILES = 273, 322, 323, 324
_NUMBERS = {1: "B", 3: "H", 4: "I", 16: "Q"}
_MOST_VALUES = 16
_WHOLE_COMPRESSIONS = frozenset({1, 5, 8, 32773, 32946, 34925, 50000})
"""None, LZW, deflate (twice), PackBits, LZMA, Zstandard: what is cut short in them is noticed."""
_COLOUR_MODELS = {0: "white is zero", 1: "black is zero", 2: "RGB", 3: "palette", 5: "CMYK"}
ASSOCIATED, UNASSOCIATED = 1, 2
"""Values of EXTRA: alpha that the colours were multiplied by, and alpha that they were not."""


@dataclass(frozen=True)
class Directory:
    """The first page: numeric tags (at most 16 values each), how many values each tag has, whether a page follows."""

    tags: dict[int, tuple[int, ...]]
    counts: dict[int, int]
    follows: bool

    def one(self, tag: int, default: int) -> int:
        """Return a tag's first value."""
        return self.tags.get(tag, (default,))[0]


def read_directory(data: bytes) -> Directory:
    """Return the first directory of a TIFF or BigTIFF.

    Raises:
        CorruptImage: it is not there.
    """
    order = "<" if data[:2] == b"II" else ">"
    try:
        big = struct.unpack_from(order + "H", data, 2)[0] == 43
        head, entry, word = ("Q", "HHQ8s", "Q") if big else ("H", "HHI4s", "I")
        (start,) = struct.unpack_from(order + word, data, 8 if big else 4)
        (count,) = struct.unpack_from(order + head, data, start)
        start += struct.calcsize(order + head)
        size = struct.calcsize(order + entry)
        if start + count * size > len(data):
            raise CorruptImage("The tiff image ends within its directory.")
        tags, counts = {}, {}
        for number in range(count):
            tag, kind, values, inline = struct.unpack_from(order + entry, data, start + number * size)
            counts[tag] = values
            if kind in _NUMBERS and values:
                tags[tag] = _values(data, order, kind, values, inline)
        (following,) = struct.unpack_from(order + word, data, start + count * size)
    except (struct.error, OverflowError) as error:  # offsets beyond the file, or beyond any file
        raise CorruptImage("The tiff header points beyond the end of the file.") from error
    return Directory(tags, counts, follows=bool(following))


def _values(data: bytes, order: str, kind: int, count: int, inline: bytes) -> tuple[int, ...]:
    wanted = f"{order}{min(count, _MOST_VALUES)}{_NUMBERS[kind]}"
    if count * struct.calcsize(_NUMBERS[kind]) <= len(inline):
        return struct.unpack_from(wanted, inline)
    (offset,) = struct.unpack(order + ("Q" if len(inline) == 8 else "I"), inline)
    return struct.unpack_from(wanted, data, offset)


def check_tiff(directory: Directory) -> None:
    """Refuse what would not decode to what it means.

    Raises:
        AnimatedImage: there are several pages.
        UnsupportedFormat: a compression, colour model or depth that is not accepted.
        CorruptImage: strips or tiles are missing.
    """
    if directory.follows:
        raise AnimatedImage("The tiff image has several pages; exactly one is accepted.")
    bits = set(directory.tags.get(BITS, (1,)))
    compression, model = directory.one(COMPRESSION, 1), directory.one(PHOTOMETRIC, 1)
    samples = directory.one(SAMPLES, 1)
    if set(directory.tags.get(SAMPLE_FORMAT, (1,))) != {1}:
        raise UnsupportedFormat("The tiff image has floating-point or signed pixels, which are not accepted.")
    if compression not in _WHOLE_COMPRESSIONS:
        raise UnsupportedFormat(f"The tiff image has compression {compression}, which is not accepted.")
    if model not in _COLOUR_MODELS:
        raise UnsupportedFormat(f"The tiff image has colour model {model}, which is not accepted.")
    if len(bits) != 1 or not bits <= {1, 2, 4, 8, 16}:
        raise UnsupportedFormat(f"The tiff image has {sorted(bits)} bits per sample, which is not accepted.")
    if bits == {16} and not _is_accepted_in_16_bits(model, samples, directory.one(PLANAR, 1)):
        raise UnsupportedFormat(
            f"The tiff image has {samples} samples of 16 bits as {_COLOUR_MODELS[model]}, stored in a way that is not"
            " accepted."
        )
    _check_parts(directory, samples)


def _is_accepted_in_16_bits(model: int, samples: int, planar: int) -> bool:
    return (model in {0, 1} and samples == 1) or (model == 2 and samples in {3, 4} and planar == 1)


def _check_parts(directory: Directory, samples: int) -> None:
    width, height = directory.one(WIDTH, 0), directory.one(HEIGHT, 0)
    tiled = _TILES in directory.counts
    across = directory.one(_TILE_WIDTH, 0) if tiled else max(width, 1)
    down = directory.one(_TILE_HEIGHT, 0) if tiled else directory.one(ROWS_PER_STRIP, max(height, 1))
    if width < 1 or height < 1 or across < 1 or down < 1:
        raise CorruptImage(f"The tiff header gives a size of {width}×{height} in parts of {across}×{down}.")
    needed = math.ceil(width / across) * math.ceil(height / down)
    if directory.one(PLANAR, 1) == 2:
        needed *= samples
    if directory.counts.get(_TILES if tiled else _STRIPS, 0) < needed:
        raise CorruptImage(f"The tiff image lacks some of the {needed} parts that its header promises.")
