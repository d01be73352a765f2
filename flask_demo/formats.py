"""What a file is, by its first bytes; its name and its declared type are not believed."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Accepted:
    """A format the demo sends on; `ask` is the output format to request so that browsers can show the result."""

    name: str
    content_type: str
    ask: str


PNG = Accepted("PNG", "image/png", "auto")
JPEG = Accepted("JPEG", "image/jpeg", "auto")
WEBP = Accepted("WebP", "image/webp", "auto")
# Browsers cannot show TIFF, and an uncompressed BMP grows sixteenfold: both come back as PNG.
TIFF = Accepted("TIFF", "image/tiff", "png")
BMP = Accepted("BMP", "image/bmp", "png")

ACCEPTED = (PNG, JPEG, WEBP, TIFF, BMP)
SIGNATURES: tuple[tuple[bytes, Accepted], ...] = (
    (b"\x89PNG\r\n\x1a\n", PNG),
    (b"\xff\xd8\xff", JPEG),
    (b"II*\x00", TIFF),
    (b"MM\x00*", TIFF),
)
BMP_HEADER_SIZES = {12, 16, 40, 52, 56, 64, 108, 124}
ISO_BRANDS = {b"avif": "an AVIF picture", b"avis": "an AVIF picture", b"heic": "a HEIC photo", b"heix": "a HEIC photo"}
OTHERS: tuple[tuple[bytes, str], ...] = (
    (b"GIF8", "a GIF picture"),
    (b"%PDF", "a PDF document"),
    (b"PK\x03\x04", "a ZIP archive or office document"),
    (b"<svg", "an SVG drawing"),
    (b"<?xml", "an XML or SVG file"),
    (b"<!doctype html", "a web page"),
    (b"\x1a\x45\xdf\xa3", "a video"),
)


def sniff(data: bytes) -> Accepted | None:
    """Return the accepted format whose signature starts `data`, or None."""
    for signature, accepted in SIGNATURES:
        if data.startswith(signature):
            return accepted
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return WEBP
    if data[:2] == b"BM" and int.from_bytes(data[14:18], "little") in BMP_HEADER_SIZES:
        return BMP
    return None


def name_of_other(data: bytes) -> str | None:
    """Return what an unaccepted file seems to be, for a sentence ("a PDF document"), or None."""
    if data[4:8] == b"ftyp":
        return ISO_BRANDS.get(data[8:12], "a video or HEIC photo")
    head = data[:64].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    for signature, name in OTHERS:
        if head.startswith(signature.lower()):
            return name
    return None
