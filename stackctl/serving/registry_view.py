"""What the model server asks the registry: which versions its target names, and what they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol

from stackctl.errors import StackctlError
from stackctl.models.alignment import align, arrival_tag
from stackctl.models.history import Event, events_of, last_arrival, moment, record
from stackctl.models.registry import Registry
from stackctl.models.rest import Rest
from stackctl.models.tags import EVALUATION_DIGEST
from stackctl.models.targets import PRODUCTION, Target
from stackctl.models.versions import Production
from stackctl.stack import Stack

READY = "READY"
TIMEOUT_SECONDS = 5.0


@dataclass(frozen=True)
class Facts:
    """The registry at one moment.

    Attributes:
        alias: version under the target's alias (``production``).
        stage: highest version in the target's stage (``Production``).
        candidate: version under the alias of the target's candidate (``candidate``).
        journal: text of the promotion that is under way, or None.
        known: version that the history last saw arrive at the target, or None.
        gone: whether there is no such model.
    """

    alias: str | None = None
    stage: str | None = None
    candidate: str | None = None
    journal: str | None = None
    known: str | None = None
    gone: bool = False

    @property
    def settled(self) -> bool:
        """Whether alias and stage agree on what the history says."""
        return self.alias == self.stage and self.alias in (None, self.known)


@dataclass(frozen=True)
class Version:
    """One version of the registered model, with the metrics and params of its run.

    Attributes:
        digest: the digest its files must have; None accepts any.
        contract: the contract it claims to keep.
        promoted_at: when it was promoted (ISO 8601).
        evaluation: digest of the data set its metrics were measured on, where that is known.
        status: ``READY`` once its files are there.
    """

    name: str
    version: str
    run_id: str | None = None
    digest: str | None = None
    contract: str | None = None
    promoted_at: str | None = None
    evaluation: str | None = None
    status: str = READY
    metrics: Mapping[str, float] = field(default_factory=dict)
    params: Mapping[str, str] = field(default_factory=dict)


class RegistryView(Protocol):
    """Looks at one registered model; every call raises ``Unhealthy`` when the registry does not answer."""

    def facts(self) -> Facts:
        """Return which versions are Production and candidate; a model that does not exist has neither."""

    def version(self, number: str) -> Version:
        """Return one version.

        Raises:
            StackctlError: there is no such version.
        """

    def align(self, agreed: str | None, by: str) -> str | None:
        """Bring alias and stage together on the one that counts; return what the history says of that, or None.

        Args:
            agreed: the version both led to when they last agreed.
            by: who aligns.
        """

    def report_failure(self, version: str, back_to: str, reason: str, by: str) -> None:
        """Write into the history that a version was taken back."""

    def close(self) -> None:
        """Close its connections."""


class MlflowView:
    """The registry behind MLflow's REST API; blocking, for one thread at a time."""

    def __init__(self, stack: Stack, model: str, target: Target = PRODUCTION) -> None:
        self._model = model
        self._target = target
        token = stack.mlflow_token()
        self._registry = Registry(stack.endpoints.mlflow, stack.endpoints.registry, token, timeout=TIMEOUT_SECONDS)
        self._runs = Rest(stack.endpoints.mlflow, token, timeout=TIMEOUT_SECONDS)

    def facts(self) -> Facts:
        """Return which versions are Production and candidate: one call."""
        model = self._registry.find_model(self._model)
        if model is None:
            return Facts(gone=True)
        known = last_arrival(events_of(model), self._target.name)
        return Facts(
            alias=model.aliases.get(self._target.alias),
            stage=model.stages.get(self._target.stage),
            candidate=model.aliases.get(self._target.candidate_alias),
            journal=model.tags.get(self._target.journal_tag),
            known=known.version if known else None,
        )

    def version(self, number: str) -> Version:
        """Return one version with its run's metrics and params: two calls."""
        found = self._registry.version(self._model, number)
        metrics, params = self._run(found.run_id) if found.run_id else ({}, {})
        return Version(
            name=found.name,
            version=found.version,
            run_id=found.run_id,
            digest=found.digest,
            contract=found.contract,
            promoted_at=found.tags.get(arrival_tag(self._target)),
            evaluation=found.tags.get(EVALUATION_DIGEST),
            status=found.status,
            metrics=metrics,
            params=params,
        )

    def align(self, agreed: str | None, by: str) -> str | None:
        """Bring alias and stage together on the one that counts."""
        event = align(self._registry, self._model, self._target, agreed, by)
        return f"{event.action}: {event.reason}" if event else None

    def report_failure(self, version: str, back_to: str, reason: str, by: str) -> None:
        """Write into the history that a version was taken back."""
        at = moment(datetime.now(UTC))
        record(self._registry, self._model, Event(at, "failed", self._target.name, version, back_to, by, reason))

    def close(self) -> None:
        """Close its connections."""
        self._registry.close()
        self._runs.close()

    def _run(self, run_id: str) -> tuple[dict[str, float], dict[str, str]]:
        try:
            data = self._runs.get("runs/get", {"run_id": run_id})["run"].get("data", {})
        except StackctlError:  # a version is served without its run too
            return {}, {}
        metrics = {entry["key"]: float(entry["value"]) for entry in data.get("metrics", [])}
        return metrics, {entry["key"]: str(entry["value"]) for entry in data.get("params", [])}


def production_of(facts: Facts, agreed: str | None) -> str | None:
    """Return the version that is Production.

    Args:
        facts: the registry now.
        agreed: the version under alias and stage when they last agreed.

    While a promotion is under way only the alias counts; otherwise the rule is the registry's own
    (``Production.winner``). What the history last saw arrive stands for a pair this server has not seen itself.
    """
    if facts.journal is not None:
        return facts.alias
    return Production(facts.stage, facts.alias).winner(agreed or facts.known)
