"""What an image is, read from its header alone and before anything is decoded."""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .errors import AnimatedImage, CorruptImage, ImageTooLarge, ImagingError, UnsupportedFormat
from .integrity import png_chunks, png_part
from .options import FORMATS, Format, Limits
from .tiff_header import ASSOCIATED, BITS, EXTRA, SAMPLES, UNASSOCIATED, Directory, check_tiff, read_directory

if TYPE_CHECKING:
    from PIL import Image

_SIGNATURES: tuple[tuple[bytes, Format], ...] = (
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"\xff\xd8\xff", "jpeg"),
    (b"RIFF", "webp"),
    (b"II*\0", "tiff"),
    (b"MM\0*", "tiff"),
    (b"II+\0", "tiff"),
    (b"MM\0+", "tiff"),
    (b"BM", "bmp"),
)
_MODES = {
    **dict.fromkeys(("1", "L"), ("grey", 8)),
    **dict.fromkeys(("LA", "La"), ("grey_alpha", 8)),
    **dict.fromkeys(("RGB", "RGBX", "P", "CMYK", "YCbCr"), ("rgb", 8)),
    **dict.fromkeys(("RGBA", "RGBa", "PA"), ("rgba", 8)),
    **dict.fromkeys(("I;16", "I;16B", "I;16L", "I;16N"), ("grey", 16)),
}
CHANNELS = {"grey": 1, "grey_alpha": 2, "rgb": 3, "rgba": 4}
_PNG_KINDS = {0: "grey", 2: "rgb", 4: "grey_alpha", 6: "rgba"}
_ORIENTATION = 0x0112
_TURNED = frozenset({5, 6, 7, 8})
_ICC_TAG = 34675
_MOST_CHUNKS_BEFORE_ROWS = 5_000


@dataclass(frozen=True)
class ImageInfo:
    """What the header says.

    Attributes:
        format: png, jpeg, webp, tiff or bmp, by content.
        width: in pixels, as seen (after the EXIF orientation).
        height: in pixels, as seen.
        mode: `grey`, `grey_alpha`, `rgb` or `rgba`: what the pixels become when decoded.
        source_mode: the file's own mode, for example `P` or `CMYK`.
        bit_depth: 8 or 16, of what is decoded.
        orientation: EXIF orientation, 1 to 8.
        has_icc: an ICC profile is embedded.
        has_exif: EXIF data are embedded.
    """

    format: Format
    width: int
    height: int
    mode: str
    source_mode: str
    bit_depth: int
    orientation: int = 1
    has_icc: bool = False
    has_exif: bool = False

    @property
    def channels(self) -> int:
        """Return the number of channels when decoded, alpha included."""
        return CHANNELS[self.mode]

    @property
    def has_alpha(self) -> bool:
        """Return whether the decoded pixels have an alpha channel."""
        return self.mode in {"grey_alpha", "rgba"}


def probe(data: bytes, limits: Limits | None = None) -> ImageInfo:
    """Return what the header says about encoded image bytes; no pixel is decoded.

    Raises:
        ImageTooLarge: more bytes or input pixels than the limits allow.
        UnsupportedFormat: not an accepted format, colour model or depth; animated or of several pages.
        CorruptImage: the header cannot be read.
    """
    limits = limits or Limits()
    if len(data) > limits.max_bytes:
        raise ImageTooLarge(f"The image has {len(data):,} bytes; at most {limits.max_bytes:,} are accepted.")
    kind = sniff(data)
    if kind == "png":
        _check_png_header(data)
    directory = read_directory(data) if kind == "tiff" else None
    if directory:
        check_tiff(directory)
    image = open_lazily(data, kind)
    try:
        return _describe(image, kind, data, limits, directory)
    except ImagingError:
        raise
    except Exception as error:  # a header whose fields contradict their own types
        raise CorruptImage(f"The {kind} header cannot be read: {error}") from error


def _describe(image: Image.Image, kind: Format, data: bytes, limits: Limits, directory: Directory | None) -> ImageInfo:
    width, height = _stored_size(image)
    if width < 1 or height < 1:
        raise CorruptImage(f"The {kind} header gives a size of {width}×{height}.")
    if width * height > limits.max_input_pixels:
        raise ImageTooLarge(f"The image has {width}×{height} pixels; at most {limits.max_input_pixels:,} are accepted.")
    # A JPEG with more pictures (MPO) says which one is the image: the first. A TIFF's pages were counted before.
    frames = int(getattr(image, "n_frames", 1)) if kind in {"png", "webp"} else 1
    if frames > 1:
        raise AnimatedImage(f"The {kind} image has {frames} frames; exactly one is accepted.")
    mode, depth = _pixels(image, kind, data, directory)
    orientation = orientation_of(image, data)
    if orientation in _TURNED:
        width, height = height, width
    return ImageInfo(
        format=kind,
        width=width,
        height=height,
        mode=mode,
        source_mode=image.mode,
        bit_depth=depth,
        orientation=orientation,
        has_icc=bool(image.info.get("icc_profile")) or _tiff_has(image, _ICC_TAG),
        has_exif=(png_part(data, b"eXIf") is not None if kind == "png" else "exif" in image.info)
        or (kind == "tiff" and bool(image.getexif().get_ifd(0x8769))),
    )


