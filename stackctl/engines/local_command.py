"""How a command runs on the local engine beside the services: their settings, none of the caller's own."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from stackctl.engines.supervisor_config import foreign_variables
from stackctl.stack import Stack
from stackctl.stack.environment import local_environment


def local_command(
    stack: Stack, python: Path, argv: Sequence[str], env: Mapping[str, str]
) -> tuple[list[str], dict[str, str]]:
    """Return the command line and the variables of a command with ``python`` for its interpreter."""
    path = f"{python.parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    variables = {**local_environment(stack), "PATH": path, **env}
    command = [str(python) if argv[0] in {"python", "python3"} else argv[0], *argv[1:]]
    return [*without_foreign(variables), *command], variables


def without_foreign(environment: Mapping[str, str]) -> list[str]:
    """Return the beginning of a command that runs without the caller's own settings of the services."""
    unset = [part for name in foreign_variables(os.environ, environment) for part in ("-u", name)]
    return ["env", *unset]


def mounted(part: str, mounts: Mapping[Path, str]) -> str:
    """Return an argument with its placeholders ``{mount:/target}`` replaced by the host's own paths."""
    for host, target in mounts.items():
        part = part.replace(f"{{mount:{target}}}", str(host))
    return part
