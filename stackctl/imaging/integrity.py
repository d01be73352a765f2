"""Is all of the picture there? What decoders fill with grey, black or nothing is found here and refused.

libjpeg pads missing rows with a flat colour, Pillow's PNG decoder with black, and neither looks at checksums. Sources:
PNG 3rd edition, chapters 5 and 7; ITU-T T.81, annexes B and G.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from math import ceil

from .deflate import inflater
from .errors import CorruptImage, UnsupportedFormat

_MOST_CHUNKS = 200_000
_MOST_SCANS = 200
_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
_INFLATED = 1 << 20

_NEXT_MARKER = re.compile(rb"\xff+([^\x00\xff\xd0-\xd7])", re.DOTALL)
_RESTART = re.compile(rb"\xff[\xd0-\xd7]")
_START, _END, _SCAN, _RESTARTS = 0xD8, 0xD9, 0xDA, 0xDD
_BASELINE, _PROGRESSIVE = frozenset({0xC0, 0xC1}), 0xC2
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_OTHER_BITS = bytes.fromhex("d65b2ac93e71a4d8") * 8
"""Anything that does not decode to a flat colour; without 0xFF."""


def png_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield (name, first byte of the body, last + 1) of every chunk up to IEND.

    Raises:
        CorruptImage: the data end before IEND, or there are absurdly many chunks.
    """
    at = 8
    for _ in range(_MOST_CHUNKS):
        if at + 12 > len(data):
            break
        (length,) = struct.unpack_from(">I", data, at)
        end = at + 8 + length
        if end + 4 > len(data):
            break
        name = data[at + 4 : at + 8]
        yield name, at + 8, end
        if name == b"IEND":
            return
        at = end + 4
    else:
        raise CorruptImage(f"The png image has more than {_MOST_CHUNKS:,} parts.")
    raise CorruptImage("The png image ends before its last part.")


def png_part(data: bytes, name: bytes) -> bytes | None:
    """Return the body of the first chunk of this name, before or after the rows; None without."""
    try:
        return next((data[start:end] for found, start, end in png_chunks(data) if found == name), None)
    except CorruptImage:
        return None


def check_png(data: bytes) -> None:
    """Compare every chunk's checksum, and the size of the inflated rows with what the header promises.

    Raises:
        CorruptImage: something is damaged, missing or too much.
    """
    view = memoryview(data)
    rows: list[memoryview] = []
    for name, start, end in png_chunks(data):
        if zlib.crc32(view[start - 4 : end]) != struct.unpack_from(">I", data, end)[0]:
            raise CorruptImage(f"The png image is damaged: the checksum at byte {end} is wrong.")
        if name == b"IDAT":
            rows.append(view[start:end])
    promised = _png_bytes(*struct.unpack_from(">IIBBxxB", data, 16))
    found = _inflated_bytes(rows, promised)
    if found != promised:
        raise CorruptImage(f"The png image holds {found:,} bytes of rows where its header promises {promised:,}.")