def sniff(data: bytes) -> Format:
    """Return the format that the first bytes announce.

    Raises:
        CorruptImage: no bytes, or too few to tell.
        UnsupportedFormat: none of the accepted formats.
    """
    if not data:
        raise CorruptImage("The image is empty (0 bytes).")
    for signature, kind in _SIGNATURES:
        if data.startswith(signature):
            if kind == "webp" and data[8:12] != b"WEBP":
                if len(data) < 12:
                    raise CorruptImage("The image ends within its first 12 bytes.")
                break
            return kind
        if signature.startswith(data):
            raise CorruptImage(f"The image ends after {len(data)} bytes.")
    raise UnsupportedFormat(f"This is not an image of an accepted format ({', '.join(FORMATS)}).")


def open_lazily(data: bytes, kind: Format) -> Image.Image:
    """Return Pillow's view of the image, whose pixels are not decoded yet.

    Raises:
        CorruptImage: the header cannot be read.
        ImageTooLarge: it announces more pixels than Pillow itself would ever decode.
    """
    from PIL import Image

    try:
        return Image.open(io.BytesIO(data), formats=[kind.upper()])
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageTooLarge(f"The {kind} header announces too many pixels: {error}") from error
    except Exception as error:  # whatever a decoder raises on broken bytes means that they are broken
        raise CorruptImage(f"The {kind} header cannot be read: {error}") from error


def _pixels(image: Image.Image, kind: Format, data: bytes, directory: Directory | None) -> tuple[str, int]:
    """Return (mode, bit depth) of what decoding gives."""
    if kind == "png":
        depth, colour = struct.unpack_from(">BB", data, 24)
        if depth == 16:
            mode = _PNG_KINDS.get(colour)
            if mode is None:
                raise CorruptImage(f"The png header names colour type {colour} with 16 bits.")
            return (mode + "_alpha" if mode == "grey" else "rgba") if _keyed(image, mode) else mode, 16
    if directory and image.mode in {"RGB", "RGBA", "RGBX"} and (deep := _deep_tiff(directory)) is not None:
        return deep
    if image.mode not in _MODES:
        raise UnsupportedFormat(f"The {kind} image has colour model {image.mode}, which is not accepted.")
    mode, depth = _MODES[image.mode]
    if "transparency" in image.info and mode in {"grey", "rgb"}:
        mode = "grey_alpha" if mode == "grey" else "rgba"
    return mode, depth


def _keyed(image: Image.Image, mode: str) -> bool:
    return "transparency" in image.info and mode in {"grey", "rgb"}


def _deep_tiff(directory: Directory) -> tuple[str, int] | None:
    """Return (mode, 16) of RGB with 16 bits per sample, None for the others."""
    if directory.one(BITS, 1) != 16:
        return None
    alpha = directory.one(SAMPLES, 1) == 4 and directory.one(EXTRA, 0) in {ASSOCIATED, UNASSOCIATED}
    return ("rgba" if alpha else "rgb"), 16


def _check_png_header(data: bytes) -> None:
    """Refuse a PNG without header or needed palette, or with so many parts that reading them would take long."""
    if data[12:16] != b"IHDR" or len(data) < 33:
        raise CorruptImage("The png header cannot be read: it is not the first part.")
    names = set()
    for number, (name, _, _) in enumerate(png_chunks(data)):
        names.add(name)
        if name == b"IDAT":
            break
        if number > _MOST_CHUNKS_BEFORE_ROWS:
            raise CorruptImage(f"The png image has more than {_MOST_CHUNKS_BEFORE_ROWS:,} parts before its rows.")
    if data[25] == 3 and b"PLTE" not in names:
        raise CorruptImage("The png image has no palette.")


def orientation_of(image: Image.Image, data: bytes) -> int:
    """Return the EXIF orientation (1 to 8) that still has to be applied to the image that these bytes are.

    Of a PNG the chunk alone counts: Pillow would decode the pixels in search of it.
    """
    try:
        value = (_png_exif(data) if image.format == "PNG" else image.getexif()).get(_ORIENTATION, 1)
    except Exception:  # noqa: BLE001  # EXIF that cannot be read does not make the picture wrong
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _png_exif(data: bytes) -> Image.Exif:
    from PIL import Image

    exif = Image.Exif()
    exif.load(png_part(data, b"eXIf") or b"")
    return exif


def _stored_size(image: Image.Image) -> tuple[int, int]:
    """Return (width, height) before the orientation; Pillow gives those of a TIFF after it."""
    tags: Any = getattr(image, "tag_v2", {})
    return (int(tags[256]), int(tags[257])) if 256 in tags and 257 in tags else image.size


def _tiff_has(image: Image.Image, tag: int) -> bool:
    return tag in getattr(image, "tag_v2", {})
