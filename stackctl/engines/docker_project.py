"""What the Docker engine holds of one Compose project, read through its API by the project's label."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from stackctl.engines.protocol import ServiceState, State
from stackctl.images.client import docker, require_engine

if TYPE_CHECKING:
    from docker import DockerClient
    from docker.models.containers import Container

PROJECT_LABEL = "com.docker.compose.project"
SERVICE_LABEL = "com.docker.compose.service"
ONE_OFF_LABEL = "com.docker.compose.oneoff"
VERSION_LABEL = "org.opencontainers.image.version"
SNAPSHOTS = "backup-data"
"""The volume of snapshots, as the Compose file names it."""
_API_SECONDS = 30
_KILLED = 137
_STOPPED = (0, 130, 143)


class DockerProject:
    """The containers, volumes and networks that carry one Compose project's label."""

    def __init__(self, name: str) -> None:
        self.name = name

    def exists(self) -> bool:
        """Return whether the engine holds anything of the project; the command starts faster than the API client."""
        label = f"label={PROJECT_LABEL}={self.name}"
        kinds = (["ps", "--all", "--quiet"], ["network", "ls", "--quiet"], ["volume", "ls", "--quiet"])
        return any(docker([*kind, "--filter", label], check=False).stdout.strip() for kind in kinds)

    def states(self, services: Sequence[str]) -> list[ServiceState]:
        """Return the state of each service; all are stopped where no engine answers."""
        listing = docker(["ps", "--all", "--quiet", "--filter", f"label={PROJECT_LABEL}={self.name}"], check=False)
        if not listing.stdout.strip():
            return [ServiceState(name, "stopped") for name in services]
        containers = self._containers()
        return [_state(name, containers.get(name)) for name in services]

    def phases(self) -> dict[str, str]:
        """Return in a word or two where each service's container is: for progress lines."""
        return {name: _phase(container.attrs) for name, container in self._containers().items()}

    def failed(self, services: Sequence[str]) -> dict[str, str]:
        """Return what is wrong with each of ``services`` that ended or does not answer its health check."""
        containers = self._containers()
        wrong: dict[str, str] = {}
        for name in services:
            if name not in containers:
                continue
            attributes = containers[name].attrs
            state = attributes["State"]
            restarts = int(attributes.get("RestartCount") or 0)
            health = (state.get("Health") or {}).get("Status")
            ended = state["Status"] in {"exited", "dead", "restarting"}
            if (restarts and health != "healthy") or (ended and state["ExitCode"] != 0):
                wrong[name] = f"ended while it started ({_ending(attributes)})"
            elif state["Status"] == "running" and health in {"unhealthy", "starting"}:
                wrong[name] = "did not become healthy"
        return wrong

    def last_lines(self, service: str, count: int) -> list[str]:
        """Return the last lines of a service's log."""
        container = self._containers().get(service)
        if container is None:
            return []
        return container.logs(tail=count).decode(errors="replace").rstrip().splitlines()

    def running(self) -> set[str]:
        """Return the ids of the project's running containers."""
        return {container.id for container in self._list(all=False) if container.id}

    def stop(self, ids: Collection[str]) -> None:
        """Stop containers."""
        if ids:
            docker(["stop", *ids], check=False)

    def remove(self, services: Collection[str]) -> None:
        """Stop and remove the containers of services that the settings leave out by now; Compose lets them run."""
        for name in services:
            for container in self._replicas(name):
                docker(["stop", container.id or ""], check=False)
                container.remove(force=True)

    def count(self, service: str) -> int:
        """Return how many containers of a service run."""
        return sum(container.status in {"running", "restarting"} for container in self._replicas(service))

    def states_of_replicas(self, services: Sequence[str]) -> list[ServiceState]:
        """Return the state of each service that has containers, several of them taken together."""
        found = []
        for name in services:
            states = [_state(name, container) for container in self._replicas(name)]
            if states:
                found.append(together(name, states))
        return found

    def networks(self) -> list[str]:
        """Return the names of the project's networks."""
        return [str(network.name) for network in api_client().networks.list(filters=self._label)]

    def holdings(self, *, backups: bool = True) -> list[str]:
        """Return every container, volume (``backups``: that of snapshots too) and network of the project, in words."""
        require_engine()
        if not self.exists():
            return []
        return [
            *(f"container {container.name}" for container in self._list(all=True)),
            *(f"volume {name} (data)" for name in self._volumes(backups=backups)),
            *(f"network {name}" for name in self.networks()),
        ]

    def delete_rest(self, *, backups: bool = True) -> None:
        """Delete what Compose left of the project: containers of one-off commands, volumes and networks."""
        if not self.exists():
            return
        for container in self._list(all=True):
            container.remove(force=True, v=True)
        for name in self._volumes(backups=backups):
            api_client().volumes.get(name).remove(force=True)
        for network in api_client().networks.list(filters=self._label):
            network.remove()

    def _volumes(self, *, backups: bool) -> list[str]:
        names = [str(volume.name) for volume in api_client().volumes.list(filters=self._label)]
        return [name for name in names if backups or name != f"{self.name}_{SNAPSHOTS}"]

    @property
    def _label(self) -> dict[str, Any]:
        return {"label": f"{PROJECT_LABEL}={self.name}"}

    def _list(self, *, all: bool) -> list[Container]:  # noqa: A002 - the API's own word
        return api_client().containers.list(all=all, filters=self._label, ignore_removed=True)

    def _containers(self) -> dict[str, Container]:
        """Return the container of each service; one-off containers are not services."""
        return {
            container.labels[SERVICE_LABEL]: container
            for container in self._list(all=True)
            if container.labels.get(ONE_OFF_LABEL) != "True" and SERVICE_LABEL in container.labels
        }

    def _replicas(self, service: str) -> list[Container]:
        return [
            container
            for container in self._list(all=True)
            if container.labels.get(SERVICE_LABEL) == service and container.labels.get(ONE_OFF_LABEL) != "True"
        ]


