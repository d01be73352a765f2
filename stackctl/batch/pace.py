"""How fast a run goes, how large its batches should be, and how long it waits for what passes by itself."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Literal

FIRST_DELAY = 0.5
LONGEST_DELAY = 15.0
WINDOW_SECONDS = 30.0
SHARES = 4
"""A batch is this share of what each worker would still get: large at first, small at the end, so all end together."""
LEAST_SECONDS, MOST_SECONDS = 0.5, 20.0
FIRST_SHARE = 16
MOST_IMAGES = 512


class Patience:
    """Waits for a full disk or a store that does not answer, ever longer, up to a limit."""

    def __init__(self, limit: float, clock: Callable[[], float]) -> None:
        self._limit = limit
        self._clock = clock
        self._since: float | None = None
        self._delay = FIRST_DELAY
        self._next_try = 0.0
        self.why = ""

    @property
    def waiting(self) -> bool:
        """Return whether the last try failed."""
        return self._since is not None

    @property
    def over(self) -> bool:
        """Return whether it lasted too long."""
        return self._since is not None and self._clock() - self._since > self._limit

    @property
    def may_try(self) -> bool:
        """Return whether it is time for another try."""
        return self._since is None or self._clock() >= self._next_try

    def failed(self, why: str) -> bool:
        """Note that a try failed; return whether it is the first one."""
        now = self._clock()
        first = self._since is None
        if first:
            self._since, self._delay = now, FIRST_DELAY
        elif now >= self._next_try:
            self._delay = min(LONGEST_DELAY, self._delay * 2)
        else:
            return False  # others that were in flight already
        self._next_try = now + self._delay
        self.why = why
        return first

    def succeeded(self) -> bool:
        """Note that something went well; return whether that ends the waiting."""
        waited, self._since = self._since is not None, None
        return waited


class Pace:
    """Speed of a run, from what the last half minute brought."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._began = clock()
        self._points: deque[tuple[float, int, int]] = deque([(self._began, 0, 0)])
        self._images = 0
        self._pixels = 0
        self._cost_done = 0.0
        self._seconds_done = 0.0

    def finished(self, pixels: int) -> None:
        """Count an image."""
        self._images += 1
        self._pixels += pixels

    def worked(self, cost: float, seconds: float) -> None:
        """Note that a worker needed ``seconds`` for a batch of this cost."""
        keep = 0.8 if self._seconds_done > 60 else 1.0
        self._cost_done = keep * self._cost_done + cost
        self._seconds_done = keep * self._seconds_done + seconds

    def speeds(self) -> tuple[float, float]:
        """Return (images, input pixels) per second over the last half minute."""
        now = self._clock()
        self._points.append((now, self._images, self._pixels))
        while len(self._points) > 2 and now - self._points[1][0] > WINDOW_SECONDS:
            self._points.popleft()
        begun, images, pixels = self._points[0]
        passed = max(now - begun, 1e-3)
        return (self._images - images) / passed, (self._pixels - pixels) / passed

    def eta(self, cost: float, workers: int) -> float | None:
        """Return the seconds that work of this cost will take, or None where nothing is known."""
        if not self._cost_done or not workers:
            return None
        return cost * self._seconds_done / self._cost_done / workers

    def budget(self, remaining: float, workers: int) -> float:
        """Return the cost of the next batch: what is left is split so that all workers end at the same time."""
        workers = max(1, workers)
        if not self._seconds_done:
            return remaining / (FIRST_SHARE * workers)
        per_second = self._cost_done / max(self._seconds_done, 1e-6)
        share = remaining / (SHARES * workers)
        return min(max(share, per_second * LEAST_SECONDS), per_second * MOST_SECONDS)


def most_images(wanted: int | Literal["auto"]) -> int:
    """Return how many images a batch may have."""
    return MOST_IMAGES if wanted == "auto" else wanted
