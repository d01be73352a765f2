"""What results are called: ``NAME_SUFFIX.EXT``, and never two of them the same."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import count, groupby
from pathlib import PurePosixPath

EXTENSIONS = {"png": ".png", "jpeg": ".jpg", "webp": ".webp", "tiff": ".tif", "bmp": ".bmp"}
_SPELLINGS = {".jpg": "jpeg", ".jpeg": "jpeg", ".tif": "tiff", ".tiff": "tiff", ".png": "png", ".webp": "webp"}


def stems(names: Iterable[str], suffix: str) -> dict[str, str]:
    """Return each image's result without its ending.

    ``a.jpg`` and ``a.png`` become ``a_jpg_SUFFIX`` and ``a_png_SUFFIX``: whatever format they get, no result overwrites
    another. The same names give the same results each time.
    """
    pairs = sorted((bare(name), name) for name in names)
    chosen: dict[str, str] = {}
    taken: set[str] = set()

    def take(name: str, stem: str) -> bool:
        if stem in taken:
            return False
        taken.add(stem)
        chosen[name] = stem
        return True

    assign(lambda: pairs, suffix, take)
    return chosen


def assign(pairs: Callable[[], Iterable[tuple[str, str]]], suffix: str, take: Callable[[str, str], bool]) -> None:
    """Give every new name the first of its wishes that is free.

    Args:
        pairs: called twice; yields (name without its ending, name), sorted.
        suffix: with or without an underscore in front, which means the same.
        take: called with a name and what its result may be called; returns whether that was free, and keeps it then.
    """
    for alone in (True, False):  # who shares its stem with nobody has the first choice
        for _, same in groupby(pairs(), key=lambda pair: pair[0]):
            group = list(same)
            if (len(group) == 1) is alone:
                for stem, name in group:
                    next(wish for wish in _wishes(stem, name, suffix, alone=alone) if take(name, wish))


def bare(name: str) -> str:
    """Return a name without its ending."""
    return name.removesuffix(PurePosixPath(name).suffix)


def tail(suffix: str) -> str:
    """Return what a suffix puts behind a name: ``out`` and ``_out`` mean the same."""
    suffix = suffix.removeprefix("_")
    return f"_{suffix}" if suffix else ""


def _wishes(stem: str, name: str, suffix: str, *, alone: bool) -> Iterator[str]:
    """Yield what the result of ``name`` may be called, without its ending, the best first and without end."""
    if alone:
        yield stem + tail(suffix)
    own = PurePosixPath(name).suffix.removeprefix(".")
    result = (f"{stem}_{own}" if own else stem) + tail(suffix)
    yield result
    for number in count(2):
        yield f"{result}_{number}"


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
