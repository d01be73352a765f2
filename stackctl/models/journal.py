"""The journal of a promotion: one tag on the registered model, written before anything else and deleted last.

Each target has a journal of its own.

MLflow has no transaction over a stage and an alias. The journal says what was meant, so that whoever finds it open can
finish the promotion (its phase is ``committing``: everything was checked and decided) or undo it (``preparing``: the
target was not touched).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Literal
from uuid import uuid4

from stackctl.errors import StackctlError
from stackctl.models.history import Figure
from stackctl.models.registry import Registry
from stackctl.models.targets import PRODUCTION, Target
from stackctl.models.versions import iso

Phase = Literal["preparing", "committing"]
Purpose = Literal["promote", "rollback"]
SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Journal:
    """One open promotion.

    Attributes:
        id: names it; a writer checks that the journal it finds is still its own.
        previous: the version at the target when it began, or None.
        version: the version to promote.
        phase: ``preparing``, or ``committing`` once the promotion is decided.
        started_at: when it began, ISO 8601 in UTC.
        by: who runs it: user, machine and stack folder.
        committed_at: when it was decided, to the millisecond, or None.
        purpose: ``promote`` or ``rollback``; for the history.
        reason: why, or None; for the history.
        figures: what the gates compared; for the history.
        replaced: the versions that stage and alias led to when it began, where they did not agree.
    """

    id: str
    previous: str | None
    version: str
    phase: Phase
    started_at: str
    by: str
    committed_at: str | None = None
    purpose: Purpose = "promote"
    reason: str | None = None
    figures: Mapping[str, Figure] = field(default_factory=dict)
    replaced: tuple[str, ...] = ()

    @classmethod
    def begin(
        cls,
        previous: str | None,
        version: str,
        *,
        by: str,
        now: datetime,
        purpose: Purpose = "promote",
        reason: str | None = None,
        replaced: tuple[str, ...] = (),
    ) -> Journal:
        """Return the journal of a promotion that begins."""
        began = iso(now)
        return cls(
            uuid4().hex[:12],
            previous,
            version,
            "preparing",
            began,
            by,
            purpose=purpose,
            reason=reason,
            replaced=replaced,
        )

    def to_json(self) -> str:
        """Return the tag's value."""
        document = {**asdict(self), "figures": dict(self.figures), "replaced": list(self.replaced)}
        document["from"] = document.pop("previous")
        document["to"] = document.pop("version")
        return json.dumps({"schema_version": SCHEMA_VERSION, **document}, sort_keys=True)

    @classmethod
    def parse(cls, text: str, tag: str = PRODUCTION.journal_tag) -> Journal:
        """Read the value of a journal's tag.

        Raises:
            StackctlError: it is not a journal, or a newer stackctl's.
        """
        try:
            document = json.loads(text)
            if document["schema_version"] != SCHEMA_VERSION:
                raise StackctlError(
                    f"The journal of a promotion has schema version {document['schema_version']}; "
                    f"this stackctl knows {SCHEMA_VERSION}.",
                    "Use the stackctl that began the promotion, or a newer one.",
                )
            phase: Phase = "committing" if document["phase"] == "committing" else "preparing"
            return cls(
                id=str(document["id"]),
                previous=None if document["from"] is None else str(document["from"]),
                version=str(document["to"]),
                phase=phase,
                started_at=str(document["started_at"]),
                by=str(document["by"]),
                committed_at=document.get("committed_at"),
                purpose="rollback" if document.get("purpose") == "rollback" else "promote",
                reason=document.get("reason"),
                figures=dict(document.get("figures") or {}),
                replaced=tuple(str(name) for name in document.get("replaced") or ()),
            )
        except (ValueError, KeyError, TypeError) as error:
            raise StackctlError(
                f"The tag {tag} holds something that is not the journal of a promotion: {text[:200]!r}.",
                "Delete that tag from the registered model in MLflow, then run the command again.",
            ) from error

    def age(self, now: datetime) -> timedelta:
        """Return how long ago it began; zero where its start cannot be read or lies ahead."""
        try:
            started = datetime.fromisoformat(self.started_at)
        except ValueError:
            return timedelta(0)
        started = started if started.tzinfo else started.replace(tzinfo=UTC)
        return max(now - started, timedelta(0))


def read_journal(registry: Registry, model: str, target: Target = PRODUCTION) -> Journal | None:
    """Return the open journal of a model's target, or None (also where there is no such model)."""
    found = registry.find_model(model)
    text = found.tags.get(target.journal_tag) if found else None
    return Journal.parse(text, target.journal_tag) if text else None


def write_journal(registry: Registry, model: str, target: Target, journal: Journal) -> None:
    """Write the journal into the registry and make sure that it is the one that stands.

    Raises:
        StackctlError: somebody else's promotion of this model began in the same moment.
    """
    registry.set_model_tag(model, target.journal_tag, journal.to_json())
    check_own(registry, model, target, journal)


def check_own(registry: Registry, model: str, target: Target, journal: Journal) -> None:
    """Make sure that the open journal is ``journal``.

    Raises:
        JournalLost: it is somebody else's, or was closed.
    """
    standing = read_journal(registry, model, target)
    if standing is None or standing.id != journal.id:
        who = f"{standing.by} is promoting version {standing.version}" if standing else "it was closed by somebody else"
        raise JournalLost(
            f"The promotion of {model} version {journal.version} was overtaken: {who}.",
            "Look at `stackctl models show` and promote again.",
        )


class JournalLost(StackctlError):
    """The journal in the registry is not the one this process wrote."""


def close_journal(registry: Registry, model: str, target: Target) -> None:
    """Delete the journal: the promotion is over."""
    registry.delete_model_tag(model, target.journal_tag)
