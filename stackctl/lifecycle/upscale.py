"""Upscale an image or a folder of images through the stack's model server: the same path that users' requests take."""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Protocol

from stackctl.errors import StackctlError, Unhealthy, UsageError
from stackctl.stack import Stack

if TYPE_CHECKING:
    from stackctl.store.urls import ObjectStore

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp"})
EXTENSIONS = {"png": ".png", "jpeg": ".jpg", "webp": ".webp", "tiff": ".tif", "bmp": ".bmp"}


@dataclass(frozen=True)
class Upscaled:
    """One input: where its result is and which version made it, or why there is none."""

    source: str
    result: str | None
    version: str | None
    error: str | None = None


class Place(Protocol):
    """A folder of images, on this machine or in the object store."""

    def names(self) -> list[str]:
        """Return the images below it, as relative POSIX paths, sorted."""
        ...

    def read(self, name: str) -> bytes:
        """Return one image's bytes."""
        ...

    def write(self, name: str, data: bytes) -> None:
        """Write one image; a reader sees all of it or nothing."""
        ...

    def full(self, name: str) -> str:
        """Return a name as a person would write it."""
        ...


def upscale(
    stack: Stack, source: str, target: str, *, outscale: float = 0.0, suffix: str = "out", image_format: str = "auto"
) -> Iterator[Upscaled]:
    """Send every image of ``source`` to the model server, one by one; an image that fails does not stop the others.

    Args:
        stack: whose model server, and whose object store for ``s3://`` URLs.
        source: an image, a folder (with its subfolders), or ``s3://BUCKET/PREFIX``.
        target: a folder or ``s3://BUCKET/PREFIX``.
        outscale: size of a result over the size of its input; 0 is the network's own scale.
        suffix: results are named ``NAME_suffix``.
        image_format: encoding of the results; ``auto`` keeps that of the input.

    Raises:
        UsageError: there is no image in ``source``.
        Unhealthy: the model server cannot be reached.
    """
    from stackctl.serving.client import ModelServerClient

    inbound, outbound = place_of(stack, source), place_of(stack, target)
    names = inbound.names()
    if not names:
        raise UsageError(f"There is no image in {source}.", f"Images end in {', '.join(sorted(SUFFIXES))}.")
    shared = Counter(PurePosixPath(name).with_suffix("") for name in names)
    with ModelServerClient(stack.endpoints.serving) as server:
        for name in names:
            try:
                served = server.upscale(inbound.read(name), outscale=outscale, format=image_format)
            except Unhealthy:
                raise
            except StackctlError as error:
                yield Upscaled(inbound.full(name), None, None, error.message)
                continue
            extension = EXTENSIONS.get(served.content_type.partition("/")[2], PurePosixPath(name).suffix)
            stem = PurePosixPath(name).with_suffix("")
            if shared[stem] > 1:  # a.jpg and a.png must not end in the same file
                stem = stem.with_name(f"{stem.name}_{PurePosixPath(name).suffix.removeprefix('.')}")
            result = f"{stem}_{suffix}{extension}" if suffix else f"{stem}{extension}"
            outbound.write(result, served.data)
            yield Upscaled(inbound.full(name), outbound.full(result), served.version)


def place_of(stack: Stack, where: str) -> Place:
    """Return the place that a path or an ``s3://`` URL means on this stack."""
    if where.startswith("s3://"):
        from stackctl.store.urls import open_store

        return Objects(open_store(stack, where))
    return Files(Path(where))


@dataclass(frozen=True)
class Files:
    """Images in a folder of this machine, or a single file."""

    root: Path

    def names(self) -> list[str]:
        """Return the images below the folder; a single file is its own only image."""
        if self.root.is_file():
            return [self.root.name]
        found = (file for file in self.root.rglob("*") if file.suffix.lower() in SUFFIXES and file.is_file())
        return sorted(file.relative_to(self.root).as_posix() for file in found)

    def read(self, name: str) -> bytes:
        """Return one image's bytes."""
        try:
            return (self.root if self.root.is_file() else self.root / name).read_bytes()
        except OSError as error:
            raise StackctlError(f"It cannot be read: {error.strerror}.") from error

    def write(self, name: str, data: bytes) -> None:
        """Write a file that is absent (or old) or complete, also after a crash."""
        file = self.root / name
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            descriptor, temporary = tempfile.mkstemp(dir=file.parent, prefix=".partial-")
        except OSError as error:
            raise UsageError(f"{file.parent} cannot be written: {error.strerror}.", "Choose another folder.") from error
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

    def full(self, name: str) -> str:
        """Return the file's path."""
        return str(self.root if self.root.is_file() else self.root / name)


@dataclass(frozen=True)
class Objects:
    """Images under an ``s3://`` URL."""

    store: ObjectStore

    def names(self) -> list[str]:
        """Return the keys of the images below the URL."""
        return sorted(found.key for found in self.store.list() if PurePosixPath(found.key).suffix.lower() in SUFFIXES)

    def read(self, name: str) -> bytes:
        """Return one image's bytes."""
        return self.store.get(name)

    def write(self, name: str, data: bytes) -> None:
        """Write one object."""
        self.store.put(name, data)

    def full(self, name: str) -> str:
        """Return the object's URL."""
        return f"{self.store.url}/{name}"
