"""What a version must fulfil before any server prepares it; a refusal names the gate and quotes both figures."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from stackctl.models import tags
from stackctl.models.history import Figure
from stackctl.models.promotion import PromotionRefused
from stackctl.models.registry import Registry
from stackctl.models.versions import ModelVersion

Direction = Literal["higher", "lower"]
READY = "READY"
BF16_DB = 50.0
"""PSNR in dB from which on ``auto`` may choose bf16."""


@dataclass(frozen=True)
class MetricGate:
    """The version must be better than the champion.

    Attributes:
        metric: name of a metric of the versions' runs.
        min_delta: by how much at least, in the metric's unit; 0 asks for any improvement.
        direction: what is better.
    """

    metric: str
    min_delta: float = 0.0
    direction: Direction = "higher"

    def improvement(self, ours: float, champions: float) -> float:
        """Return by how much ``ours`` is better; negative where it is worse."""
        return ours - champions if self.direction == "higher" else champions - ours

    def passes(self, ours: float, champions: float) -> bool:
        """Return whether ``ours`` is better by enough; rounding of the last digits does not count."""
        improvement = self.improvement(ours, champions)
        enough = improvement >= self.min_delta or math.isclose(improvement, self.min_delta, rel_tol=1e-9)
        return improvement > 0 and enough


@dataclass(frozen=True)
class Passed:
    """A gate that let a version through: what it saw, for a person and for the history."""

    gate: str
    sentence: str
    figures: Mapping[str, Figure] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return it as a JSON document."""
        return {"gate": self.gate, "sentence": self.sentence, "figures": dict(self.figures)}


def check_all(
    registry: Registry, version: ModelVersion, champion: ModelVersion | None, metric: MetricGate | None
) -> list[Passed]:
    """Hold a version against every gate that needs no model server.

    Args:
        registry: where the figures are.
        version: the version to promote.
        champion: the version in Production, or None.
        metric: the comparison that was asked for, or None.

    Raises:
        PromotionRefused: a gate refused it; the message says which, with both figures.
    """
    passed = [_status(version), _contract(version, champion), _golden(version), _fidelity(version)]
    if metric is not None:
        passed.append(_metric(registry, version, champion, metric))
    return [gate for gate in passed if gate is not None]


def _status(version: ModelVersion) -> Passed:
    if version.status != READY:
        raise PromotionRefused(
            f"{version.title} is not ready: its status in the registry is {version.status}, not {READY}.",
            "status",
            "Wait until it is registered completely, or register it again.",
        )
    return Passed("status", f"its files are registered ({READY})")


def _contract(version: ModelVersion, champion: ModelVersion | None) -> Passed | None:
    if champion is None or champion.contract is None:
        return None
    if version.contract != champion.contract:
        has = f"has the contract {version.contract}" if version.contract else "has no contract"
        raise PromotionRefused(
            f"{version.title} {has}, version {champion.version} in Production has the contract {champion.contract}: "
            "whoever sends it requests now would not be answered any more.",
            "contract",
            "Register it as a model of that contract, or under a name of its own.",
        )
    return Passed("contract", f"it keeps the contract {champion.contract}, as version {champion.version} does")


def _golden(version: ModelVersion) -> Passed | None:
    recorded = version.tags.get(tags.GOLDEN)
    if recorded is None:
        return None
    if recorded.startswith("failed"):
        reason = recorded.removeprefix("failed").lstrip(": ") or "no reason was recorded"
        raise PromotionRefused(
            f"{version.title} did not reproduce its golden outputs when it was registered: {reason}.",
            "golden",
            "Register it again on a machine where it does.",
        )
    return Passed("golden", "it reproduced its golden outputs when it was registered")


def _fidelity(version: ModelVersion) -> Passed | None:
    """Say what the recorded fidelity means; it decides the precision, so no figure of it refuses a version."""
    recorded = version.tags.get(tags.FIDELITY_BF16)
    figure = _number(recorded)
    if recorded is None or figure is None:
        return None
    enough = figure >= BF16_DB
    meaning = "may be chosen where the CPU has it" if enough else "is never chosen for it: precision auto stays fp32"
    comparison = f"{figure:g} dB against {BF16_DB:g} dB"
    return Passed("fidelity", f"bf16 {meaning} ({comparison})", {"bf16_psnr_db": figure})


def _metric(registry: Registry, version: ModelVersion, champion: ModelVersion | None, gate: MetricGate) -> Passed:
    ours, on = _measured(registry, version, gate)
    if champion is None:
        return Passed(
            "metric", f"{gate.metric} is {ours:g}; nothing is in Production to compare with", {"metric": ours}
        )
    champions, theirs_on = _measured(registry, champion, gate)
    if on is None or on != theirs_on:
        raise PromotionRefused(
            f"{version.title} cannot be compared with version {champion.version} in Production: {gate.metric} was "
            f"measured on different data ({ours:g} on {on or 'data that was not recorded'}, {champions:g} on "
            f"{theirs_on or 'data that was not recorded'}).",
            "metric",
            f"Evaluate both on the same data set and tag each version with {tags.EVALUATION_DIGEST}.",
        )
    improvement = gate.improvement(ours, champions)
    asked = f"at least {gate.min_delta:g}" if gate.min_delta else "any improvement"
    figures: dict[str, Figure] = {gate.metric: ours, f"{gate.metric}_champion": champions, "data": on}
    comparison = (
        f"{gate.metric} {ours:g} against {champions:g} of version {champion.version} in Production "
        f"({gate.direction} is better: {improvement:+.6g}, asked for: {asked})"
    )
    if not gate.passes(ours, champions):
        raise PromotionRefused(
            f"{version.title} is not better: {comparison}.",
            "metric",
            "Promote it without --if-better if you want it in spite of that.",
            figures,
        )
    return Passed("metric", comparison, figures)


def _measured(registry: Registry, version: ModelVersion, gate: MetricGate) -> tuple[float, str | None]:
    """Return the version's figure and the digest of the data set it was measured on."""
    measured = registry.measured(version)
    value = measured.metrics.get(gate.metric)
    if value is None or not math.isfinite(value):
        known = ", ".join(sorted(measured.metrics)) or "none"
        found = f"its metric {gate.metric} is {value}" if value is not None else f"it has no metric {gate.metric}"
        raise PromotionRefused(
            f"{version.title} cannot be compared: {found}. Its metrics: {known}.",
            "metric",
            "Evaluate it, or choose one of its metrics.",
        )
    return value, measured.digest


def _number(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if math.isfinite(value) else None
