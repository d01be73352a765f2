"""Which versions reached a target, as the history tells it: what to record, and where a rollback leads."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from stackctl.models.alignment import arrival_tag
from stackctl.models.history import ARRIVALS, Event, events_of, last_arrival, moment, record
from stackctl.models.journal import Journal
from stackctl.models.promotion import PromotionRefused
from stackctl.models.registry import Registry, UnknownVersion
from stackctl.models.targets import TARGETS, Target
from stackctl.models.versions import RegisteredModel


def agreed(events: Sequence[Event], target: Target) -> str | None:
    """Return the version that stage and alias of the target last agreed on, as far as the history knows, or None."""
    known = last_arrival(events, target.name)
    return known.version if known else None


def record_arrival(registry: Registry, model: str, target: Target, journal: Journal, decided: datetime) -> None:
    """Record that a promotion went through; doing so a second time changes nothing.

    Where the version before it came from elsewhere and nobody recorded that, it is recorded first.
    """
    events = [event for event in events_of(registry.model(model)) if event.id != journal.id]
    previous = journal.previous
    if (
        previous is not None
        and previous != journal.version
        and not _is_known(registry, model, target, previous, events)
    ):
        before = moment(decided - timedelta(milliseconds=1))
        reason = f"found in {target.stage} by the next promotion"
        known = agreed(events, target)
        record(
            registry,
            model,
            Event(before, "elsewhere", target.name, previous, known, journal.by, reason, id=f"{journal.id}-before"),
        )
    completed = previous == journal.version == agreed(events, target) and bool(journal.replaced)
    missing = f"its stage or its alias {target.alias} was missing" if completed else None
    record(
        registry,
        model,
        Event(
            at=moment(decided),
            action="aligned" if completed else journal.purpose,
            target=target.name,
            version=journal.version,
            previous=previous,
            by=journal.by,
            reason=journal.reason or missing,
            figures=journal.figures,
            id=journal.id,
        ),
    )


def record_refusal(
    registry: Registry, model: str, target: Target, journal: Journal, refusal: PromotionRefused, now: datetime
) -> None:
    """Record that a version was refused; the same refusal again, right after, is not a new event."""
    event = Event(
        at=moment(now),
        action="refused",
        target=target.name,
        version=journal.version,
        previous=journal.previous,
        by=journal.by,
        reason=f"{refusal.gate}: {refusal.message}",
        figures=refusal.figures,
        id=journal.id,
    )
    newest = next(iter(events_of(registry.model(model))), None)
    if newest is None or (newest.action, newest.version, newest.reason) != ("refused", event.version, event.reason):
        record(registry, model, event)


def earlier(events: Sequence[Event], target: Target, current: str | None) -> list[str]:
    """Return the versions a rollback may lead to, the one to try first at the front.

    Arrivals pile up and a rollback takes them off again: after 1, 2, 3 and a rollback to 2, the next one leads to 1,
    and never back to 3.

    Args:
        events: the history, newest first.
        target: whose.
        current: the version at the target now, which may have come from elsewhere.
    """
    pile: list[str] = []
    for event in reversed(events):
        if event.target != target.name or event.action not in ARRIVALS:
            continue
        if event.previous is not None and (not pile or pile[-1] != event.previous) and event.action != "rollback":
            pile.append(event.previous)
        if event.action == "rollback" and event.version in pile:
            while pile[-1] != event.version:
                pile.pop()
        elif not pile or pile[-1] != event.version:
            pile.append(event.version)
    return list(dict.fromkeys(version for version in reversed(pile) if version != current))


def told(model: RegisteredModel, now: datetime) -> list[Event]:
    """Return what happened to a model, newest first, led by what was found now and nobody recorded yet."""
    events = events_of(model)
    found: list[Event] = []
    for target in TARGETS:
        known = agreed(events, target)
        winner = model.pair(target).winner(known)
        if winner is not None and known is not None and winner != known and target.journal_tag not in model.tags:
            reason = "found now, not recorded yet"
            found.append(Event(moment(now), "elsewhere", target.name, winner, known, "unknown", reason))
    return [*found, *events]


def _is_known(registry: Registry, model: str, target: Target, version: str, events: Sequence[Event]) -> bool:
    """Return whether the history knows that ``version`` was at the target last (or began only after it arrived)."""
    known = agreed(events, target)
    if known is not None:
        return known == version
    try:
        return arrival_tag(target) in registry.version(model, version).tags
    except UnknownVersion:
        return True
