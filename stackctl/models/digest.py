"""The digest of a model version: what is served is what was logged.

It is SHA-256 over one line for each logged file, sorted by path: its path, a zero byte, the SHA-256 of its content in
hex, a newline. Paths are relative to the version's folder, with ``/``. MLflow's own ``registered_model_meta`` is left
out: the client writes it into a folder while downloading.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

PREFIX = "sha256:"
NOT_LOGGED = frozenset({"registered_model_meta"})
_CHUNK = 1 << 20


def digest_of_folder(folder: Path) -> str:
    """Return ``sha256:<hex>`` over a downloaded model version.

    Take it before anything is loaded from the folder: Python leaves ``__pycache__`` in folders it imports from, and a
    file that was not logged is a difference, on purpose. A link counts with the content it leads to.
    """
    return digest_of_files(
        {
            file.relative_to(folder).as_posix(): _sha256(file)
            for file in folder.rglob("*")
            if file.is_file() and file.relative_to(folder).as_posix() not in NOT_LOGGED
        }
    )


def digest_of_files(files: Mapping[str, str]) -> str:
    """Return the digest over ``{path: SHA-256 in hex}``."""
    total = hashlib.sha256()
    for path in sorted(files):
        total.update(f"{path}\0{files[path]}\n".encode())
    return f"{PREFIX}{total.hexdigest()}"


def _sha256(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as handle:
        while chunk := handle.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
