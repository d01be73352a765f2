"""What goes into an image, and the name that follows from it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

from stackctl import __version__, distribution
from stackctl.errors import StackctlError
from stackctl.images import client
from stackctl.images.catalogue import REPOSITORY, Image


@dataclass(frozen=True)
class Recipe:
    """Everything that decides what is in an image.

    Attributes:
        image: the image.
        base: the base image.
        folder: the build context.
        constraints: text of the pinned versions, empty for an image without Python of ours.
        requirements: what pip installs before this distribution.
        wheel: SHA-256 of this distribution's content, empty when it is not in the image.
    """

    image: Image
    base: client.Present
    folder: Path
    constraints: str = ""
    requirements: tuple[str, ...] = ()
    wheel: str = ""
    files: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, entry: Image, base_image: client.Present) -> Recipe:
        """Read the recipe of an image from this distribution."""
        folder = distribution.carried("compose") / entry.name
        if not (folder / "Dockerfile").is_file():
            raise StackctlError(f"This installation of stackctl lacks {entry.name}'s Dockerfile.", "Install it again.")
        files = {
            file.relative_to(folder).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest()
            for file in sorted(folder.rglob("*"))
            if file.is_file()
        }
        if not entry.carries_wheel:
            return cls(entry, base_image, folder, files=files)
        extra = distribution.requirements(entry.extra) if entry.extra else []
        return cls(
            entry,
            base_image,
            folder,
            constraints=distribution.carried("constraints.txt").read_text(),
            requirements=tuple(sorted({*distribution.core_requirements(), *extra})),
            wheel=distribution.content_hash(),
            files=files,
        )

    @property
    def digest(self) -> str:
        """SHA-256 over all of it: equal on every machine that has the same base and the same distribution."""
        total = hashlib.sha256()
        for part in (
            *(f"{path}\0{content}" for path, content in sorted(self.files.items())),
            *self.base.layers,
            self.constraints,
            *self.requirements,
            self.wheel,
        ):
            total.update(f"{part}\n".encode())
        return total.hexdigest()

    @property
    def software_version(self) -> str:
        """Version of what runs in the image, as a person knows it: of MLflow, or of this distribution."""
        pin = f"{self.image.software}=="
        pinned = (line.removeprefix(pin) for line in self.constraints.splitlines() if line.startswith(pin))
        return next(pinned, __version__)

    @property
    def reference(self) -> str:
        """The image's name: ``stackctl/NAME:VERSION-HASH12``."""
        return f"{REPOSITORY}/{self.image.name}:{__version__}-{self.digest[:12]}"
