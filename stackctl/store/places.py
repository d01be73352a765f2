"""Where images lie and where results go: a folder, a single file, or the stack's object store."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from stackctl.stack import Stack
    from stackctl.store.objects import Objects

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp"})
OTHER_IMAGES = frozenset(
    {".gif", ".avif", ".heic", ".heif", ".jp2", ".jxl", ".jfif", ".ico", ".psd", ".svg", ".tga", ".ppm", ".exr"}
)
"""Endings of images that are neither read nor written."""
HOST = ".host"
"""Hidden prefix of a bucket for copies of images of folders, while a batch works on them; no snapshot has them."""


@dataclass(frozen=True, slots=True)
class Listed:
    """An image as a place lists it.

    Attributes:
        name: its POSIX path below the place.
        size: bytes.
        stamp: another one once the content was replaced: a file's time of change in nanoseconds, an object's ETag.
    """

    name: str
    size: int
    stamp: str


class Place(Protocol):
    """A folder of images, on this machine or in the object store."""

    @property
    def url(self) -> str:
        """What a person calls the place."""
        ...

    def names(self) -> list[str]:
        """Return the names of the images below it, sorted."""
        ...

    def list(self, unreadable: Callable[[str], None] | None = None) -> Iterator[Listed]:
        """Yield the images below it as they are found; what is hidden or half written is none.

        Args:
            unreadable: told in a sentence of each folder or image that is left out because it cannot be read; without
                it that raises.

        Raises:
            StoreGone: it does not answer.
            StackctlError: it, or a part of it, cannot be read.
        """
        ...

    def read(self, name: str) -> bytes:
        """Return one image's bytes.

        Raises:
            NotFound: there is none of this name.
            StoreGone: the place does not answer.
            StackctlError: it cannot be read.
        """
        ...

    def write(self, name: str, data: bytes) -> Listed:
        """Write one image; a reader sees all of it or nothing, and it is safe when this returns.

        Raises:
            NoSpace: there is no room.
            StoreGone: the place does not answer.
            CannotWrite: it cannot be written.
        """
        ...

    def stat(self, name: str) -> Listed | None:
        """Return an image as it is listed; None where there is none.

        Raises:
            StoreGone: the place does not answer.
        """
        ...

    def delete(self, name: str) -> None:
        """Delete an image; one that is not there is fine.

        Raises:
            StoreGone: the place does not answer.
            CannotWrite: it cannot be deleted.
        """
        ...

    def sweep(self) -> int:
        """Delete what writers that were killed left half written, and return how much that was."""
        ...

    def full(self, name: str) -> str:
        """Return a name as a person would write it."""
        ...

    def base(self) -> str:
        """Return what the place is, whatever it was called by: two that are the same place are equal."""
        ...

    def where(self, name: str) -> str:
        """Return what writing ``name`` replaces."""
        ...

    def replaceable(self, name: str) -> set[str]:
        """Return all places where writing would change what reading ``name`` gives."""
        ...


def is_image(name: str) -> bool:
    """Return whether a path is that of an image: by its ending, and neither it nor a folder above it is hidden."""
    path = PurePosixPath(name)
    return path.suffix.lower() in SUFFIXES and not any(part.startswith(".") for part in path.parts)


def is_url(where: str) -> bool:
    """Return whether a place is in the object store."""
    return where.startswith("s3://")


def open_place(where: str, stack: Stack | None) -> Place:
    """Return the place that a folder's path or an ``s3://`` URL means; where the store is a folder, that folder.

    Raises:
        UsageError: it is no such URL, or there is no stack to ask for it.
    """
    from stackctl.store.files import Files

    if not is_url(where):
        return Files(Path(where))
    if stack is None:
        from stackctl.errors import UsageError

        raise UsageError(f"{where} is in a stack's object store.", "Name the stack: stackctl -C STACK …")
    if stack.endpoints.store:
        return objects(stack, where)
    from stackctl.store.urls import bucket_folder, open_store

    url = open_store(stack, where).url
    bucket, _, prefix = url.removeprefix("s3://").partition("/")
    folder = bucket_folder(stack, bucket) / prefix
    folder.mkdir(parents=True, exist_ok=True)
    return Files(folder, url)


def objects(stack: Stack, url: str) -> Objects:
    """Return the objects that an ``s3://`` URL means on a stack, behind the store's own door."""
    from stackctl.store.objects import Objects
    from stackctl.store.urls import open_store

    return Objects(open_store(stack, url))
