"""Docker Compose at work on one stack: what it interpolates, `up` with its progress, and commands by project name."""

from __future__ import annotations

import re
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from stackctl import images, process
from stackctl.engines.docker_project import DockerProject
from stackctl.engines.protocol import Progress
from stackctl.errors import StackctlError, Unhealthy
from stackctl.images.client import require_engine
from stackctl.stack import Stack
from stackctl.stack.environment import docker_environment, write_dotenv
from stackctl.stack.services import ON_DEMAND

COMPOSE_FILE = "compose.yaml"
HEALTH_SECONDS = 240
POLL_SECONDS = 0.4
QUOTED_LINES = 20
ONE_SHOT = "store-init"
IMAGES = {"restore": "backup"}
"""The images of one-off services that run in another one's."""
WITHOUT_FILE = {"COMPOSE_FILE": "", "COMPOSE_PROFILES": "*"}


class DockerCompose:
    """Compose for one stack."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self._project = DockerProject(stack.project)
        self._references: dict[str, str] = {}

    def _compose_up(
        self,
        names: Sequence[str],
        progress: Progress,
        *,
        scale: Mapping[str, int] | None = None,
        variables: Mapping[str, str] | None = None,
    ) -> None:
        environment = {**self._environment(list(scale or ())), **(variables or {})}
        command = ["docker", "compose", "--ansi=never", "--progress=plain", "up", "--detach", "--remove-orphans"]
        command += ["--wait", f"--wait-timeout={HEALTH_SECONDS}"]
        command += [f"--scale={name}={count}" for name, count in (scale or {}).items()]
        command += names
        with tempfile.TemporaryDirectory() as folder:
            output = Path(folder) / "compose.log"
            client = process.start(command, cwd=self.stack.home, env=environment, log=output)
            shown: dict[str, str] = {}
            try:
                while client.poll() is None:
                    self._report(names, shown, progress)
                    time.sleep(POLL_SECONDS)
            except BaseException:
                process.stop(client)
                raise
            if client.returncode != 0:
                raise self._not_up(names, output.read_text(errors="replace"))
        self._report(names, shown, progress)

    def _report(self, names: Sequence[str], shown: dict[str, str], progress: Progress) -> None:
        for name, what in self._project.phases().items():
            if (name in names or name == ONE_SHOT) and shown.get(name) != what:
                shown[name] = what
                progress(name, what)

    def _not_up(self, names: Sequence[str], said: str) -> StackctlError:
        titles = {service.name: service.title for service in self.stack.services}
        titles |= {ONE_SHOT: "Creation of the buckets", **ON_DEMAND}
        for name, what in self._project.failed([ONE_SHOT, *names]).items():
            log = "\n".join(f"  {line}" for line in self._project.last_lines(name, QUOTED_LINES))
            return Unhealthy(
                f"{titles.get(name, name)} ({name}) {what}:\n{log or '  (its log is empty)'}",
                f"See `stackctl logs {name}`.",
            )
        quoted = "\n".join(f"  {line}" for line in said.strip().splitlines()[-QUOTED_LINES:])
        return Unhealthy(f"Docker Compose could not start the services:\n{quoted}", "See `stackctl doctor`.")

    def _environment(self, further: Sequence[str] = ()) -> dict[str, str]:
        """Return what Compose interpolates, after writing it to ``.env`` for a person's own `docker compose`."""
        references = self._references
        wanted = [*images.images_of(self.stack), *further]
        if any(name not in references for name in wanted):
            references = self._references = {**images.ensure(self.stack, wanted, _silent)}
        environment = docker_environment(self.stack, references)
        write_dotenv(self.stack.home, environment)
        return environment

    def _service_command(
        self, environment: str, options: list[str], env: dict[str, str]
    ) -> tuple[list[str], dict[str, str]]:
        variables = self._environment([IMAGES.get(environment, environment)])
        env = {"MLFLOW_TRACKING_URI": variables["STACKCTL_MLFLOW_URI"], **env}
        if variables["STACKCTL_REGISTRY_URI"]:
            env = {"MLFLOW_REGISTRY_URI": variables["STACKCTL_REGISTRY_URI"], **env}
        command = ["docker", "compose", "--ansi=never", "--progress=quiet", "run", "--no-deps", "-T", *options]
        # Names on the command line, values in the client's environment: a value may be nobody else's business.
        command += [f"--env={name}" for name in env]
        return [*command, environment], {**variables, **env}

    def _by_name(self, arguments: Sequence[str]) -> None:
        """Run a Compose command on what carries the project's label, whatever its file says by now."""
        require_engine()
        if not self._project.exists():
            return
        with tempfile.TemporaryDirectory() as empty:
            command = ["docker", "compose", "--ansi=never", "--project-name", self.stack.project, *arguments]
            process.run(command, cwd=Path(empty), env=WITHOUT_FILE)


def lacking(stack: Stack, names: Sequence[str]) -> list[str]:
    """Return those of the services that the Compose file does not know: it was made before there were such."""
    known = set(re.findall(r"^  ([\w.-]+):", (stack.home / COMPOSE_FILE).read_text(), re.MULTILINE))
    return [name for name in names if name not in known]


def mounted(part: str, mounts: Mapping[Path, str]) -> str:
    """Return an argument with its placeholders ``{mount:/target}`` replaced by the container's own paths."""
    for target in mounts.values():
        part = part.replace(f"{{mount:{target}}}", target)
    return part


def _silent(_subject: str, _what: str) -> None:
    """Draw nothing."""