@functools.cache
def api_client() -> DockerClient:
    """Return an API client of the engine that the ``docker`` command talks to, contexts included."""
    from docker import DockerClient

    if os.environ.get("DOCKER_HOST"):
        return DockerClient.from_env(timeout=_API_SECONDS)
    host = docker(["context", "inspect", "--format", "{{.Endpoints.docker.Host}}"], check=False).stdout.strip()
    return DockerClient(base_url=host or None, timeout=_API_SECONDS)


def _state(name: str, container: Container | None) -> ServiceState:
    if container is None:
        return ServiceState(name, "stopped")
    attributes = container.attrs
    state = _state_of(attributes["State"])
    alive = state in {"running", "starting"}
    return ServiceState(
        name,
        state,
        memory=_memory(container) if alive else None,
        restarts=int(attributes.get("RestartCount") or 0),
        version=container.labels.get(VERSION_LABEL) if alive else None,
        detail=None if alive or state == "stopped" else _ending(attributes),
    )


def together(name: str, states: Sequence[ServiceState]) -> ServiceState:
    """Return several containers of a service as one: it runs where one of them does, and says how many do."""
    alive = [state for state in states if state.state in {"running", "starting"}]
    best = next(iter(alive), states[0])
    lame = next((state.detail for state in states if state not in alive and state.detail), None)
    counted = f"{len(alive)} of {len(states)} run" + (f": {lame}" if lame else "")
    return replace(
        best,
        name=name,
        memory=sum(state.memory or 0 for state in alive) if alive else None,
        restarts=sum(state.restarts for state in states),
        detail=best.detail if len(states) == 1 else counted,
    )


def _state_of(state: dict[str, Any]) -> State:
    match state["Status"]:
        case "running":
            return "starting" if (state.get("Health") or {}).get("Status") == "starting" else "running"
        case "restarting":
            return "restarting"
        case "exited" | "dead":
            return "stopped" if state["ExitCode"] in _STOPPED and not state.get("OOMKilled") else "exited"
        case _:
            return "stopped"


def _phase(attributes: dict[str, Any]) -> str:
    state = attributes["State"]
    health = (state.get("Health") or {}).get("Status")
    match state["Status"]:
        case "created":
            return "waiting for what it depends on"
        case "running":
            return {"healthy": "started", "unhealthy": "does not answer"}.get(health or "", "starting")
        case "exited" if state["ExitCode"] == 0:
            return "done"
        case "exited":
            return f"ended ({_ending(attributes)})"
        case other:
            return str(other)


def _ending(attributes: dict[str, Any]) -> str:
    state = attributes["State"]
    if state.get("OOMKilled"):
        limit = int(attributes["HostConfig"].get("Memory") or 0)
        return f"out of memory, its limit is {limit / 2**20:.0f} MiB" if limit else "out of memory"
    if state["ExitCode"] == _KILLED:
        return "killed"
    if state["Status"] == "running":
        return f"restarted {attributes.get('RestartCount', 0)} times"
    return state.get("Error") or f"exit status {state['ExitCode']}"


def _memory(container: Container) -> int | None:
    """Return a container's memory as ``docker stats`` counts it: usage without inactive page cache."""
    from docker.errors import APIError

    with contextlib.suppress(APIError, KeyError):
        memory = api_client().api.stats(container.id or "", stream=False, one_shot=True)["memory_stats"]
        details = memory.get("stats") or {}
        cache = details.get("total_inactive_file", details.get("inactive_file", 0))
        return max(0, int(memory["usage"]) - int(cache))
    return None
