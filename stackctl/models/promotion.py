"""What a promotion comes to: gone through, refused, or recovered; and how long it may take."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, assert_never

from stackctl.errors import StackctlError


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
    """A promotion that went through.

    Attributes:
        model: the registered model.
        previous: the version that was in Production before, or None.
        version: the version in Production now.
        digest: its digest, or None where it was in Production already without one.
        changed: whether anything had to be done.
        seconds: from the first call to the last.
        live_seconds: from the commit until every server served it; None when that was not waited for.
    """

    model: str
    previous: str | None
    version: str
    digest: str | None
    changed: bool
    seconds: float
    live_seconds: float | None

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
        }


@dataclass(frozen=True)
class Recovery:
    """What became of an interrupted promotion.

    ``finished``: it was decided, and is in Production now. ``undone``: Production was never touched. ``abandoned``: it
    was decided, but Production was changed elsewhere since (or the version deleted), which stands. ``running``:
    somebody is at it right now.
    """

    model: str
    version: str
    previous: str | None
    by: str
    outcome: Literal["finished", "undone", "abandoned", "running"]

    @property
    def sentence(self) -> str:
        """What happened, in words."""
        what = f"promotion of {self.model} version {self.version}, begun by {self.by},"
        match self.outcome:
            case "finished":
                return f"An interrupted {what} was finished."
            case "undone":
                return f"An interrupted {what} was undone; Production was not touched."
            case "abandoned":
                return f"An interrupted {what} was dropped: Production was changed elsewhere since."
            case "running":
                return f"A {what} is going on."
            case other:
                assert_never(other)


class PromotionRefused(StackctlError):
    """A gate refused the version; Production was not touched. ``gate`` names it: status, server, digest."""

    def __init__(self, message: str, gate: str, hint: str | None = None) -> None:
        super().__init__(message, hint)
        self.gate = gate
