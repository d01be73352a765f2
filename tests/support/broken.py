"""Images that are damaged, cut, lying or hostile, made from sound ones."""

from __future__ import annotations

import random
import struct
import zlib

from support.pictures import Levels, encode

_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def chunk(name: bytes, body: bytes) -> bytes:
    """Return a PNG chunk with a right checksum."""
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png(header: tuple[int, int, int, int], rows: bytes, extra: bytes = b"", *, interlaced: int = 0) -> bytes:
    """Return a PNG of (width, height, depth, colour type), filtered rows and further chunks before them."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", *header, 0, 0, interlaced))
    return _SIGNATURE + head + extra + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def unfiltered(levels: Levels) -> bytes:
    """Return H×W×C levels as PNG rows of filter 0."""
    return b"".join(b"\0" + row.astype(f">u{levels.dtype.itemsize}").tobytes() for row in levels)


def interlaced_png(levels: Levels) -> bytes:
    """Return H×W×3 8-bit levels as PNG in Adam7's seven passes."""
    passes = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
    parts = [levels[top::down, left::across] for left, top, across, down in passes]
    rows = b"".join(unfiltered(part) for part in parts if part.size)
    return png((levels.shape[1], levels.shape[0], 8, 2), rows, interlaced=1)


def png_of_zeros(height: int, width: int, *, inflated: int) -> bytes:
    """Return a small PNG whose rows inflate to that many bytes."""
    return png((width, height, 8, 0), bytes(inflated))


def png_with_chunks(levels: Levels, count: int) -> bytes:
    """Return a PNG with that many empty private chunks before its rows."""
    whole = encode(levels)
    return whole[:33] + chunk(b"teSt", b"") * count + whole[33:]


def jpeg_with_scans(data: bytes, count: int) -> bytes:
    """Return a progressive JPEG whose first scan is there that many times: each costs a decoder the whole picture."""
    start = data.index(b"\xff\xda")
    end = data.index(b"\xff\xc4", start)
    return data[:start] + data[start:end] * count + data[start:]


def damaged(data: bytes, draw: random.Random) -> bytes:
    """Return the data with bits flipped, bytes overwritten, parts removed, doubled or cut off."""
    changed = bytearray(data)
    for _ in range(draw.choice((1, 1, 2, 4, 8))):
        at = draw.randrange(len(changed) if draw.random() < 0.5 else min(200, len(changed)))
        match draw.randrange(6):
            case 0 | 1:
                changed[at] ^= 1 << draw.randrange(8)
            case 2:
                changed[at : at + 4] = draw.randbytes(4)
            case 3:
                changed[at : at + 4] = draw.choice((b"\xff" * 4, b"\0" * 4, b"\x7f\xff\xff\xff", b"\x01\0\0\0"))
            case 4:
                del changed[at : at + draw.randrange(1, 40)]
            case _:
                changed[at:at] = changed[at : at + draw.randrange(1, 40)]
        if len(changed) < 8:
            break
    return bytes(changed[: draw.randrange(len(changed))] if draw.random() < 0.1 else changed)


def resized_header(data: bytes, height: int, width: int) -> bytes:
    """Return the image with another size in its header, checksums right, and the same pixels."""
    changed = bytearray(data)
    if data.startswith(_SIGNATURE):
        struct.pack_into(">II", changed, 16, width, height)
        struct.pack_into(">I", changed, 29, zlib.crc32(changed[12:29]))
    elif data.startswith(b"\xff\xd8"):
        frame = max(data.find(b"\xff\xc0"), data.find(b"\xff\xc2"))
        struct.pack_into(">HH", changed, frame + 5, height, width)
    elif data.startswith(b"BM"):
        struct.pack_into("<ii", changed, 18, width, height)
    elif data.startswith(b"RIFF"):
        _resize_webp(changed, height, width)
    else:
        _resize_tiff(changed, height, width)
    return bytes(changed)


def _resize_webp(changed: bytearray, height: int, width: int) -> None:
    if (extended := changed.find(b"VP8X")) >= 0:
        changed[extended + 12 : extended + 18] = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    if (lossy := changed.find(b"\x9d\x01\x2a")) >= 0:
        struct.pack_into("<HH", changed, lossy + 3, width, height)
    if (lossless := changed.find(b"VP8L")) >= 0:
        (bits,) = struct.unpack_from("<I", changed, lossless + 9)
        bits = bits >> 28 << 28 | (min(height, 1 << 14) - 1) << 14 | (min(width, 1 << 14) - 1)
        struct.pack_into("<I", changed, lossless + 9, bits)


def _resize_tiff(changed: bytearray, height: int, width: int) -> None:
    (start,) = struct.unpack_from("<I", changed, 4)
    (count,) = struct.unpack_from("<H", changed, start)
    for at in range(start + 2, start + 2 + 12 * count, 12):
        tag, kind = struct.unpack_from("<HH", changed, at)
        if tag in {256, 257}:
            struct.pack_into("<H" if kind == 3 else "<I", changed, at + 8, width if tag == 256 else height)
