"""Brings the two names of a target together after something else moved one of them: MLflow's UI, the old stage API.

The caller (the model server that follows the target) has made sure that the version passes its checks and serves it.
The names come first and the history last: whoever is killed between two steps leaves what the next call completes.
"""

from __future__ import annotations

from datetime import UTC, datetime

from stackctl.models import tags
from stackctl.models.history import Event, events_of, last_arrival, moment, record
from stackctl.models.registry import Registry
from stackctl.models.targets import PRODUCTION, Target
from stackctl.models.versions import Production, RegisteredModel, iso


def align(
    registry: Registry, model: str, target: Target, agreed: str | None, by: str, *, now: datetime | None = None
) -> Event | None:
    """Bring stage and alias of a target to the version that counts, and record that it came from elsewhere.

    Call it where the two disagree, and once where they agree on another version than before: the history may not know.

    Args:
        registry: where the names are.
        model: the registered model.
        target: whose names.
        agreed: the version both names led to when they last agreed; None takes it from the history.
        by: who aligns, for the history.
        now: the moment, for the history.

    Returns:
        What was recorded, or None where nothing had to be done: the names agree and the history knows it, or a
        promotion is going on (it is the one to bring them together).

    Raises:
        Unhealthy: MLflow does not answer.
    """
    found = registry.find_model(model)
    if found is None or target.journal_tag in found.tags:
        return None
    pair = found.pair(target)
    known = last_arrival(events_of(found), target.name)
    agreed = agreed or (known.version if known else None)
    winner = pair.winner(agreed)
    if winner is None:
        return None
    version = registry.version(model, winner)
    arrived = known.version == winner if known else arrival_tag(target) in version.tags
    settled = is_settled(pair, target, version.stage)
    if settled and arrived:
        return None
    if not settled:
        set_names(registry, found, target, winner, version.stage)
    moved = now or datetime.now(UTC)
    before = next(
        (number for number in (known.version if known else None, agreed) if number not in (None, winner)), None
    )
    event = record(registry, model, _event(pair, target, winner, before, by, moved, arrived=arrived))
    if not arrived:
        registry.set_version_tag(model, winner, arrival_tag(target), iso(moved))
    return event


def is_settled(pair: Production, target: Target, current_stage: str) -> bool:
    """Return whether both names lead to the version that counts, which is in ``current_stage``.

    What is in Production is at staging by its alias alone: a version has one stage.
    """
    return pair.agrees or (pair.stage is None and PRODUCTION.stage == current_stage != target.stage)


def set_names(registry: Registry, model: RegisteredModel, target: Target, version: str, current_stage: str) -> None:
    """Point stage and alias of a target to a version, which is in ``current_stage``.

    A version has one stage: one that is in Production stays there when it goes to staging as well, and whatever the
    stage Staging held is archived.
    """
    if target is not PRODUCTION and current_stage == PRODUCTION.stage:
        other = model.stages.get(target.stage)
        if other is not None:
            registry.transition_stage(model.name, other, "Archived", archive_existing=False)
    else:
        registry.transition_stage(model.name, version, target.stage, archive_existing=True)
    registry.set_alias(model.name, target.alias, version)


def arrival_tag(target: Target) -> str:
    """Return the tag of a version that says when it reached the target."""
    return tags.PROMOTED_AT if target is PRODUCTION else tags.STAGED_AT


def _event(
    pair: Production, target: Target, winner: str, before: str | None, by: str, now: datetime, *, arrived: bool
) -> Event:
    if pair.agrees:
        reason = f"stage and alias of {target.stage} were moved to version {winner}"
    else:
        reason = (
            f"stage {target.stage} led to {_named(pair.stage)}, alias {target.alias} to {_named(pair.alias)}: "
            f"version {winner} counts, both lead to it now"
        )
    return Event(moment(now), "aligned" if arrived else "elsewhere", target.name, winner, before, by, reason)


def _named(version: str | None) -> str:
    return f"version {version}" if version else "nothing"
