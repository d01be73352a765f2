"""The Docker client: the ``docker`` command, and what its failures mean."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from stackctl import process
from stackctl.errors import MissingPrerequisite

ANSWER_SECONDS = 15.0
"""A client whose daemon is half dead waits for ever; an engine that answers does it within this time."""

NO_ENGINE_HINT = (
    "Install or start Docker (`sudo systemctl start docker`), or choose the engine without it: "
    "set `engine: local` in stack.yaml."
)


@dataclass(frozen=True)
class Present:
    """An image that the engine has.

    Attributes:
        reference: the name it was asked for.
        id: the engine's id of it.
        size: bytes on disk, shared layers included.
        layers: digests of its layers' uncompressed content: equal on every machine, through save, load, push and pull.
        labels: its labels.
        created: when it was made (RFC 3339).
    """

    reference: str
    id: str
    size: int
    layers: tuple[str, ...]
    labels: dict[str, str]
    created: str


def docker(
    arguments: Sequence[str],
    *,
    timeout: float | None = None,
    env: dict[str, str] | None = None,
    check: bool = True,
    on_line: Callable[[str], None] | None = None,
) -> process.Completed:
    """Run ``docker`` with ``arguments``.

    Raises:
        MissingPrerequisite: there is no Docker client, or no engine answers it.
        ProcessFailed: it failed for another reason and ``check`` is set.
    """
    try:
        completed = process.run(["docker", *arguments], timeout=timeout, env=env, check=False, on_line=on_line)
    except MissingPrerequisite as error:
        raise MissingPrerequisite("There is no `docker` command on this machine.", NO_ENGINE_HINT) from error
    if completed.returncode != 0 and check:
        require_engine()
        raise process.ProcessFailed(completed)
    return completed


def require_engine() -> str:
    """Return the engine's version.

    Raises:
        MissingPrerequisite: there is no client, or no engine answers within a few seconds.
    """
    try:
        completed = process.run(
            ["docker", "version", "--format", "{{.Server.Version}}"], timeout=ANSWER_SECONDS, check=False
        )
    except MissingPrerequisite as error:
        raise MissingPrerequisite("There is no `docker` command on this machine.", NO_ENGINE_HINT) from error
    except process.ProcessTimeout as error:
        raise MissingPrerequisite(
            f"The Docker engine does not answer within {ANSWER_SECONDS:.0f} s.", NO_ENGINE_HINT
        ) from error
    if completed.returncode != 0:
        said = (completed.stderr.strip() or completed.stdout.strip()).splitlines()
        raise MissingPrerequisite(f"No Docker engine answers: {said[0] if said else 'no message'}", NO_ENGINE_HINT)
    return completed.stdout.strip()


def inspect(references: Sequence[str]) -> dict[str, Present]:
    """Return those of ``references`` that the engine has."""
    if not references:
        return {}
    completed = docker(["image", "inspect", "--format", "{{json .}}", *references], check=False)
    if completed.returncode != 0:
        require_engine()
    found: dict[str, Present] = {}
    documents = [json.loads(line) for line in completed.stdout.splitlines() if line.startswith("{")]
    for reference in references:
        for document in documents:
            if tagged(reference) in (document.get("RepoTags") or ()) or reference == document["Id"]:
                found[reference] = _present(reference, document)
    return found


def tagged(reference: str) -> str:
    """Return ``reference`` with the tag that Docker assumes when there is none."""
    return reference if ":" in reference.rpartition("/")[2] else f"{reference}:latest"


def _present(reference: str, document: dict[str, Any]) -> Present:
    return Present(
        reference=reference,
        id=document["Id"],
        size=int(document.get("Size") or 0),
        layers=tuple((document.get("RootFS") or {}).get("Layers") or ()),
        labels=dict((document.get("Config") or {}).get("Labels") or {}),
        created=str(document.get("Created") or ""),
    )
