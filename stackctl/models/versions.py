"""What the registry knows: registered models, their versions, and which one is in Production."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from stackctl.models import tags as names
from stackctl.models.targets import PRODUCTION, STAGING, Target


@dataclass(frozen=True)
class ModelVersion:
    """One version of a registered model.

    Attributes:
        name: the registered model.
        version: its number, as the registry writes it.
        stage: ``None``, ``Staging``, ``Production`` or ``Archived``, the registry's own words.
        aliases: aliases that point to it, sorted.
        status: ``READY`` once its files are there.
        run_id: the run that logged it, or None.
        source: where its files lie, for the registry.
        tags: its tags.
        metrics: metrics of its run; empty unless asked for.
        created_at: when it was registered, in UTC.
    """

    name: str
    version: str
    stage: str
    status: str
    created_at: datetime
    run_id: str | None = None
    source: str = ""
    aliases: tuple[str, ...] = ()
    tags: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    description: str = ""

    @property
    def title(self) -> str:
        """How a sentence names it."""
        return f"{self.name} version {self.version}"

    @property
    def digest(self) -> str | None:
        """The digest recorded for it, or None."""
        return self.tags.get(names.DIGEST)

    @property
    def contract(self) -> str | None:
        """The contract it says it honours, or None."""
        return self.tags.get(names.CONTRACT)

    @property
    def promoted_at(self) -> str | None:
        """When it was last promoted (ISO 8601, UTC), or None."""
        return self.tags.get(names.PROMOTED_AT)

    def to_dict(self) -> dict[str, Any]:
        """Return it as a JSON document."""
        return {
            "name": self.name,
            "version": self.version,
            "stage": self.stage,
            "aliases": list(self.aliases),
            "status": self.status,
            "run_id": self.run_id,
            "source": self.source,
            "digest": self.digest,
            "contract": self.contract,
            "promoted_at": self.promoted_at,
            "created_at": iso(self.created_at),
            "description": self.description,
            "tags": dict(self.tags),
            "metrics": dict(self.metrics),
        }


@dataclass(frozen=True)
class Measured:
    """What a version's evaluation measured.

    Attributes:
        metrics: the metrics of its run.
        digest: of the data set they were measured on, or None where that was not recorded.
    """

    metrics: Mapping[str, float]
    digest: str | None


@dataclass(frozen=True)
class Production:
    """Which version the two names of Production (or of another target) lead to.

    Attributes:
        stage: what ``models:/NAME/Production`` resolves to (the highest number in the stage), or None.
        alias: what ``models:/NAME@production`` resolves to, or None.
    """

    stage: str | None
    alias: str | None

    @property
    def agrees(self) -> bool:
        """Whether both names lead to the same version (or both to none)."""
        return self.stage == self.alias

    @property
    def version(self) -> str | None:
        """The version in Production: the alias's, the stage's where there is no alias, or None."""
        return self.alias or self.stage

    def winner(self, agreed: str | None) -> str | None:
        """Return the version that counts where the two disagree: the name that changed since they last agreed.

        Args:
            agreed: the version that both led to when they last agreed, or None where nobody knows.

        Where both changed, or nobody knows, the alias counts. A name that leads nowhere never counts against one that
        leads to a version: withdrawing one of the two takes nothing from users.
        """
        if self.stage is not None and self.alias == agreed:
            return self.stage
        return self.version

    def before(self, version: str, agreed: str | None) -> str | None:
        """Return the version that ``version`` replaces, or None.

        Where it counts already, that is the other name's; itself where its other name leads nowhere.
        """
        winner = self.winner(agreed)
        if winner != version or self.agrees:
            return None if winner == version else winner
        return (self.alias if self.stage == version else self.stage) or version


@dataclass(frozen=True)
class RegisteredModel:
    """A registered model: its aliases (alias → version), the version each stage resolves to, and its tags."""

    name: str
    created_at: datetime
    aliases: Mapping[str, str] = field(default_factory=dict)
    stages: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    latest: str | None = None
    description: str = ""

    @property
    def production(self) -> Production:
        """Which version is in Production."""
        return self.pair(PRODUCTION)

    def pair(self, target: Target) -> Production:
        """Return which version the stage and the alias of a target lead to."""
        return Production(self.stages.get(target.stage), self.aliases.get(target.alias))

    def to_dict(self) -> dict[str, Any]:
        """Return it as a JSON document."""
        return {
            "name": self.name,
            "latest": self.latest,
            "production": self.production.version,
            "production_agrees": self.production.agrees,
            "staging": self.pair(STAGING).version,
            "aliases": dict(self.aliases),
            "stages": dict(self.stages),
            "tags": dict(self.tags),
            "created_at": iso(self.created_at),
            "description": self.description,
        }


def parse_version(document: Mapping[str, Any], *, aliases: tuple[str, ...] = ()) -> ModelVersion:
    """Read a ``model_version`` of MLflow's REST API; ``aliases`` counts where the document has none."""
    found = tuple(sorted(document.get("aliases") or aliases))
    return ModelVersion(
        name=document["name"],
        version=str(document["version"]),
        stage=document.get("current_stage") or "None",
        status=document.get("status") or "READY",
        created_at=_moment(document.get("creation_timestamp")),
        run_id=document.get("run_id") or None,
        source=document.get("source") or "",
        aliases=found,
        tags=_pairs(document.get("tags")),
        description=document.get("description") or "",
    )


def parse_model(document: Mapping[str, Any]) -> RegisteredModel:
    """Read a ``registered_model`` of MLflow's REST API."""
    latest = document.get("latest_versions") or []
    numbers = [str(entry["version"]) for entry in latest]
    return RegisteredModel(
        name=document["name"],
        created_at=_moment(document.get("creation_timestamp")),
        aliases={entry["alias"]: str(entry["version"]) for entry in document.get("aliases") or []},
        stages={entry.get("current_stage") or "None": str(entry["version"]) for entry in latest},
        tags=_pairs(document.get("tags")),
        latest=max(numbers, key=int) if numbers else None,
        description=document.get("description") or "",
    )


def iso(moment: datetime) -> str:
    """Return a moment as ISO 8601 in UTC, to the second, ending in ``Z``."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _pairs(entries: list[Mapping[str, str]] | None) -> dict[str, str]:
    return {entry["key"]: entry.get("value", "") for entry in entries or []}


def _moment(milliseconds: int | str | None) -> datetime:
    return datetime.fromtimestamp(int(milliseconds or 0) / 1000, UTC)
