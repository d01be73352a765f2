"""What every engine can do with a stack's services."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from stackctl.process import Completed

State = Literal["running", "starting", "exited", "stopped", "restarting"]
Environment = Literal["serving", "mlflow", "train", "worker", "backup", "restore"]
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
class LaunchState:
    """A command that was launched, as its engine sees it now.

    Attributes:
        alive: whether it runs.
        exit: its exit status, or None while it runs and where nobody knows it any more.
    """

    alive: bool
    exit: int | None = None


@dataclass(frozen=True)
class BatchScheduler:
    """A scheduler of batches that the stack runs, as a launched command reaches it.

    Attributes:
        url: its address, ``tls://…``.
        ca: file of the certificates that are trusted.
        cert: file of the certificate to show.
        key: file of that certificate's key.
    """

    url: str
    ca: str
    cert: str
    key: str


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

    def holdings(self, *, backups: bool = True) -> list[str]:
        """Return, in words, what ``destroy`` would delete (containers, volumes, folders) beside the stack folder."""
        ...

    def destroy(self, *, backups: bool = True) -> None:
        """Stop every service and delete all that ``holdings`` names; ``backups``: also the stack's own snapshots."""
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
                ``train`` (torch), ``worker`` (what upscales in batches; without mlflow), ``backup`` (reads all data,
                writes to the repository of snapshots) or ``restore`` (the same, and may write databases).
            argv: the command; ``python`` is the environment's own interpreter.
            mounts: folders of the host, and where the command sees them under Docker (the local engine hands the host
                path: use the placeholder ``{mount:/target}`` in argv to be independent of the engine).
            env: further variables.
            on_line: called with each line of output.

        Raises:
            ProcessFailed: it ended with another status than 0.
        """
        ...

    def snapshot_out(self, identity: str, scratch: Path, parts: Sequence[str] = ()) -> Path:
        """Return a folder of this machine that holds a snapshot; if need be it is copied below ``scratch``.

        Args:
            identity: its id.
            scratch: an empty folder.
            parts: paths below the snapshot's folder; where it is copied, only these are.
        """
        ...

    def snapshot_in(self, folder: Path) -> str:
        """Let the stack's commands see a snapshot in a folder of this machine, and return what they call it."""
        ...

    def prepare_workers(self, progress: Progress) -> None:
        """Make or find what batch workers start from: an image, or an environment of their own. Idempotent."""
        ...

    def launch(
        self,
        name: str,
        argv: Sequence[str],
        *,
        mounts: Mapping[Path, str] | None = None,
        env: Mapping[str, str] | None = None,
        log: Path,
    ) -> None:
        """Start one command where the batch workers' packages are, and return at once; it survives this process.

        Args:
            name: what it is found by afterwards: letters, digits, dots, hyphens.
            argv: as for ``run_once``.
            mounts: as for ``run_once``.
            env: further variables.
            log: file that its output is appended to; under Docker it lies below one of ``mounts``.

        Raises:
            StackctlError: a command of that name runs, or it could not be started.
        """
        ...

    def launched(self, name: str) -> LaunchState:
        """Return what became of a launched command; one that is not known any more is not alive."""
        ...

    def end_launched(self, name: str, *, kill: bool = False) -> None:
        """Ask a launched command to end (``kill``: end it and its processes now); one that ended is fine."""
        ...

    def batch_scheduler(self, workers: int | None, progress: Progress) -> BatchScheduler | None:
        """Start the stack's own scheduler and workers of batches where they do not run, and return how to reach them.

        Args:
            workers: how many workers; None: as many as run already, else what ``batch.workers`` in ``stack.yaml`` says.
            progress: told what starts.

        Returns:
            None where a batch run starts its own workers.
        """
        ...

    def scale(self, service: str, count: int, progress: Progress) -> None:
        """Run ``count`` containers of a service that can have several (0: stop it).

        Raises:
            UsageError: the service, or the engine, has no such thing.
        """
        ...

    def on_demand(self) -> list[ServiceState]:
        """Return the services that run on demand only and do run now; cheap."""
        ...
