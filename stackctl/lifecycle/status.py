"""``stackctl status``: what runs, how it is, and whether users get the version the registry calls Production."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from stackctl.engines import Engine, ServiceState
from stackctl.errors import StackctlError
from stackctl.lifecycle import open_restore
from stackctl.lifecycle.backup_status import BackupReport, asked
from stackctl.lifecycle.backup_status import report as backup_report
from stackctl.lifecycle.probe import Health, probe_all
from stackctl.models.targets import PRODUCTION, STAGING, TARGETS, Target, target_of
from stackctl.stack import Service, Stack
from stackctl.stack.services import ON_DEMAND

if TYPE_CHECKING:
    from stackctl.models import Registry

BACKUP = "backup"
_SERVER = {PRODUCTION.name: "serving", STAGING.name: "serving-staging"}


@dataclass(frozen=True)
class ServiceReport:
    """One service: what the engine says and what the service itself answered.

    Attributes:
        health: ``healthy``, ``unhealthy``, or ``-`` for a service that does not run.
        url: where it is reached from this machine; empty where it is not.
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
    """The version a model server serves against the one that the registry calls Production (or Staging).

    Attributes:
        name: the registered model.
        served: the version the server answers with.
        production: the version that the server's target leads to.
        error: why users do not get that version, or why nobody can tell.
        recovered: what became of an interrupted promotion.
        target: what the server follows.
        last_death: when, how and why a process of a version last died: ``at``, ``version``, ``how``, ``cause``.
        stale_registry_since: since when the server has not reached the registry.
    """

    name: str
    served: str | None
    production: str | None
    error: str | None = None
    recovered: str | None = None
    target: str = PRODUCTION.name
    last_death: dict[str, str] | None = None
    stale_registry_since: str | None = None

    @property
    def agrees(self) -> bool:
        """Whether the model server answers with the version the registry calls Production."""
        return self.served == self.production and self.error is None

    @property
    def problem(self) -> str | None:
        """What is wrong, as a sentence, or None."""
        if self.agrees:
            return None
        if self.error:
            where = "" if self.target == PRODUCTION.name else f" ({self.target})"
            return f"model {self.name}{where}: {self.error}"
        who = "the model server" if self.target == PRODUCTION.name else "the model server for staging"
        served, wanted = self.served or "none", self.production or "none"
        return f"{who} serves version {served}, but in {target_of(self.target).stage} is {wanted}"

    def to_dict(self) -> dict[str, Any]:
        """Return it as a JSON document."""
        return {**asdict(self), "agrees": self.agrees}


@dataclass(frozen=True)
class StackStatus:
    """The whole stack."""

    name: str
    engine: str
    folder: str
    services: tuple[ServiceReport, ...]
    model: ModelReport | None
    problems: tuple[str, ...]
    staging: ModelReport | None = None
    backup: BackupReport | None = None

    @property
    def running(self) -> bool:
        """Whether any service runs."""
        return any(service.state != "stopped" for service in self.services)

    def to_dict(self) -> dict[str, Any]:
        """Return the document that ``--json`` prints."""
        return {
            "name": self.name,
            "engine": self.engine,
            "folder": self.folder,
            "state": "stopped" if not self.running else "degraded" if self.problems else "healthy",
            "services": [asdict(service) for service in self.services],
            "model": self.model.to_dict() if self.model else None,
            "staging": self.staging.to_dict() if self.staging else None,
            "backup": self.backup.to_dict() if self.backup else None,
            "problems": list(self.problems),
        }


def status(stack: Stack, engine: Engine) -> StackStatus:
    """Ask the engine and every running service how they are."""
    with asked(stack) as freshness:
        states = {state.name: state for state in engine.states()}
        running = [service for service in stack.services if _state(states, service).state == "running"]
        health = probe_all(running)
        services = tuple(
            _report(service, _state(states, service), health.get(service.name)) for service in stack.services
        )
        healthy = {report.name for report in services if report.health == "healthy"}
        reports = [_model(stack, target) for target in TARGETS if _SERVER[target.name] in healthy]
        answered = health[BACKUP].body if BACKUP in healthy else b""
        backup = backup_report(stack, freshness, answered, running=BACKUP in healthy)
    problems = [problem for problem in map(_problem, services) if problem]
    problems += [report.problem for report in reports if report.problem]
    problems += backup.problems
    if all(report.state == "stopped" for report in services):
        problems = []
    if unfinished := open_restore.sentence(stack):
        problems.append(unfinished)
    by_target = {report.target: report for report in reports}
    return StackStatus(
        stack.name,
        engine.name,
        str(stack.home),
        (*services, *map(_on_demand, engine.on_demand())),
        by_target.get(PRODUCTION.name),
        tuple(problems),
        by_target.get(STAGING.name),
        backup,
    )


def _problem(report: ServiceReport) -> str | None:
    if report.health == "healthy":
        return None
    what = report.health if report.state == "running" else report.state
    return f"{report.name} is {what}" + (f": {report.detail}" if report.detail else "")


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


def _on_demand(state: ServiceState) -> ServiceReport:
    """Return a service that batches start; nothing of it is a problem of the stack, its absence least of all."""
    return ServiceReport(
        name=state.name,
        title=ON_DEMAND[state.name],
        state=state.state,
        health="healthy" if state.state == "running" else "-",
        url="",
        version=state.version,
        memory=state.memory,
        restarts=state.restarts,
        detail=state.detail,
    )


def _model(stack: Stack, target: Target) -> ModelReport:
    from stackctl.lifecycle.promote import recover
    from stackctl.models import Registry
    from stackctl.serving.client import ModelServerClient

    report = ModelReport(stack.settings.model, None, None, target=target.name)
    try:
        with ModelServerClient(stack.servers_for(target.name)[0]) as server, Registry.of(stack) as registry:
            shown = server.model()
            report = replace(
                report,
                served=shown["version"],
                last_death=shown.get("last_death"),
                stale_registry_since=shown.get("stale_registry_since"),
            )
            recovered = recover(stack, registry=registry) if target is PRODUCTION else None
            wanted, disagreement = _wanted(registry, report.name, target)
        going_on = recovered is not None and recovered.outcome == "running"
        return replace(
            report,
            production=wanted,
            error=shown["error"] or (None if going_on else disagreement),
            recovered=recovered.sentence if recovered else None,
        )
    except StackctlError as error:
        return replace(report, error=error.message)


def _wanted(registry: Registry, model: str, target: Target) -> tuple[str | None, str | None]:
    """Return the version that a target leads to, and a sentence where its two names lead to different ones."""
    from stackctl.models.arrivals import agreed
    from stackctl.models.history import events_of

    found = registry.find_model(model)
    if found is None:
        return None, None
    pair = found.pair(target)
    # A version has one stage: one that is in Production is in staging by its alias alone.
    differs = not pair.agrees and (target is PRODUCTION or pair.stage is not None)
    sentence = f"stage (version {pair.stage or 'none'}) and alias ({pair.alias or 'none'}) disagree"
    return pair.winner(agreed(events_of(found), target)), sentence if differs else None
