"""What results are called: ``NAME_SUFFIX.EXT``, and never two of them the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import PurePosixPath

EXTENSIONS = {"png": ".png", "jpeg": ".jpg", "webp": ".webp", "tiff": ".tif", "bmp": ".bmp"}
_SPELLINGS = {".jpg": "jpeg", ".jpeg": "jpeg", ".tif": "tiff", ".tiff": "tiff", ".png": "png", ".webp": "webp"}


def stems(names: Sequence[str], suffix: str) -> dict[str, str]:
    """Return each image's result without its ending.

    ``a.jpg`` and ``a.png`` become ``a_jpg_SUFFIX`` and ``a_png_SUFFIX``: whatever format they get, no result overwrites
    another. The same names give the same results each time.
    """
    bare = {name: PurePosixPath(name).with_suffix("") for name in names}
    count = Counter(bare.values())
    chosen: dict[str, str] = {}
    taken: set[str] = set()
    for name in sorted(names, key=lambda name: (count[bare[name]] > 1, name)):
        stem = bare[name]
        if count[stem] > 1:
            stem = stem.with_name(f"{stem.name}_{PurePosixPath(name).suffix.removeprefix('.')}")
        result = f"{stem}_{suffix}" if suffix else str(stem)
        free, number = result, 2
        while free in taken:
            free, number = f"{result}_{number}", number + 1
        taken.add(free)
        chosen[name] = free
    return chosen


def extension(name: str, image_format: str) -> str:
    """Return the ending of a result: the input's own where it stands for the result's format, else the usual one."""
    own = PurePosixPath(name).suffix
    return own if _SPELLINGS.get(own.lower()) == image_format else EXTENSIONS.get(image_format, own)


def endings(name: str, image_format: str) -> list[str]:
    """Return the endings that a result may get: with ``auto`` any, as a file may hold another format than it says."""
    formats = EXTENSIONS if image_format == "auto" else (image_format,)
    own = [PurePosixPath(name).suffix] if image_format == "auto" else []
    return list(dict.fromkeys([*own, *(extension(name, each) for each in formats)]))


def format_of(name: str) -> str | None:
    """Return the format that a file name's ending stands for, or None."""
    return _SPELLINGS.get(PurePosixPath(name).suffix.lower())
