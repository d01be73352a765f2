"""Where images lie and where results go: a folder, a single file, or the stack's object store."""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Protocol

from stackctl.errors import StackctlError, UsageError

if TYPE_CHECKING:
    from stackctl.stack import Stack
    from stackctl.store.urls import ObjectStore

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp"})
OTHER_IMAGES = frozenset(
    {".gif", ".avif", ".heic", ".heif", ".jp2", ".jxl", ".jfif", ".ico", ".psd", ".svg", ".tga", ".ppm", ".exr"}
)
"""Endings of images that are neither read nor written."""
PARTIAL = ".partial-"


class CannotWrite(UsageError):
    """Results cannot be written: the folder is none, not writable, or full."""


class Place(Protocol):
    """A folder of images, on this machine or in the object store."""

    def names(self) -> list[str]:
        """Return the images below it, as relative POSIX paths, sorted."""
        ...

    def read(self, name: str) -> bytes:
        """Return one image's bytes.

        Raises:
            StackctlError: it cannot be read.
        """
        ...

    def write(self, name: str, data: bytes) -> None:
        """Write one image; a reader sees all of it or nothing.

        Raises:
            CannotWrite: it cannot be written.
        """
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


@dataclass(frozen=True)
class Files:
    """Images in a folder of this machine, or a single file.

    Attributes:
        root: the folder or the file.
    """

    root: Path

    def names(self) -> list[str]:
        """Return the images below the folder; a single file is its own only image."""
        if self.root.is_file():
            return [self.root.name]
        found = (file for file in self.root.rglob("*") if file.suffix.lower() in SUFFIXES and file.is_file())
        return sorted(file.relative_to(self.root).as_posix() for file in found if not file.name.startswith(PARTIAL))

    def read(self, name: str) -> bytes:
        """Return one image's bytes."""
        try:
            return self.path(name).read_bytes()
        except OSError as error:
            raise StackctlError(f"It cannot be read: {error.strerror}.") from error

    def write(self, name: str, data: bytes) -> None:
        """Write a file that is absent (or old) or complete, also after a crash."""
        write_file(self.root / name, data)

    def path(self, name: str) -> Path:
        """Return where an image lies."""
        return self.root if self.root.is_file() else self.root / name

    def full(self, name: str) -> str:
        """Return the file's path."""
        return str(self.path(name))

    def base(self) -> str:
        """Return the real path of the folder or the file."""
        return os.path.realpath(self.root)

    def where(self, name: str) -> str:
        """Return the real folder and the name in it: a link there is itself replaced, not what it points to."""
        path = self.path(name)
        return str(Path(os.path.realpath(path.parent)) / path.name)

    def replaceable(self, name: str) -> set[str]:
        """Return the file and, where it is a link, what it points to."""
        return {self.where(name), os.path.realpath(self.path(name))}


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

    def base(self) -> str:
        """Return the URL."""
        return self.store.url.rstrip("/")

    def where(self, name: str) -> str:
        """Return the object's URL."""
        return f"{self.base()}/{name}"

    def replaceable(self, name: str) -> set[str]:
        """Return the object's URL."""
        return {self.where(name)}


def objects(stack: Stack, url: str) -> Objects:
    """Return the place that an ``s3://`` URL means on a stack."""
    from stackctl.store.urls import open_store

    return Objects(open_store(stack, url))


def is_url(where: str) -> bool:
    """Return whether a place is in the object store."""
    return where.startswith("s3://")


def write_file(file: Path, data: bytes) -> None:
    """Write a file that is absent (or old) or complete, also after a crash.

    Raises:
        CannotWrite: the file cannot be written; nothing is left of it.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        temporary = file.parent / f"{PARTIAL}{secrets.token_hex(8)}"
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)  # less the umask
    except OSError as error:
        raise CannotWrite(f"{file.parent} cannot be written: {error.strerror}.", "Choose another folder.") from error
    try:
        with os.fdopen(descriptor, "wb") as handle:
            handle.write(data)
            handle.flush()
            os.fsync(handle.fileno())
        temporary.replace(file)
    except OSError as error:
        raise CannotWrite(f"{file} cannot be written: {error.strerror}.", "Choose another folder.") from error
    finally:
        temporary.unlink(missing_ok=True)
