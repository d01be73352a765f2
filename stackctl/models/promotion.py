"""What a promotion comes to: gone through, refused, or recovered; and how long it may take."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Self, assert_never

from stackctl.errors import StackctlError
from stackctl.models.history import Figure
from stackctl.models.targets import PRODUCTION, Target

if TYPE_CHECKING:
    from stackctl.models.journal import Journal

Outcome = Literal["finished", "undone", "abandoned", "running"]


@dataclass(frozen=True)
class Deadlines:
    """How long the protocol waits, in seconds.

    Attributes:
        reach: for a model server that does not answer.
        prepare: for every server to say prepared or refused.
        live: for every server to serve the version, once it is committed.
        forget: for servers to drop what they still show of an earlier try.
        lease: how long somebody else's open journal is left alone.
        poll: between two questions to a server that prepares.
        poll_live: between two questions to a server that is about to flip.
    """

    reach: float = 3.0
    prepare: float = 180.0
    live: float = 60.0
    forget: float = 5.0
    lease: float = 900.0
    poll: float = 0.25
    poll_live: float = 0.05


@dataclass(frozen=True)
class Promotion:
    """A promotion that went through, or would have (``dry_run``).

    Attributes:
        model: the registered model.
        previous: the version that was at the target before, or None.
        version: the version at the target now.
        digest: its digest, or None where it was there already without one.
        changed: whether anything was done.
        seconds: from the first call to the last.
        live_seconds: from the commit until every server served it; None when that was not waited for.
        target: ``production`` or ``staging``.
        dry_run: it was checked and prepared, and everything undone.
        gates: what each gate saw (``gate``, ``sentence``, ``figures``).
        disagreed: stage and alias led to different versions before.
    """

    model: str
    previous: str | None
    version: str
    digest: str | None
    changed: bool
    seconds: float
    live_seconds: float | None
    target: str = PRODUCTION.name
    dry_run: bool = False
    gates: tuple[Mapping[str, Any], ...] = ()
    disagreed: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Return it as a JSON document."""
        return {
            "model": self.model,
            "previous": self.previous,
            "version": self.version,
            "digest": self.digest,
            "changed": self.changed,
            "seconds": round(self.seconds, 3),
            "live_seconds": None if self.live_seconds is None else round(self.live_seconds, 3),
            "target": self.target,
            "dry_run": self.dry_run,
            "gates": [dict(gate) for gate in self.gates],
            "disagreed": self.disagreed,
        }


@dataclass(frozen=True)
class Recovery:
    """What became of an interrupted promotion.

    ``finished``: it was decided, and is at the target now. ``undone``: the target was never touched. ``abandoned``: it
    was decided, but the target was changed elsewhere since (or the version deleted), which stands. ``running``:
    somebody is at it right now.
    """

    model: str
    version: str
    previous: str | None
    by: str
    outcome: Outcome
    target: Target = PRODUCTION

    @classmethod
    def of(cls, model: str, journal: Journal, outcome: Outcome, target: Target) -> Self:
        """Return what became of the promotion that a journal stands for."""
        return cls(model, journal.version, journal.previous, journal.by, outcome, target)

    @property
    def sentence(self) -> str:
        """What happened, in words."""
        where = "" if self.target is PRODUCTION else f" to {self.target.name}"
        what = f"promotion of {self.model} version {self.version}{where}, begun by {self.by},"
        match self.outcome:
            case "finished":
                return f"An interrupted {what} was finished."
            case "undone":
                return f"An interrupted {what} was undone; {self.target.stage} was not touched."
            case "abandoned":
                return f"An interrupted {what} was dropped: {self.target.stage} was changed elsewhere since."
            case "running":
                return f"A {what} is going on."
            case other:
                assert_never(other)


class PromotionRefused(StackctlError):
    """A gate refused the version; the target was not touched.

    ``gate`` names it (status, contract, golden, metric, server, digest), ``figures`` are what it compared.
    """

    def __init__(
        self, message: str, gate: str, hint: str | None = None, figures: Mapping[str, Figure] | None = None
    ) -> None:
        super().__init__(message, hint)
        self.gate = gate
        self.figures = dict(figures or {})
