"""Batches on the local engine: each run brings its own workers, so nothing waits for one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from stackctl.engines.local_command import local_command, mounted
from stackctl.engines.local_launches import LocalLaunches
from stackctl.engines.protocol import BatchScheduler, LaunchState, Progress, ServiceState
from stackctl.engines.worker_environment import worker_environment
from stackctl.errors import UsageError
from stackctl.stack import Stack

END_PATIENCE = 20.0
"""Seconds that a launched command gets to finish what it has in hand when the stack stops."""


class LocalBatch:
    """What a batch run asks of the local engine."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self._launches = LocalLaunches(stack.var / "run" / "launched")

    def prepare_workers(self, progress: Progress) -> None:
        """Make or find the workers' environment."""
        worker_environment(self.stack, progress)

    def launch(
        self,
        name: str,
        argv: Sequence[str],
        *,
        mounts: Mapping[Path, str] | None = None,
        env: Mapping[str, str] | None = None,
        log: Path,
    ) -> None:
        """Start one command in the workers' environment and let it go; see ``Engine.launch``."""
        python = worker_environment(self.stack, lambda _subject, _what: None)
        words = [mounted(part, mounts or {}) for part in argv]
        command, variables = local_command(self.stack, python, words, env or {})
        further = {
            "PYTHONUNBUFFERED": "1",
            "PYTHONSAFEPATH": "1",
        }  # it runs in the stack's folder: files there are none of its modules
        self._launches.start(name, command, cwd=self.stack.home, env={**further, **variables}, log=log)

    def launched(self, name: str) -> LaunchState:
        """Return what became of a launched command; its exit status is known to the process that started it."""
        return self._launches.state(name)

    def end_launched(self, name: str, *, kill: bool = False) -> None:
        """Ask a launched command to end, or kill it and its workers."""
        self._launches.end(name, kill=kill)

    def batch_scheduler(self, workers: int | None, progress: Progress) -> BatchScheduler | None:  # noqa: ARG002
        """Return None: a batch run starts its own workers."""
        return None

    def scale(self, service: str, count: int, progress: Progress) -> None:  # noqa: ARG002
        """Refuse: nothing waits for batches here.

        Raises:
            UsageError: always.
        """
        raise UsageError(
            f"On the local engine there is nothing to scale: {service} is not a service that waits.",
            "Each batch run starts its own workers: stackctl batch run --workers N.",
        )

    def on_demand(self) -> list[ServiceState]:
        """Return nothing: the workers of a run belong to the run."""
        return []
