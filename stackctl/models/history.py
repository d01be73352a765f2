"""What happened to a model: one tag on the registered model per event, so that it outlives every stack folder.

MLflow keeps tag values of up to 5,000 characters in every database it supports, and answers all tags of a model at
once: events are short, and the newest 200 are kept.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Literal, cast
from uuid import uuid4

from stackctl.models import tags
from stackctl.models.registry import Registry
from stackctl.models.versions import RegisteredModel

SCHEMA_VERSION = 1
KEPT = 200
VALUE_LIMIT = 5000
_REASON_LIMIT = 1500

Action = Literal["promote", "rollback", "elsewhere", "aligned", "refused", "failed", "deploy"]
ARRIVALS = frozenset({"promote", "rollback", "elsewhere"})
"""Actions after which the target is at the event's version."""

Figure = float | str | None


@dataclass(frozen=True)
class Event:
    """One thing that happened to a model.

    Attributes:
        at: when, ISO 8601 in UTC, to the millisecond (see ``moment``).
        action: ``promote``, ``rollback``: a version reached the target by this product; ``elsewhere``: it was found
            there, brought by something else (MLflow's UI, its API); ``aligned``: stage and alias were brought
            together; ``refused``: a gate or a server refused it; ``failed``: a server that took it went back;
            ``deploy``: a decision of the deployer.
        target: ``production`` or ``staging``.
        version: the version it is about.
        previous: the version that the target was at before, or None.
        by: who did it: user, machine and stack folder, or a service.
        reason: why, in a sentence, or None.
        figures: what was compared or measured, by name.
        id: names it; recording an event a second time under its id and moment changes nothing.
    """

    at: str
    action: Action
    target: str
    version: str
    previous: str | None
    by: str
    reason: str | None = None
    figures: Mapping[str, Figure] = field(default_factory=dict)
    id: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return it as a JSON document."""
        return {**asdict(self), "figures": dict(self.figures)}


def moment(now: datetime) -> str:
    """Return a moment as events carry it: ISO 8601 in UTC, to the millisecond, ending in ``Z``."""
    return now.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def record(registry: Registry, model: str, event: Event) -> Event:
    """Write an event into the registry, drop the oldest ones beyond those kept, and return it as written.

    Arrivals outlive what was refused or decided: a rollback needs them.

    Raises:
        Unhealthy: MLflow does not answer.
    """
    written = event if event.id else replace(event, id=uuid4().hex[:12])
    registry.set_model_tag(model, _key(written), _value(written))
    found = registry.find_model(model)
    if found is not None:
        for key in _superfluous(found.tags):
            registry.delete_model_tag(model, key)
    return written


def _superfluous(model_tags: Mapping[str, str]) -> list[str]:
    keys = sorted(key for key in model_tags if key.startswith(tags.HISTORY))
    droppable = keys[: -KEPT // 4]  # the newest stay, whatever they are
    arrivals = {key for key in droppable if (event := _parse(model_tags[key])) and event.action in ARRIVALS}
    droppable.sort(key=lambda key: (key in arrivals, key))
    return droppable[: max(0, len(keys) - KEPT)]


def read(registry: Registry, model: str) -> list[Event]:
    """Return what happened to a model, newest first.

    Raises:
        UnknownModel: there is no such model.
        Unhealthy: MLflow does not answer.
    """
    return events_of(registry.model(model))


def events_of(model: RegisteredModel) -> list[Event]:
    """Return the events among the tags of a model that was read already, newest first; unreadable ones are left out."""
    found = (_parse(text) for key, text in model.tags.items() if key.startswith(tags.HISTORY))
    return sorted((event for event in found if event), key=lambda event: (event.at, event.id), reverse=True)


def last_arrival(events: Sequence[Event], target: str) -> Event | None:
    """Return the newest event that brought a version to the target, or None."""
    return next((event for event in events if event.target == target and event.action in ARRIVALS), None)


def _key(event: Event) -> str:
    return f"{tags.HISTORY}{event.at.replace(':', '').replace('-', '')}-{event.id}"


def _value(event: Event) -> str:
    reason = event.reason
    if reason is not None and len(reason) > _REASON_LIMIT:
        reason = reason[: _REASON_LIMIT - 1] + "…"
    document = {"schema_version": SCHEMA_VERSION, **event.to_dict(), "reason": reason}
    text = json.dumps(document, sort_keys=True, ensure_ascii=False)
    if len(text) > VALUE_LIMIT:
        text = json.dumps({**document, "figures": {}}, sort_keys=True, ensure_ascii=False)
    return text


def _parse(text: str) -> Event | None:
    try:
        document = json.loads(text)
        previous = document.get("previous")
        return Event(
            at=str(document["at"]),
            action=cast("Action", str(document["action"])),
            target=str(document["target"]),
            version=str(document["version"]),
            previous=None if previous is None else str(previous),
            by=str(document["by"]),
            reason=document.get("reason"),
            figures=dict(document.get("figures") or {}),
            id=str(document.get("id") or ""),
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
