"""What a snapshot holds: every file with its SHA-256, and what it was taken of."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from stackctl.backup.closure import Closure
from stackctl.errors import StackctlError

SCHEMA = 1
FILE = "manifest.json"
HEADER = "snapshot.json"
OWN_FILES = frozenset({FILE, HEADER})
"""Files of a snapshot that are not in its manifest."""


class Entry(NamedTuple):
    """One file: the SHA-256 of its content in hex, and its bytes."""

    sha256: str
    size: int


@dataclass(frozen=True)
class Manifest:
    """The contents of a snapshot.

    Attributes:
        files: POSIX path below the snapshot to SHA-256 and bytes; names that are not UTF-8 hold lone surrogates.
        links: symbolic links: path to where they lead.
        parts: what was taken, by part, and what was left out and why.
        versions: versions of everything the snapshot was taken with, MLflow's schema revision among them.
        counts: files and bytes of each part, of all (``total``), and of those that the one before lacks (``new``).
        closure: whether every model version is complete.
    """

    files: Mapping[str, Entry]
    links: Mapping[str, str] = field(default_factory=dict)
    parts: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, Any] = field(default_factory=dict)
    counts: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    closure: Closure = field(default_factory=Closure)

    @classmethod
    def load(cls, file: Path) -> Manifest:
        """Read a manifest.

        Raises:
            StackctlError: it is not there, or no manifest.
        """
        try:
            return cls.parse(json.loads(file.read_bytes()))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise StackctlError(
                f"The manifest {file} cannot be read: {error}.", "Look at it with `stackctl backup verify`."
            ) from error

    @classmethod
    def parse(cls, document: Mapping[str, Any]) -> Manifest:
        """Return the manifest that a document of ``to_dict`` describes."""
        if document["schema_version"] != SCHEMA:
            raise ValueError(f"it has the schema version {document['schema_version']}, this stackctl knows {SCHEMA}")
        return cls(
            {str(path): Entry(str(sha256), int(size)) for path, (sha256, size) in document["files"].items()},
            dict(document["links"]),
            dict(document["parts"]),
            dict(document["versions"]),
            dict(document["counts"]),
            Closure.parse(document["closure"]),
        )

    def to_dict(self) -> dict[str, Any]:
        """Return it as a JSON document."""
        return {
            "schema_version": SCHEMA,
            "parts": dict(self.parts),
            "versions": dict(self.versions),
            "counts": {name: dict(count) for name, count in self.counts.items()},
            "closure": self.closure.to_dict(),
            "links": dict(sorted(self.links.items())),
            "files": {path: list(entry) for path, entry in sorted(self.files.items())},
        }

    def below(self, prefix: str) -> dict[str, str]:
        """Return the SHA-256 of the files below a folder of the snapshot, by their path below it."""
        start = prefix.rstrip("/") + "/"
        return {path[len(start) :]: entry.sha256 for path, entry in self.files.items() if path.startswith(start)}


def sha256_of(file: Path) -> str:
    """Return the SHA-256 of a file's content, in hex."""
    with file.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
