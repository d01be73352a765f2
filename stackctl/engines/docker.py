"""The docker engine: the services as containers under Docker Compose."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import tempfile
import uuid
from collections.abc import Callable, Generator, Mapping, Sequence
from pathlib import Path

from stackctl import images, process
from stackctl.engines.docker_batch import DockerBatch
from stackctl.engines.docker_compose import COMPOSE_FILE, ONE_SHOT, WITHOUT_FILE, lacking, mounted
from stackctl.engines.docker_snapshots import DockerSnapshots
from stackctl.engines.protocol import Environment, Problem, Progress, ServiceState
from stackctl.errors import MissingPrerequisite, StackctlError, UsageError
from stackctl.images.client import NO_ENGINE_HINT, docker, require_engine
from stackctl.process import Completed
from stackctl.stack.services import ON_DEMAND, OPTIONAL

COMPOSE_FLOOR = (2, 20)
_PREFIX = re.compile(r"^(?:\x1b\[2K)*(?P<service>[\w.-]+)-\d+ +\| ?(?P<line>.*)$")


class DockerEngine(DockerBatch, DockerSnapshots):
    """The services of one stack under Docker Compose."""

    name = "docker"

    # ---------------------------------------------------------------- verbs

    def preflight(self) -> list[Problem]:
        """Return what is missing: the folder's Compose file, an engine that answers, a recent Compose."""
        problems: list[Problem] = []
        if not (self.stack.home / COMPOSE_FILE).is_file():
            problems.append(Problem(f"{self.stack.home} has no {COMPOSE_FILE}.", "stackctl update", exit_code=1))
        elif absent := lacking(self.stack, [service.name for service in self.stack.services]):
            problems.append(Problem(f"{COMPOSE_FILE} has no service {' and '.join(absent)}.", "stackctl update", 1))
        try:
            require_engine()
            version = _compose_version()
        except MissingPrerequisite as error:
            return [*problems, Problem(error.message, error.hint or NO_ENGINE_HINT)]
        if version is None or version < COMPOSE_FLOOR:
            floor = ".".join(str(part) for part in COMPOSE_FLOOR)
            said = "is not installed" if version is None else f"is {'.'.join(str(part) for part in version)}"
            problems.append(
                Problem(
                    f"Docker Compose {said}; {floor} or newer is needed.", "Install the docker-compose-plugin package."
                )
            )
        return problems

    def prepare(self, progress: Progress) -> None:
        """Build or pull the images that the engine lacks; unchanged, that is a matter of a second."""
        self._references = images.ensure(self.stack, (), progress)
        self._environment()

    def up(self, services: Sequence[str], progress: Progress) -> None:
        """Start services and what they depend on, and wait until they are healthy; see ``Engine.up``."""
        names = self._known(services)
        if not self._references:
            self.prepare(progress)
        present = {service.name for service in self.stack.services}
        self._project.remove([name for name in OPTIONAL if name not in present])
        before = self._project.running()
        try:
            self._compose_up(names, progress)
        except KeyboardInterrupt:
            progress("stack", "interrupted: stopping what this command started")
            with contextlib.suppress(StackctlError):
                self._project.stop(self._project.running() - before)
            raise

    def down(self) -> None:
        """Remove containers and networks, and keep the volumes."""
        self._by_name(["down", "--remove-orphans"])

    def restart(self, services: Sequence[str], progress: Progress) -> None:
        """Stop the named services (all: none named) and start them again, with changed settings if there are any."""
        names = self._known(services)
        self.prepare(progress)  # what cannot be built is told while everything still runs
        for name in names:
            progress(name, "stopping")
        self._by_name(["stop", *names])
        self.up(names, progress)

    def states(self) -> list[ServiceState]:
        """Return the state of every service; memory is what Docker counts against its limit, without the page cache."""
        return self._project.states([service.name for service in self.stack.services])

    def logs(
        self, services: Sequence[str], *, follow: bool, tail: int | None, since: str | None
    ) -> Generator[str, None, None]:
        """Yield ``NAME | line``; see ``Engine.logs``."""
        names = self._known(services) if services else []
        require_engine()
        if not self._project.exists():
            return
        command = ["docker", "compose", "--ansi=never", "--project-name", self.stack.project, "logs", "--no-color"]
        command += ["--follow"] if follow else []
        command += [f"--tail={tail}"] if tail is not None else []
        command += [f"--since={since}"] if since else []
        with tempfile.TemporaryDirectory() as empty:
            lines = process.lines([*command, *names], cwd=Path(empty), env=WITHOUT_FILE)
            with contextlib.closing(lines):
                for line in lines:
                    found = _PREFIX.match(line)
                    yield f"{found['service']} | {found['line']}" if found else line

    def holdings(self, *, backups: bool = True) -> list[str]:
        """Return the containers, volumes, networks and batches of the stack; ``backups``: that of snapshots too."""
        batches = [f"folder {self._batches} (what batches leave)"] if self._batches.is_dir() else []
        return [*self._project.holdings(backups=backups), *batches]

    def destroy(self, *, backups: bool = True) -> None:
        """Delete all that ``holdings`` names."""
        self._by_name(["down", "--remove-orphans"])
        self._project.delete_rest(backups=backups)
        shutil.rmtree(self._batches, ignore_errors=True)

    @property
    def _batches(self) -> Path:
        return self.stack.var / "batch"

    def run_once(
        self,
        environment: Environment,
        argv: Sequence[str],
        *,
        mounts: Mapping[Path, str] | None = None,
        env: Mapping[str, str] | None = None,
        on_line: Callable[[str], None] | None = None,
    ) -> Completed:
        """Run one command in a container of its own, in the stack's network; see ``Engine.run_once``."""
        argv = [mounted(part, mounts or {}) for part in argv]
        container = f"{self.stack.project}-{environment}-once-{uuid.uuid4().hex[:8]}"
        options = [f"--name={container}", "--rm"]
        for host, target in (mounts or {}).items():
            options.append(f"--volume={host.resolve()}:{target}")
        if mounts:  # what it writes there belongs to whoever called, and it can read what they can
            options.append(f"--user={os.getuid()}:{os.getgid()}")
        variables: dict[str, str] = {}
        if environment == "train":
            command = self._train_command(options, dict(env or {}), _told(on_line))
        else:
            command, variables = self._service_command(environment, options, dict(env or {}))
        try:
            return process.run([*command, *argv], cwd=self.stack.home, env=variables, on_line=on_line)
        except BaseException:
            docker(["rm", "--force", container], check=False)  # a killed client leaves its container
            raise

    def _train_command(self, options: list[str], env: dict[str, str], progress: Progress) -> list[str]:
        reference = images.ensure(self.stack, ["train"], progress)["train"]
        network = f"{self.stack.project}_backend"
        command = ["docker", "run", "--init", "--cap-drop=ALL", "--security-opt=no-new-privileges", "--shm-size=1g"]
        command += ["--pull=never", f"--label=stackctl.project={self.stack.project}", *options]
        if network in self._project.networks():
            command.append(f"--network={network}")
            env = {"MLFLOW_TRACKING_URI": self._environment()["STACKCTL_MLFLOW_URI"], **env}
        return [*command, *(f"--env={name}={value}" for name, value in env.items()), reference]

    def _known(self, names: Sequence[str]) -> list[str]:
        known = [service.name for service in self.stack.services]
        for name in names:
            if name not in known and name not in (ONE_SHOT, *ON_DEMAND):
                raise UsageError(f"This stack has no service {name}.", f"It has: {', '.join(known)}.")
        return list(names) or known


def _compose_version() -> tuple[int, int] | None:
    completed = docker(["compose", "version", "--short"], check=False, timeout=30)
    found = re.match(r"v?(\d+)\.(\d+)", completed.stdout.strip())
    return (int(found[1]), int(found[2])) if completed.returncode == 0 and found else None


def _told(on_line: Callable[[str], None] | None) -> Progress:
    """Return a progress that a command's own listener hears: what it needs may take minutes to be made."""
    return _silent if on_line is None else lambda subject, what: on_line(f"{subject}: {what}")


def _silent(_subject: str, _what: str) -> None:
    """Draw nothing."""
