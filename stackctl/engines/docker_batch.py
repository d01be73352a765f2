"""Batches under Docker: a scheduler and workers that run on demand, and the container that leads a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from stackctl import images, process
from stackctl.engines import docker_launches as launches
from stackctl.engines.docker_compose import COMPOSE_FILE, DockerCompose, lacking, mounted
from stackctl.engines.protocol import BatchScheduler, LaunchState, Progress, ServiceState
from stackctl.errors import MissingPrerequisite, StackctlError, Unhealthy, UsageError
from stackctl.images.client import docker, require_engine
from stackctl.stack.services import ON_DEMAND

SCHEDULER, WORKER = "scheduler", "worker"
SCHEDULER_URL = "tls://scheduler:8786"
TLS_SECRET = "batch_tls"  # noqa: S105 - its name
MOST = 64
TRIES = 4
MEMORY_SHARE = 0.8
"""Share of the machine's memory that the limits of all workers may promise together, where nobody chose a number."""


class DockerBatch(DockerCompose):
    """What a batch run asks of the docker engine."""

    def prepare_workers(self, progress: Progress) -> None:
        """Build or pull the workers' image where the engine lacks it."""
        self._require_batch_services()
        told: list[str] = []

        def listen(subject: str, what: str) -> None:
            told.append(what)
            progress(subject, what)

        self._references = {**self._references, **images.ensure(self.stack, [WORKER], listen)}
        progress(WORKER, f"{'packed' if told else 'already packed'} ({self._references[WORKER]})")

    def launch(
        self,
        name: str,
        argv: Sequence[str],
        *,
        mounts: Mapping[Path, str] | None = None,
        env: Mapping[str, str] | None = None,
        log: Path,
    ) -> None:
        """Start one command in a container of its own, in the stack's network; see ``Engine.launch``."""
        if self.launched(name).alive:
            raise StackctlError(f"{name} runs already.")
        self._require_batch_services()
        launches.forget_ended(self.stack.project)
        places = dict(mounts or {})
        command = launches.logged([mounted(part, places) for part in argv], log, places)
        options = launches.options_of(self.stack.project, name, places)
        run, variables = self._service_command(WORKER, options, dict(env or {}))
        process.run([*run, *command], cwd=self.stack.home, env=variables)

    def launched(self, name: str) -> LaunchState:
        """Return what became of a launched command; ``down`` and the next launch forget those that ended."""
        return launches.state_of(self.stack.project, name)

    def end_launched(self, name: str, *, kill: bool = False) -> None:
        """Ask a launched command to end, or kill it."""
        launches.end(self.stack.project, name, kill=kill)

    def batch_scheduler(self, workers: int | None, progress: Progress) -> BatchScheduler | None:
        """Start scheduler and workers; see ``Engine.batch_scheduler``."""
        self._require_batch_services()
        self._start_workers(workers or self._project.count(WORKER) or self._usual_workers(), progress)
        file = f"/run/secrets/{TLS_SECRET}"
        return BatchScheduler(SCHEDULER_URL, ca=file, cert=file, key=file)

    def scale(self, service: str, count: int, progress: Progress) -> None:
        """Run ``count`` workers; 0 stops them and the scheduler."""
        if service != WORKER:
            raise UsageError(f"{service} cannot be scaled.", f"Only {WORKER} can: stackctl scale {WORKER}=4.")
        if not 0 <= count <= MOST:
            raise UsageError(f"{count} workers cannot run on one machine.", f"Give a number from 0 to {MOST}.")
        self._require_batch_services()
        require_engine()
        if count:
            self._start_workers(count, progress)
        else:
            self._project.remove([WORKER, SCHEDULER])

    def on_demand(self) -> list[ServiceState]:
        """Return scheduler and workers where they have containers."""
        return self._project.states_of_replicas(list(ON_DEMAND))

    def _start_workers(self, count: int, progress: Progress) -> None:
        self.prepare_workers(progress)
        threads = {"STACKCTL_BATCH_THREADS": str(max(1, _machine()[0] // count))}
        left = TRIES if self._project.count(WORKER) else 1
        while left:
            left -= 1
            try:
                self._compose_up([SCHEDULER, WORKER], progress, scale={WORKER: count}, variables=threads)
                left = 0
            except Unhealthy:
                if not left:  # workers end and come back where their scheduler does: Compose takes that for a failure
                    raise

    def _usual_workers(self) -> int:
        wanted = self.stack.settings.batch.workers
        if wanted != "auto":
            return wanted
        limit = self.stack.settings.memory.worker
        each = int(limit[:-1]) * (2**30 if limit.endswith("g") else 2**20)
        cores, memory = _machine()
        return max(1, min(cores, int(memory * MEMORY_SHARE) // each))

    def _require_batch_services(self) -> None:
        if absent := lacking(self.stack, list(ON_DEMAND)):
            raise MissingPrerequisite(
                f"{COMPOSE_FILE} has no service {' and '.join(absent)}: it was made before there were batches.",
                "Make a new stack with `stackctl init` and take its compose.yaml; `stackctl up` makes what else lacks.",
            )
        if not (self.stack.home / "secrets" / TLS_SECRET).is_file():
            raise MissingPrerequisite(f"The secret {TLS_SECRET} is not made yet.", "Run `stackctl up`.")


def _machine() -> tuple[int, int]:
    """Return how many processors and bytes of memory the engine's machine has."""
    said = docker(["info", "--format={{.NCPU}} {{.MemTotal}}"], check=False).stdout.split()
    return (int(said[0]), int(said[1])) if len(said) == 2 else (1, 0)
