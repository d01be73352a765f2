"""Deleting images that earlier versions of their inputs left behind."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from stackctl.images import client
from stackctl.images.archive import all_references
from stackctl.images.builder import LABEL, standing_references
from stackctl.images.catalogue import CATALOGUE, REPOSITORY
from stackctl.images.packages import NAME as PACKAGES
from stackctl.images.packages import ON_LABEL
from stackctl.stack import Stack

Progress = Callable[[str, str], None]


@dataclass(frozen=True)
class Pruned:
    """What was deleted (or would be), and what is outdated and was kept because containers use it."""

    deleted: tuple[str, ...]
    in_use: tuple[str, ...]


def prune(stack: Stack | None, progress: Progress, *, dry_run: bool = False) -> Pruned:
    """Delete images of ours that are neither of the present form nor used by any container, running or not.

    The base image and the one that MinIO is built in stay. An image with packages of any stack stays as long as the
    model server's image that it stands on is of the present form.

    Raises:
        MissingPrerequisite: no engine answers.
    """
    client.require_engine()
    outdated = _outdated(stack)
    used = _used_by_containers()
    in_use = [reference for reference, identity in outdated.items() if identity in used]
    deleted = []
    for reference in outdated:
        if reference in in_use:
            continue
        if not dry_run:
            progress(reference, "deleting")
            if client.docker(["rmi", reference], check=False).returncode != 0:  # a container began to use it
                in_use.append(reference)
                continue
        deleted.append(reference)
    return Pruned(tuple(deleted), tuple(in_use))


def _outdated(stack: Stack | None) -> dict[str, str]:
    """Return outdated images: name (id, where an image lost its name) to id; those that stand on others first."""
    standing = {
        reference
        for of in (stack, None)
        for references in standing_references(of, CATALOGUE).values()
        for reference in references
    }
    if not standing:  # no base image: nothing tells what the present form is
        return {}
    names = (PACKAGES, *CATALOGUE)
    ours = [reference for reference in all_references() if _short(reference) in names and reference not in standing]
    present = client.inspect(ours)
    outdated = {
        reference: found.id
        for reference, found in present.items()
        if _short(reference) != PACKAGES or found.labels.get(ON_LABEL) not in standing
    }
    ordered = dict(sorted(outdated.items(), key=lambda item: names.index(_short(item[0]))))
    return {**ordered, **{identity: identity for identity in _nameless(names)}}


def _nameless(names: Sequence[str]) -> list[str]:
    """Return the ids of images of ours whose name a later build took over."""
    lines = client.docker(["image", "ls", "--quiet", "--no-trunc", "--filter=dangling=true", f"--filter=label={LABEL}"])
    found = client.inspect(lines.stdout.split())
    return [identity for identity, image in found.items() if image.labels.get(LABEL, "") in names]


def _used_by_containers() -> set[str]:
    containers = client.docker(["ps", "--all", "--quiet", "--no-trunc"]).stdout.split()
    if not containers:
        return set()
    said = client.docker(["inspect", "--type=container", "--format={{json .Image}}", *containers], check=False).stdout
    return {json.loads(line) for line in said.splitlines() if line.strip()}


def _short(reference: str) -> str:
    return reference.removeprefix(f"{REPOSITORY}/").partition(":")[0]
