"""Upscale an image or a folder of images through the stack's model server: the same path that users' requests take."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from stackctl.errors import StackctlError, Unhealthy, UsageError
from stackctl.stack import Stack

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp"})
EXTENSIONS = {"png": ".png", "jpeg": ".jpg", "webp": ".webp", "tiff": ".tif", "bmp": ".bmp"}


@dataclass(frozen=True)
class Upscaled:
    """One input: where its result is and which version made it, or why there is none."""

    source: Path
    result: Path | None
    version: str | None
    error: str | None = None


def upscale(
    stack: Stack, source: Path, target: Path, *, outscale: float = 0.0, suffix: str = "out", image_format: str = "auto"
) -> Iterator[Upscaled]:
    """Send every image of ``source`` (a file, or a folder with its subfolders) to the model server, one by one.

    A result appears under its final name only when it is complete. An image that fails does not stop the others.

    Raises:
        UsageError: there is no image in ``source``.
        Unhealthy: the model server cannot be reached.
    """
    from stackctl.serving.client import ModelServerClient

    client = ModelServerClient(stack.endpoints.serving)
    for image in images_in(source):
        folder = target / (image.parent.relative_to(source) if source.is_dir() else Path())
        try:
            served = client.upscale(image.read_bytes(), outscale=outscale, format=image_format)
        except Unhealthy:
            raise
        except StackctlError as error:
            yield Upscaled(image, None, None, error.message)
            continue
        result = folder / (f"{image.stem}_{suffix}" if suffix else image.stem)
        result = result.with_name(result.name + EXTENSIONS.get(served.content_type.partition("/")[2], image.suffix))
        write_atomically(result, served.data)
        yield Upscaled(image, result, served.version)


def images_in(source: Path) -> list[Path]:
    """Return the images in a folder and its subfolders, sorted; or ``source`` itself.

    Raises:
        UsageError: there is none.
    """
    if source.is_file():
        return [source]
    found = sorted(file for file in source.rglob("*") if file.suffix.lower() in SUFFIXES and file.is_file())
    if not found:
        raise UsageError(f"There is no image in {source}.", f"Images end in {', '.join(sorted(SUFFIXES))}.")
    return found


def write_atomically(file: Path, data: bytes) -> None:
    """Write ``data`` so that ``file`` is either absent (or old) or complete, also after a crash."""
    file.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=file.parent, prefix=".partial-")
    try:
        with os.fdopen(descriptor, "wb") as handle:
            handle.write(data)
            handle.flush()
            os.fsync(handle.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(file)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
