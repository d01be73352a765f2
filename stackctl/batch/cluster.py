"""What a coordinator needs of the workers: batches go there, messages come back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from stackctl.batch.task import Outcome

if TYPE_CHECKING:
    from stackctl.batch.plan import ImageTask


@dataclass(frozen=True)
class Announced:
    """A worker finished images of a batch and begins others.

    Attributes:
        number: of the batch.
        worker: its address.
        finished: what became of images.
        begun: names of the images that it works on from now on; empty at the batch's end.
    """

    number: int
    worker: str
    finished: list[Outcome]
    begun: list[str]


@dataclass(frozen=True)
class Returned:
    """A batch is not being worked on any more; what was not announced as finished has to be tried again.

    Attributes:
        number: of the batch.
        problem: what the worker raised, if it did.
    """

    number: int
    problem: Exception | None = None


@dataclass(frozen=True)
class Joined:
    """A worker is there."""

    worker: str


@dataclass(frozen=True)
class Died:
    """A worker is gone; ``expected`` says that it went by itself."""

    worker: str
    expected: bool = False


@dataclass(frozen=True)
class Lost:
    """The scheduler is gone, and with it every batch that was submitted."""

    why: str


Message = Announced | Returned | Joined | Died | Lost


class Cluster(Protocol):
    """Workers that batches can be submitted to. Every method may be called from one thread only."""

    @property
    def workers(self) -> int:
        """Return how many workers there are now."""
        ...

    @property
    def connected(self) -> bool:
        """Return whether batches can be submitted now."""
        ...

    def submit(self, number: int, images: Sequence[ImageTask]) -> None:
        """Have a worker work on a batch; numbers are used once."""
        ...

    def forget(self, number: int) -> None:
        """Have no worker begin a batch any more; nothing further may be said of it."""
        ...

    def messages(self, timeout: float) -> list[Message]:
        """Return what was said since the last call; wait for it for ``timeout`` seconds at most."""
        ...

    def drain(self) -> None:
        """Have every worker finish its image and return the rest of its batch."""
        ...

    def close(self) -> None:
        """End what was started for this run."""
        ...
