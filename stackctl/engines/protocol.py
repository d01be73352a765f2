"""What every engine can do with a stack's services."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from stackctl.process import Completed

State = Literal["running", "starting", "exited", "stopped", "restarting"]
Environment = Literal["serving", "mlflow", "train"]
Progress = Callable[[str, str], None]
"""Called with (subject, what happens), for instance ("mlflow", "starting"); the command line draws it."""


@dataclass(frozen=True)
class ServiceState:
    """One service as its engine sees it now.

    Attributes:
        name: the service's name.
        state: whether its process runs. Health is probed elsewhere: an engine only knows processes.
        memory: resident bytes of its processes, or None when unknown.
        restarts: how often the engine restarted it since ``up``.
        version: version of the image or package that runs, or None.
        detail: why it is not running (out of memory, exit status), or None.
    """

    name: str
    state: State
    memory: int | None = None
    restarts: int = 0
    version: str | None = None
    detail: str | None = None


@dataclass(frozen=True)
class Problem:
    """Something that keeps the stack from starting, and the command that mends it."""

    what: str
    fix: str | None = None
    exit_code: int = field(default=4)


class Engine(Protocol):
    """The services of one stack under one way of running them."""

    name: str

    def preflight(self) -> list[Problem]:
        """Return what is missing on this machine before services can start (the engine itself, images, programs)."""
        ...

    def prepare(self, progress: Progress) -> None:
        """Make or find what services start from: images, or the services' environment. Idempotent."""
        ...

    def up(self, services: Sequence[str], progress: Progress) -> None:
        """Start services in dependency order and return once they are started; an unchanged running one is left alone.

        Changed settings restart what they touch. A service whose dependency is not healthy yet is held back.

        Raises:
            Unhealthy: a service did not start; the message quotes the end of its log.
            KeyboardInterrupt: passed on, after what this very call started was stopped.
        """
        ...

    def down(self) -> None:
        """Stop every service and keep all data."""
        ...

    def restart(self, services: Sequence[str], progress: Progress) -> None:
        """Restart the named services."""
        ...

    def states(self) -> list[ServiceState]:
        """Return the state of every service of the stack, in start order; cheap, and right when nothing runs."""
        ...

    def logs(
        self, services: Sequence[str], *, follow: bool, tail: int | None, since: str | None
    ) -> Generator[str, None, None]:
        """Yield log lines, each beginning with its service's name; ``follow`` goes on until the iterator is closed."""
        ...

    def holdings(self) -> list[str]:
        """Return, in words, what ``destroy`` would delete (containers, volumes, folders) beside the stack folder."""
        ...

    def destroy(self) -> None:
        """Stop every service and delete all that ``holdings`` names."""
        ...

    def run_once(
        self,
        environment: Environment,
        argv: Sequence[str],
        *,
        mounts: Mapping[Path, str] | None = None,
        env: Mapping[str, str] | None = None,
        on_line: Callable[[str], None] | None = None,
    ) -> Completed:
        """Run one command to its end where a service's packages are.

        Args:
            environment: whose packages: ``serving``, ``mlflow`` (with the stack's MLflow and store settings), or
                ``train`` (torch).
            argv: the command; ``python`` is the environment's own interpreter.
            mounts: folders of the host, and where the command sees them under Docker (the local engine hands the host
                path: use the placeholder ``{mount:/target}`` in argv to be independent of the engine).
            env: further variables.
            on_line: called with each line of output.

        Raises:
            ProcessFailed: it ended with another status than 0.
        """
        ...
