"""The layer that ``serving.packages`` of a stack adds to the model server's image."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from stackctl import __version__, distribution
from stackctl.images.catalogue import REPOSITORY
from stackctl.stack import Stack

NAME = "serving-packages"
ON_LABEL = "stackctl.on"
"""Label that says which image of the model server the layer stands on."""


@dataclass(frozen=True)
class PackagesLayer:
    """Packages above one image of the model server.

    Attributes:
        serving: that image's name.
        packages: what pip installs, in the settings' words.
    """

    serving: str
    packages: tuple[str, ...]

    @classmethod
    def of(cls, stack: Stack | None, name: str, reference: str) -> PackagesLayer | None:
        """Return the layer that a stack wants above the image ``name``, or None."""
        wanted = stack.settings.serving.packages if stack is not None and name == "serving" else ()
        return cls(reference, tuple(sorted(set(wanted)))) if wanted else None

    @property
    def folder(self) -> Path:
        """The build context."""
        return distribution.carried("compose") / NAME

    @property
    def reference(self) -> str:
        """The image's name; another one for other packages, another model server, another way to install them."""
        parts = (self.serving, (self.folder / "Dockerfile").read_text(), *self.packages)
        digest = hashlib.sha256("\0".join(parts).encode()).hexdigest()
        return f"{REPOSITORY}/{NAME}:{__version__}-{digest[:12]}"


def refusals(output: Sequence[str]) -> list[str]:
    """Return what pip says in a build's output about packages that it cannot install."""
    said = (line.partition("ERROR: ")[2] for line in output if "ERROR: " in line and "/bin/sh" not in line)
    return list(dict.fromkeys(said))  # BuildKit says it twice
