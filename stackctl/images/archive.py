"""Images as files and as a table: save, load, list."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from stackctl.errors import StackctlError, UsageError
from stackctl.images import base, client, registry
from stackctl.images.builder import find, standing_references
from stackctl.images.catalogue import CATALOGUE, REPOSITORY, checked, startable
from stackctl.stack import Stack

Progress = Callable[[str, str], None]
OPTIONAL = "train"
"""What comes along where it is here, and is not missed where it is not."""


@dataclass(frozen=True)
class Listed:
    """One row of ``stackctl images list``.

    Attributes:
        name: the image's short name.
        title: what it holds.
        reference: its full name, or None when the engine lacks it in its present form.
        size: bytes on disk with the layers it shares, or None.
        created: when it was made (RFC 3339), or None.
        outdated: further images of that name that the engine has, made from earlier inputs.
    """

    name: str
    title: str
    reference: str | None
    size: int | None
    created: str | None
    outdated: tuple[str, ...]


def listing(stack: Stack | None = None) -> list[Listed]:
    """Return every image of ours: the base, then those of the catalogue.

    Raises:
        MissingPrerequisite: no engine answers.
    """
    wanted = base.base_reference(stack)
    standing = {"base": (wanted,), **standing_references(stack, CATALOGUE)}
    current = {name: references[0] if references else None for name, references in standing.items()}
    present = client.inspect([reference for reference in current.values() if reference])
    everything = all_references()
    rows = []
    for name, reference in current.items():
        found = present.get(reference) if reference else None
        rows.append(
            Listed(
                name=name,
                title="Debian with Python, under all others" if name == "base" else CATALOGUE[name].title,
                reference=reference if found else None,
                size=found.size if found else None,
                created=found.created if found else None,
                outdated=tuple(
                    other
                    for other in everything
                    if other.startswith(f"{REPOSITORY}/{name}:") and other not in standing[name]
                ),
            )
        )
    return rows


def save(stack: Stack | None, file: Path, names: Iterable[str], progress: Progress) -> list[str]:
    """Write the base and the named images into a tar file, for a machine without a network.

    Without names it is all that the stack can start, so that nothing is missed there; the image for training comes
    along where it is here.

    Returns:
        The references in it.

    Raises:
        StackctlError: one of them is not here yet.
    """
    references = _present_references(stack, tuple(names), progress)
    partial = file.with_name(f".{file.name}.partial")
    progress("images", f"writing {len(references)} images to {file}")
    file.parent.mkdir(parents=True, exist_ok=True)
    try:
        client.docker(["save", "--output", os.fspath(partial), *references])
        partial.replace(file)
    finally:
        partial.unlink(missing_ok=True)
    return references


def load(file: Path, progress: Progress) -> list[str]:
    """Read images from a file that ``save`` wrote and return their references.

    Raises:
        UsageError: there is no such file.
        ProcessFailed: it holds no images.
    """
    if not file.is_file():
        raise UsageError(f"There is no file {file}.")
    progress("images", f"reading {file}")
    said = client.docker(["load", "--input", os.fspath(file)]).stdout
    return [line.partition(": ")[2].strip() for line in said.splitlines() if line.startswith("Loaded image")]


def push(stack: Stack | None, target: str, names: Iterable[str], progress: Progress) -> list[str]:
    """Push the base and the named images (none: as for ``save``) to a registry and return their names there.

    Raises:
        UsageError: ``target`` is no registry's address.
        Unhealthy: no registry answers there.
        StackctlError: an image is not here yet, or the registry refuses it.
    """
    registry.checked(target)
    return registry.push(_present_references(stack, tuple(names), progress), target, progress)


def _present_references(stack: Stack | None, names: tuple[str, ...], progress: Progress) -> list[str]:
    found = find(stack, checked(names or (*startable(stack), OPTIONAL), stack))
    left_out = not names and found[OPTIONAL] is None
    if left_out:
        del found[OPTIONAL]
    if missing := [name for name, reference in found.items() if reference is None]:
        raise StackctlError(f"Not built yet: {', '.join(missing)}.", f"stackctl images build {' '.join(missing)}")
    if left_out:
        progress(OPTIONAL, f"is left out: it is not here (`stackctl images build {OPTIONAL}` makes it)")
    wanted = base.base_reference(stack)
    bases = [reference for reference in (wanted, base.DEFAULT_BASE) if client.inspect([reference])]
    return [*bases[:1], *(reference for reference in found.values() if reference)]


def all_references() -> list[str]:
    """Return the names of all images of ours that the engine has, of whatever age."""
    lines = client.docker(
        ["image", "ls", "--format", "{{.Repository}}:{{.Tag}}", "--filter", f"reference={REPOSITORY}/*"]
    ).stdout
    return [line for line in lines.splitlines() if not line.endswith(":<none>")]
