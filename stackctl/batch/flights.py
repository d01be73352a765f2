"""Batches on their way: what is known of one that workers have, and who is told of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from stackctl.batch.plan import ImageTask


class Watcher(Protocol):
    """Is told how batches go (``tracking.Tracking`` is one)."""

    def submitted(self, batch_number: int, images: int, cost: float) -> None:
        """A batch was handed to a worker."""
        ...

    def finished(self, batch_number: int, figures: dict[str, float]) -> None:
        """A batch came back."""
        ...

    def progress(self, figures: dict[str, float | None]) -> None:
        """So far the run is."""
        ...


@dataclass
class Flight:
    """A batch that was submitted, and those of its images whose outcome is not known.

    ``feared`` is the death that was counted before it happened, of an image that is tried with nothing beside it.
    """

    images: dict[str, ImageTask]
    cost: float
    alone: bool
    submitted: float
    feared: int | None = None
    worker: str | None = None
    begun: list[str] = field(default_factory=list)
    begun_at: float = 0.0
    figures: dict[str, float] = field(default_factory=dict)
