"""The journal of a promotion: one tag on the registered model, written before anything else and deleted last.

MLflow has no transaction over a stage and an alias. The journal says what was meant, so that whoever finds it open can
finish the promotion (its phase is ``committing``: everything was checked and decided) or undo it (``preparing``:
Production was not touched).
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal
from uuid import uuid4

from stackctl.errors import StackctlError
from stackctl.models import tags
from stackctl.models.registry import Registry
from stackctl.models.versions import iso

Phase = Literal["preparing", "committing"]
SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Journal:
    """One open promotion.

    Attributes:
        id: names it; a writer checks that the journal it finds is still its own.
        previous: the version in Production when it began, or None.
        version: the version to promote.
        phase: ``preparing``, or ``committing`` once the promotion is decided.
        started_at: when it began, ISO 8601 in UTC.
        by: who runs it: user, machine and stack folder.
        committed_at: when it was decided, or None.
    """

    id: str
    previous: str | None
    version: str
    phase: Phase
    started_at: str
    by: str
    committed_at: str | None = None

    @classmethod
    def begin(cls, previous: str | None, version: str, *, by: str, now: datetime) -> Journal:
        """Return the journal of a promotion that begins."""
        return cls(uuid4().hex[:12], previous, version, "preparing", iso(now), by)

    def to_json(self) -> str:
        """Return the tag's value."""
        document = asdict(self)
        document["from"] = document.pop("previous")
        document["to"] = document.pop("version")
        return json.dumps({"schema_version": SCHEMA_VERSION, **document}, sort_keys=True)

    @classmethod
    def parse(cls, text: str) -> Journal:
        """Read a tag's value.

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
            )
        except (ValueError, KeyError, TypeError) as error:
            raise StackctlError(
                f"The tag {tags.PROMOTION} holds something that is not the journal of a promotion: {text[:200]!r}.",
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


def read_journal(registry: Registry, model: str) -> Journal | None:
    """Return the open journal of a model, or None (also where there is no such model)."""
    found = registry.find_model(model)
    text = found.tags.get(tags.PROMOTION) if found else None
    return Journal.parse(text) if text else None


def write_journal(registry: Registry, model: str, journal: Journal) -> None:
    """Write the journal into the registry and make sure that it is the one that stands.

    Raises:
        StackctlError: somebody else's promotion of this model began in the same moment.
    """
    registry.set_model_tag(model, tags.PROMOTION, journal.to_json())
    check_own(registry, model, journal)


def check_own(registry: Registry, model: str, journal: Journal) -> None:
    """Make sure that the open journal is ``journal``.

    Raises:
        StackctlError: it is somebody else's, or was closed.
    """
    standing = read_journal(registry, model)
    if standing is None or standing.id != journal.id:
        who = f"{standing.by} is promoting version {standing.version}" if standing else "it was closed by somebody else"
        raise JournalLost(
            f"The promotion of {model} version {journal.version} was overtaken: {who}.",
            "Look at `stackctl models show` and promote again.",
        )


class JournalLost(StackctlError):
    """The journal in the registry is not the one this process wrote."""


def close_journal(registry: Registry, model: str) -> None:
    """Delete the journal: the promotion is over."""
    registry.delete_model_tag(model, tags.PROMOTION)
