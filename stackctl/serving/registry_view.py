"""What the model server asks the registry: which versions are Production and candidate, and what they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from stackctl.errors import StackctlError
from stackctl.models import tags as names
from stackctl.models.registry import Registry
from stackctl.models.rest import Rest
from stackctl.stack import Stack

READY = "READY"
TIMEOUT_SECONDS = 5.0


@dataclass(frozen=True)
class Facts:
    """The registry at one moment.

    Attributes:
        alias: version under the alias ``production``.
        stage: highest version in the stage Production.
        candidate: version under the alias ``candidate``.
        journal: text of the promotion that is under way, or None.
    """

    alias: str | None = None
    stage: str | None = None
    candidate: str | None = None
    journal: str | None = None


@dataclass(frozen=True)
class Version:
    """One version of the registered model, with the metrics and params of its run.

    Attributes:
        digest: the digest its files must have; None accepts any.
        contract: the contract it claims to keep.
        promoted_at: when it was promoted (ISO 8601).
        status: ``READY`` once its files are there.
    """

    name: str
    version: str
    run_id: str | None = None
    digest: str | None = None
    contract: str | None = None
    promoted_at: str | None = None
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

    def close(self) -> None:
        """Close its connections."""


class MlflowView:
    """The registry behind MLflow's REST API; blocking, for one thread at a time."""

    def __init__(self, stack: Stack, model: str) -> None:
        self._model = model
        token = stack.mlflow_token()
        self._registry = Registry(stack.endpoints.mlflow, stack.endpoints.registry, token, timeout=TIMEOUT_SECONDS)
        self._runs = Rest(stack.endpoints.mlflow, token, timeout=TIMEOUT_SECONDS)

    def facts(self) -> Facts:
        """Return which versions are Production and candidate: one call."""
        model = self._registry.find_model(self._model)
        if model is None:
            return Facts()
        return Facts(
            alias=model.production.alias,
            stage=model.production.stage,
            candidate=model.aliases.get(names.CANDIDATE_ALIAS),
            journal=model.tags.get(names.PROMOTION),
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
            promoted_at=found.promoted_at,
            status=found.status,
            metrics=metrics,
            params=params,
        )

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

    While a promotion is under way only the alias counts. Otherwise, where alias and stage differ, the one that changed
    since they last agreed wins; without such a pair, or when both changed, the alias does.
    """
    if facts.journal is not None:
        return facts.alias
    if facts.alias is None or facts.stage is None:
        return facts.alias or facts.stage
    if facts.alias != facts.stage and facts.alias == agreed:
        return facts.stage
    return facts.alias
