"""The grace time after a flip: the old version stays loaded, and takes over again if the new one fails more.

The rule is meant to be predictable: at least ``FEWEST`` failures (answers of 500 and above and timeouts, where the old
version answers the same request, and deaths of its process), and a share of the requests that is ``RISE`` above the old
version's own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from stackctl.serving.events import now

if TYPE_CHECKING:
    from stackctl.serving.registry_view import Version
    from stackctl.serving.slot import Slot

FEWEST = 3
RISE = 0.2


@dataclass
class Tally:
    """What became of the requests of one version: how many were answered, and what failed."""

    requests: int = 0
    failures: int = 0

    @property
    def rate(self) -> float:
        """Failures as a share of the requests, 0 to 1."""
        return min(1.0, self.failures / self.requests) if self.requests else float(self.failures > 0)


@dataclass(frozen=True)
class Probation:
    """The time in which a version that just took over can lose that again.

    Attributes:
        old: the version before it, still loaded.
        until: when the time is over, by the event loop's clock.
        old_rate: the old version's failures as a share of its requests.
    """

    old: Slot
    until: float
    old_rate: float

    def verdict(self, slot: Slot) -> str | None:
        """Return why the version must go, as a sentence, or None."""
        tally = slot.tally
        if tally.failures < FEWEST or tally.rate < self.old_rate + RISE:
            return None
        what = f"{tally.failures} of its first {max(tally.requests, tally.failures)} requests failed"
        if slot.last_death is not None:
            what += f" (its process {slot.last_death['how']})"
        return f"{what}; with version {self.old.version.version} it were {self.old_rate:.0%}."


@dataclass(frozen=True)
class Ban:
    """A version that was taken back: it is not served again until it changes or is promoted anew."""

    version: str
    run_id: str | None
    promoted_at: str | None
    reason: str
    at: str

    @classmethod
    def of(cls, version: Version, reason: str) -> Ban:
        """Ban a version as the registry has it now."""
        return cls(version.version, version.run_id, version.promoted_at, reason, now())

    def covers(self, version: Version) -> bool:
        """Return whether a version is still the one that was banned, promoted as it was then."""
        return (self.version, self.run_id, self.promoted_at) == (version.version, version.run_id, version.promoted_at)
