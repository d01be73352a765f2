"""``stackctl status``: what runs, how it is, and whether users get the version the registry calls Production."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from stackctl.engines import Engine, ServiceState
from stackctl.errors import StackctlError
from stackctl.lifecycle.probe import Health, probe_all
from stackctl.stack import Service, Stack


@dataclass(frozen=True)
class ServiceReport:
    """One service: what the engine says and what the service itself answered.

    Attributes:
        health: ``healthy``, ``unhealthy``, or ``-`` for a service that does not run.
        memory: resident bytes, or None when unknown.
    """

    name: str
    title: str
    state: str
    health: str
    url: str
    version: str | None
    memory: int | None
    restarts: int
    detail: str | None


@dataclass(frozen=True)
class ModelReport:
    """The served version against the registry's; ``recovered``: what became of an interrupted promotion."""

    name: str
    served: str | None
    production: str | None
    error: str | None = None
    recovered: str | None = None

    @property
    def agrees(self) -> bool:
        """Whether the model server answers with the version the registry calls Production."""
        return self.served == self.production and self.error is None


@dataclass(frozen=True)
class StackStatus:
    """The whole stack."""

    name: str
    engine: str
    folder: str
    services: tuple[ServiceReport, ...]
    model: ModelReport | None
    problems: tuple[str, ...]

    @property
    def running(self) -> bool:
        """Whether any service runs."""
        return any(service.state != "stopped" for service in self.services)

    def to_dict(self) -> dict[str, Any]:
        """Return the document that ``--json`` prints."""
        model = {**asdict(self.model), "agrees": self.model.agrees} if self.model else None
        return {
            "name": self.name,
            "engine": self.engine,
            "folder": self.folder,
            "state": "stopped" if not self.running else "degraded" if self.problems else "healthy",
            "services": [asdict(service) for service in self.services],
            "model": model,
            "problems": list(self.problems),
        }


def status(stack: Stack, engine: Engine) -> StackStatus:
    """Ask the engine and every running service how they are."""
    states = {state.name: state for state in engine.states()}
    running = [service for service in stack.services if _state(states, service).state == "running"]
    health = probe_all(running)
    services = tuple(_report(service, _state(states, service), health.get(service.name)) for service in stack.services)
    problems = [
        f"{report.name} is {report.health if report.state == 'running' else report.state}"
        + (f": {report.detail}" if report.detail else "")
        for report in services
        if report.health != "healthy"
    ]
    model = None
    if any(report.name == "serving" and report.health == "healthy" for report in services):
        model = _model(stack)
        if model.error:
            problems.append(f"model {model.name}: {model.error}")
        elif not model.agrees:
            served, production = model.served or "none", model.production or "none"
            problems.append(f"the model server serves version {served}, but in Production is {production}")
    if all(report.state == "stopped" for report in services):
        problems = []
    return StackStatus(stack.name, engine.name, str(stack.home), services, model, tuple(problems))


def _state(states: dict[str, ServiceState], service: Service) -> ServiceState:
    return states.get(service.name) or ServiceState(service.name, "stopped")


def _report(service: Service, state: ServiceState, health: Health | None) -> ServiceReport:
    return ServiceReport(
        name=service.name,
        title=service.title,
        state=state.state,
        health="-" if health is None else "healthy" if health.ok else "unhealthy",
        url=f"http://127.0.0.1:{service.port}",
        version=state.version,
        memory=state.memory,
        restarts=state.restarts,
        detail=state.detail or (health.detail if health and not health.ok else None),
    )


def _model(stack: Stack) -> ModelReport:
    from stackctl.lifecycle.promote import recover
    from stackctl.models import Registry
    from stackctl.serving.client import ModelServerClient

    name, served, production = stack.settings.model, None, None
    try:
        with ModelServerClient(stack.endpoints.serving) as server, Registry.of(stack) as registry:
            shown = server.model()
            served = shown["version"]
            recovered = recover(stack, registry=registry)
            registered = registry.find_model(name)
            if registered is not None:
                production = registered.production.version
                going_on = recovered is not None and recovered.outcome == "running"
                if not registered.production.agrees and not going_on:
                    stage, alias = registered.production.stage or "none", registered.production.alias or "none"
                    return ModelReport(
                        name, served, production, f"stage (version {stage}) and alias ({alias}) disagree"
                    )
        return ModelReport(name, served, production, shown["error"], recovered.sentence if recovered else None)
    except StackctlError as error:
        return ModelReport(name, served, production, error.message)