def _png_bytes(width: int, height: int, depth: int, colour: int, interlaced: int) -> int:
    """Return the size in bytes of all filtered rows."""
    bits = _SAMPLES.get(colour, 1) * depth
    passes = _ADAM7 if interlaced else ((0, 0, 1, 1),)
    total = 0
    for left, top, across, down in passes:
        columns, lines = -(-(width - left) // across), -(-(height - top) // down)
        if columns > 0 and lines > 0:
            total += lines * (1 + (columns * bits + 7) // 8)
    return total


def _inflated_bytes(parts: list[memoryview], enough: int) -> int:
    """Return how many bytes the parts inflate to, at most little more than `enough`; nothing of it is kept."""
    stream, size = inflater(), 0
    try:
        for part in parts:
            rest: bytes | memoryview = part
            while rest and not stream.eof and size <= enough:
                size += len(stream.decompress(rest, _INFLATED))
                rest = stream.unconsumed_tail
        while not stream.eof and size <= enough and (more := stream.decompress(b"", _INFLATED)):
            size += len(more)
    except Exception as error:  # zlib's and zlib-ng's own errors have no common parent
        raise CorruptImage(f"The png image's rows cannot be inflated: {error}") from error
    if not stream.eof and size <= enough:
        raise CorruptImage("The png image's rows end early.")
    return size


@dataclass
class JpegParts:
    """Where a JPEG's scans are: `last_scan_end` is the position of the marker that ends the last of them."""

    last_scan_end: int = 0
    frame: int = 0
    size: tuple[int, int] = (0, 0)
    sampling: dict[int, tuple[int, int]] = field(default_factory=dict)
    """Component → blocks down and across in a unit of an interleaved scan; `size` is height and width."""
    restart: int = 0
    """Units between restart markers; 0 without."""
    complete: dict[int, int] = field(default_factory=dict)
    """Component → bits 0 to 63: the coefficients whose last bit was sent."""


def read_jpeg(data: bytes) -> JpegParts:
    """Walk the markers of the first picture and return what they say.

    Raises:
        UnsupportedFormat: arithmetic coding, lossless or hierarchical frames, more than 8 bits.
        CorruptImage: the walk does not reach the end of the picture, or scans are missing.
    """
    parts, at, scans = JpegParts(), 2, 0
    while (found := _NEXT_MARKER.search(data, at)) is not None:
        marker, at = found[1][0], found.end()
        if marker == _END:
            return _checked(parts)
        if marker in {_START, 0x01}:
            continue
        body = data[at + 2 : at + int.from_bytes(data[at : at + 2])]
        at += 2 + len(body)
        if marker in _FRAMES:
            _read_frame(parts, marker, body)
        elif marker == _RESTARTS:
            parts.restart = int.from_bytes(body[:2])
        elif marker == _SCAN:
            scans += 1
            if scans > _MOST_SCANS:
                raise CorruptImage(f"The jpeg image has more than {_MOST_SCANS} scans.")
            components = _read_scan(parts, body)
            after = _NEXT_MARKER.search(data, at)
            parts.last_scan_end = after.start() if after else len(data)
            if parts.restart and len(_RESTART.findall(data, at, parts.last_scan_end)) < _restarts(parts, components):
                raise CorruptImage("The jpeg image lacks some of its restart intervals.")
            at = parts.last_scan_end
    raise CorruptImage("The jpeg image ends before its end marker.")


def with_other_end(data: bytes, parts: JpegParts) -> bytes:
    """Return the JPEG with further bits after its last scan: a complete picture decodes to the same pixels.

    A decoder that misses bits makes up flat ones; here it finds these instead, and the pixels differ.
    """
    return b"".join((data[: parts.last_scan_end], _OTHER_BITS, data[parts.last_scan_end :]))


def _read_frame(parts: JpegParts, marker: int, body: bytes) -> None:
    if marker not in _BASELINE and marker != _PROGRESSIVE:
        raise UnsupportedFormat(f"The jpeg image has coding process {marker - 0xC0}, which is not accepted.")
    if len(body) < 6 or len(body) < 6 + 3 * body[5]:
        raise CorruptImage("The jpeg image's frame header ends early.")
    if body[0] != 8:
        raise UnsupportedFormat(f"The jpeg image has {body[0]} bits per sample; 8 are accepted.")
    parts.frame = marker
    parts.size = struct.unpack_from(">HH", body, 1)
    factors = body[7 : 7 + 3 * body[5] : 3]
    parts.sampling = {
        name: (max(factor & 15, 1), max(factor >> 4, 1)) for name, factor in zip(body[6::3], factors, strict=False)
    }


def _read_scan(parts: JpegParts, body: bytes) -> bytes:
    """Note which coefficients the scan completes; return its components."""
    if not body or len(body) < 4 + 2 * body[0]:
        raise CorruptImage("The jpeg image's scan header ends early.")
    first, last, approximation = body[1 + 2 * body[0] : 4 + 2 * body[0]]
    if parts.frame != _PROGRESSIVE:
        first, last, approximation = 0, 63, 0
    components = body[1 : 1 + 2 * body[0] : 2]
    sent = (1 << (last + 1)) - (1 << first) if first <= last <= 63 and not approximation & 0x0F else 0
    for component in components:
        parts.complete[component] = parts.complete.get(component, 0) | sent
    return components


def _restarts(parts: JpegParts, components: bytes) -> int:
    """Return how many restart markers a scan must have: one between every two intervals (T.81, A.2 and B.2.4.4)."""
    if not parts.sampling or not components:
        raise CorruptImage("The jpeg image has a scan that belongs to no frame.")
    units = 1
    for axis, length in enumerate(parts.size):
        largest = max(factors[axis] for factors in parts.sampling.values())
        if len(components) == 1:  # such a scan counts its own blocks, an interleaved one the units that all share
            own = parts.sampling.get(components[0], (1, 1))[axis]
            units *= ceil(ceil(length * own / largest) / 8)
        else:
            units *= ceil(length / (8 * largest))
    return ceil(units / parts.restart) - 1


def _checked(parts: JpegParts) -> JpegParts:
    if not parts.sampling or any(parts.complete.get(name, 0) != 2**64 - 1 for name in parts.sampling):
        raise CorruptImage("The jpeg image lacks some of its scans.")
    return parts
