"""The local engine: the services as plain processes under supervisord, without Docker and without root."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from stackctl import process
from stackctl.engines import environments
from stackctl.engines.local_batch import END_PATIENCE, LocalBatch
from stackctl.engines.local_command import local_command, mounted, without_foreign
from stackctl.engines.local_holdings import delete, in_words
from stackctl.engines.local_lock import held, uninterrupted
from stackctl.engines.local_logs import last_lines, read_logs
from stackctl.engines.local_snapshots import LocalSnapshots
from stackctl.engines.local_versions import version_of
from stackctl.engines.protocol import Environment, Problem, Progress, ServiceState, State
from stackctl.engines.supervisor_config import (
    CONFIG_FILE,
    lacking_programs,
    make_runtime_folder,
    may_run,
    remove_runtime_folder,
    runtime_folder,
    supervisor_environment,
)
from stackctl.errors import StackctlError, Unhealthy, UsageError
from stackctl.process import Completed
from stackctl.stack import Service, Stack
from stackctl.stack.stack import UNUSABLE

if TYPE_CHECKING:
    from stackctl.engines.supervisor_client import ProcessState, SupervisorClient

NEEDS = {
    "mlflow": "store",
    "serving": "mlflow",
    "serving-staging": "mlflow",
    "deployer": "serving",
    "demo": "serving",
    "backup": "mlflow",
}
SUPERVISOR_DEADLINE = 20.0
HEALTH_DEADLINE = 240.0
DOWN_DEADLINE = 60.0
KILL_GRACE = 10.0
POLL = 0.15
QUOTED_LINES = 20
FATAL_RESTARTS = 2

_STATES: dict[str, State] = {
    "RUNNING": "running",
    "STARTING": "running",  # its process lives; supervisord only waits a few seconds before it calls that a success
    "BACKOFF": "restarting",
    "STOPPING": "running",
    "STOPPED": "stopped",
    "EXITED": "exited",
    "FATAL": "exited",
    "UNKNOWN": "exited",
}


class LocalEngine(LocalBatch, LocalSnapshots):
    """The services of one stack under supervisord."""

    name = "local"

    def __init__(self, stack: Stack) -> None:
        super().__init__(stack)
        self._logs = stack.var / "logs"

    def preflight(self) -> list[Problem]:
        """Return what is missing on this machine: the folder's files, MinIO's program, Python's venv module."""
        problems: list[Problem] = []
        if not (self.stack.home / CONFIG_FILE).is_file():
            problems.append(Problem(f"{self.stack.home} has no {CONFIG_FILE}.", "stackctl update", exit_code=1))
        elif absent := lacking_programs(self.stack):
            problems.append(Problem(f"{CONFIG_FILE} has no program {' and '.join(absent)}.", "stackctl update", 1))
        if any(character in str(self.stack.home) for character in UNUSABLE):
            problems.append(
                Problem(f"supervisord cannot quote the folder's name {self.stack.home}.", "Move the stack's folder.", 2)
            )
        if self.stack.settings.store.kind == "minio" and self._minio() is None:
            problems.append(Problem("There is no `minio` program on this machine.", "stackctl store build"))
        return [*problems, *environments.problems()]

    def prepare(self, progress: Progress) -> None:
        """Make or find the interpreters that have the services' packages, and those that served models need."""
        self._serving_python(progress)

    def up(self, services: Sequence[str], progress: Progress) -> None:
        """Start services and those they need, in order; see ``Engine.up``."""
        wanted = self._with_needed(services)
        environment = self._supervisor_environment(progress)
        with held(self.stack.var):
            self._up(wanted, environment, progress)

    def down(self) -> None:
        """Stop batches that run, every service and supervisord, and return when all their processes are gone."""
        self._launches.end_all(END_PATIENCE)
        with held(self.stack.var):
            self._stop_everything()

    def restart(self, services: Sequence[str], progress: Progress) -> None:
        """Stop the named services (all: none named) and start them again; nobody else starts or stops meanwhile."""
        names = list(services) or [service.name for service in self.stack.services]
        wanted = self._with_needed(names)
        environment = self._supervisor_environment(progress)
        with held(self.stack.var):
            if self._client().answers():
                for name in reversed(names):
                    progress(name, "stopping")
                    self._stop_programs([name])
            self._up(wanted, environment, progress)

    def states(self) -> list[ServiceState]:
        """Return the state of every service; memory is private plus shared resident bytes of its process tree."""
        client = self._client() if self._socket().exists() else None
        if client is None or not client.answers():
            return self._states_without_supervisor()
        processes, described = client.processes(), client.describe()
        python = Path(described.python)
        return [
            self._state(processes.get(service.name), service.name, described.restarts.get(service.name, 0), python)
            for service in self.stack.services
        ]

    def logs(
        self, services: Sequence[str], *, follow: bool, tail: int | None, since: str | None
    ) -> Generator[str, None, None]:
        """Yield ``NAME | line`` (no service named: all of them, one after another); ``since`` is exact to 5 s."""
        names = self._known(services) or [service.name for service in self.stack.services]
        return read_logs(self._logs, names, follow=follow, tail=tail, since=since)

    def _states_without_supervisor(self) -> list[ServiceState]:
        """Return that all is stopped, or that processes are left of a supervisord that is gone or cannot be reached."""
        if may_run(self.stack):
            from stackctl.engines.local_processes import supervised

            if supervised(self.stack.home):
                detail = "its supervisord is gone or cannot be reached: run `stackctl up`"
                return [ServiceState(service.name, "exited", detail=detail) for service in self.stack.services]
        return [ServiceState(service.name, "stopped") for service in self.stack.services]

    def holdings(self, *, backups: bool = True) -> list[str]:
        """Return the folder of databases, artifacts and logs; ``backups``: with the snapshots in it."""
        return in_words(self.stack.var, keep=None if backups else self.stack.repository)

    def destroy(self, *, backups: bool = True) -> None:
        """Stop every service and delete ``var/`` (``backups``: with the snapshots in it) and the runtime folder."""
        self._launches.end_all(END_PATIENCE)
        with held(self.stack.var):
            self._stop_everything()
            delete(self.stack.var, keep=None if backups else self.stack.repository)

    def run_once(
        self,
        environment: Environment,
        argv: Sequence[str],
        *,
        mounts: Mapping[Path, str] | None = None,
        env: Mapping[str, str] | None = None,
        on_line: Callable[[str], None] | None = None,
    ) -> Completed:
        """Run one command in the services' or the training environment; see ``Engine.run_once``."""
        command = [mounted(part, mounts or {}) for part in argv]
        progress = _told(on_line)
        packaged = environment == "serving"
        python = self._serving_python(progress) if packaged else environments.interpreter(environment, progress)
        return self._run(python, command, env or {}, on_line)

    def _run(
        self,
        python: Path,
        argv: Sequence[str],
        env: Mapping[str, str],
        on_line: Callable[[str], None] | None = None,
        *,
        check: bool = True,
    ) -> Completed:
        command, variables = local_command(self.stack, python, argv, env)
        return process.run(command, cwd=self.stack.home, env=variables, on_line=on_line, check=check)

    # ---------------------------------------------------------------- supervisord

    def _up(self, wanted: Sequence[Service], environment: dict[str, str], progress: Progress) -> None:
        """Start services; the caller holds the lock."""
        started: list[str] = []
        fresh = False
        try:
            client, fresh = self._supervisor(environment, progress)
            self._start_all(client, wanted, started, progress)
        except KeyboardInterrupt:
            progress("stack", "interrupted: stopping what this command started")
            with uninterrupted():
                if fresh:
                    self._stop_everything()
                else:
                    self._stop_programs(started)
            raise

    def _serving_python(self, progress: Progress) -> Path:
        return environments.serving_environment(self.stack.settings.serving.packages, progress)

    def _supervisor_environment(self, progress: Progress) -> dict[str, str]:
        python, serving = environments.service_environment(progress), self._serving_python(progress)
        return supervisor_environment(self.stack, python, self._minio(), serving)

    def _socket(self) -> Path:
        return runtime_folder(self.stack) / "supervisor.sock"

    def _client(self) -> SupervisorClient:
        from stackctl.engines.supervisor_client import SupervisorClient

        return SupervisorClient(self._socket())

    def _supervisor(self, environment: dict[str, str], progress: Progress) -> tuple[SupervisorClient, bool]:
        """Return a client of a supervisord that runs with this environment, and whether it was started now."""
        client = self._client()
        if client.answers():
            if client.describe().fingerprint == environment["STACKCTL_FINGERPRINT"]:
                return client, False
            progress("stack", "settings changed: restarting the services")
        self._stop_everything()
        for folder in ("logs", "run", "mlflow", "artifacts", "minio", "serving", "serving-staging"):
            (self.stack.var / folder).mkdir(parents=True, exist_ok=True)
        make_runtime_folder(self.stack)
        output = self._logs / "supervisord.out"
        output.unlink(missing_ok=True)
        supervisord = process.start(
            [*without_foreign(environment), sys.executable, "-m", "supervisor.supervisord", "-c", CONFIG_FILE],
            cwd=self.stack.home,
            env=environment,
            log=output,
        )
        deadline = time.monotonic() + SUPERVISOR_DEADLINE
        try:
            while not client.answers() and supervisord.poll() is None and time.monotonic() < deadline:
                time.sleep(POLL)
        except BaseException:
            process.stop(supervisord)
            raise
        if not client.answers():
            process.stop(supervisord)
            quoted = "\n".join(f"  {line}" for line in last_lines(output, QUOTED_LINES))
            raise Unhealthy(f"supervisord did not start:\n{quoted}", f"See {output}.")
        return client, True

    def _start_all(
        self, client: SupervisorClient, wanted: Sequence[Service], started: list[str], progress: Progress
    ) -> None:
        from stackctl.engines.local_processes import port_is_open

        running = {name for name, state in client.processes().items() if state.state in {"RUNNING", "STARTING"}}
        idle = [service for service in wanted if service.name not in running]
        settings = self.stack.settings
        ours = settings.store.kind == "minio" or (settings.store.kind == "s3" and settings.mlflow.kind == "bundled")
        buckets_wait = bool(idle) and ours
        for service in wanted:
            if buckets_wait and service.name != "store":
                self._make_buckets(progress)
                buckets_wait = False
            if service in idle:
                if port_is_open(service.port):
                    raise Unhealthy(
                        f"{service.title} ({service.name}) was not started: port {service.port} is taken.",
                        f"Stop what uses it, or change ports.{service.port_setting} in stack.yaml; then `stackctl up`.",
                    )
                progress(service.name, "starting")
                started.append(service.name)
                client.start(service.name)
            self._await_health(client, service)
            progress(service.name, "started" if service in idle else "running")
        if buckets_wait:
            self._make_buckets(progress)

    def _await_health(self, client: SupervisorClient, service: Service) -> None:
        from stackctl.engines.local_processes import answers

        deadline = time.monotonic() + HEALTH_DEADLINE
        restarts = client.describe().restarts.get(service.name, 0)
        while not answers(service.port, service.health):
            state = client.processes()[service.name]
            crashes = client.describe().restarts.get(service.name, 0) - restarts
            if state.state in {"FATAL", "EXITED", "UNKNOWN", "STOPPED"} or crashes >= FATAL_RESTARTS:
                raise self._unhealthy(service, f"ended while it started ({_detail(state) or state.state.lower()})")
            if time.monotonic() > deadline:
                raise self._unhealthy(service, f"did not answer {service.health} within {HEALTH_DEADLINE:.0f} s")
            time.sleep(POLL)

    def _unhealthy(self, service: Service, what: str) -> Unhealthy:
        log = self._logs / f"{service.name}.log"
        quoted = "\n".join(f"  {line}" for line in last_lines(log, QUOTED_LINES)) or "  (its log is empty)"
        return Unhealthy(f"{service.title} ({service.name}) {what}:\n{quoted}", f"See `stackctl logs {service.name}`.")

    def _make_buckets(self, progress: Progress) -> None:
        progress("buckets", "making those that are missing")
        python = environments.service_environment(progress)
        done = self._run(python, ["python", "-m", "stackctl.store.init"], {}, check=False)
        if done.returncode != 0:
            message, _, hint = done.stderr.strip().partition("\n")
            raise (Unhealthy if done.returncode == Unhealthy.code else StackctlError)(message, hint or None)
        progress("buckets", "there")

    def _stop_programs(self, names: Sequence[str]) -> None:
        client = self._client()
        for name in reversed(list(names)):
            with contextlib.suppress(StackctlError):  # it ended by itself
                client.stop(name)

    def _stop_everything(self) -> None:
        from stackctl.engines.local_processes import end, family, supervised, terminate

        runtime = runtime_folder(self.stack)
        client = self._client()
        if client.answers():
            members = family(client.pid())
            with contextlib.suppress(StackctlError):  # it is on its way down already
                client.shutdown()
            end(members, DOWN_DEADLINE)
        if runtime.is_dir() or self.stack.var.is_dir():
            terminate(supervised(self.stack.home), KILL_GRACE)
        remove_runtime_folder(self.stack)

    # ---------------------------------------------------------------- services

    def _known(self, names: Sequence[str]) -> list[str]:
        known = [service.name for service in self.stack.services]
        for name in names:
            if name not in known:
                raise UsageError(f"This stack has no service {name}.", f"It has: {', '.join(known)}.")
        return list(names)

    def _with_needed(self, names: Sequence[str]) -> list[Service]:
        """Return the named services (all: none named) and those they need, in start order."""
        chosen = set(self._known(names))
        for name in list(chosen):
            while needed := NEEDS.get(name):
                chosen.add(needed)
                name = needed  # noqa: PLW2901 - walks up the chain
        return [service for service in self.stack.services if not names or service.name in chosen]

    def _state(self, found: ProcessState | None, name: str, restarts: int, python: Path) -> ServiceState:
        from stackctl.engines.local_processes import resident_bytes

        if found is None:
            return ServiceState(name, "stopped")
        state = _STATES.get(found.state, "exited")
        alive = state == "running"
        return ServiceState(
            name,
            state,
            memory=resident_bytes(found.pid) if alive and found.pid else None,
            restarts=restarts,
            version=version_of(name, python) if alive else None,
            detail=None if alive or state == "stopped" else _detail(found),
        )

    def _minio(self) -> Path | None:
        from stackctl.store.minio import find_minio

        return find_minio() if self.stack.settings.store.kind == "minio" else None


def _told(on_line: Callable[[str], None] | None) -> Progress:
    """Return a progress that a command's own listener hears: what it needs may take minutes to be made."""
    return _silent if on_line is None else lambda subject, what: on_line(f"{subject}: {what}")


def _silent(_subject: str, _what: str) -> None:
    """Draw nothing."""


def _detail(state: ProcessState) -> str | None:
    return state.detail or (f"exit status {state.exit_status}" if state.exit_status else None)
