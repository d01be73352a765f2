"""Commands that the docker engine starts and lets go: containers of their own in the stack's network."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from stackctl.engines.protocol import LaunchState
from stackctl.errors import StackctlError
from stackctl.images.client import docker

LABEL = "stackctl.launched"


def container_name(project: str, name: str) -> str:
    """Return the name of a launched command's container."""
    return f"{project}-{name}"


def options_of(project: str, name: str, mounts: Mapping[Path, str]) -> list[str]:
    """Return the options of ``docker compose run`` for a container that outlives the command line."""
    options = ["--detach", f"--name={container_name(project, name)}", f"--label={LABEL}={project}"]
    options += [f"--volume={host.resolve()}:{target}" for host, target in mounts.items()]
    return [*options, f"--user={os.getuid()}:{os.getgid()}"]  # what it writes belongs to whoever called


def logged(argv: Sequence[str], log: Path, mounts: Mapping[Path, str]) -> list[str]:
    """Return a command whose output goes to ``log``, a file of the host below one of ``mounts``.

    Raises:
        StackctlError: it lies below none of them.
    """
    for host, target in mounts.items():
        if log.resolve().is_relative_to(host.resolve()):
            file = f"{target}/{log.resolve().relative_to(host.resolve()).as_posix()}"
            return ["sh", "-c", f"exec {shlex.join(argv)} >>{shlex.quote(file)} 2>&1"]
    raise StackctlError(f"{log} is in no folder that the command sees.")


def forget_ended(project: str) -> None:
    """Remove the containers of launched commands that ended: nobody asks for them any more."""
    filters = [f"--filter=label={LABEL}={project}", "--filter=status=exited", "--filter=status=dead"]
    ended = docker(["ps", "--all", "--quiet", *filters]).stdout.split()
    if ended:
        docker(["rm", "--force", *ended], check=False)


def state_of(project: str, name: str) -> LaunchState:
    """Return what became of a launched command."""
    form = "{{.State.Status}} {{.State.ExitCode}}"
    said = docker(["inspect", "--type=container", f"--format={form}", container_name(project, name)], check=False)
    if said.returncode != 0:
        return LaunchState(alive=False)
    status, code = said.stdout.split()
    alive = status in {"created", "running", "restarting", "paused"}
    return LaunchState(alive, None if alive else int(code))


def end(project: str, name: str, *, kill: bool) -> None:
    """Ask a launched command to end, or kill it."""
    docker(["kill", f"--signal={'KILL' if kill else 'TERM'}", container_name(project, name)], check=False)
