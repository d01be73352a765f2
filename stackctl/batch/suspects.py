"""Images on which something died: tried again alone, and at last with nothing beside them, before one is given up."""

from __future__ import annotations

import contextlib
from collections import deque
from typing import TYPE_CHECKING

from stackctl.batch.faults import DEATHS, KILLS, TRANSIENT, Fault, final
from stackctl.batch.manifest import FEARED

if TYPE_CHECKING:
    from stackctl.batch.keeping import Keeper
    from stackctl.batch.manifest import Manifest
    from stackctl.batch.order import Order
    from stackctl.batch.plan import ImageTask, Plan

_WHOLE_RUN = Fault(KILLS, "The whole run ended while nothing but it was worked on (a crash, out of memory or a kill).")


class Suspects:
    """Counts deaths of workers and of runs against the images that were in work, and decides what becomes of these.

    An image on which one worker died is tried in a batch of its own. After the second death, and where a whole run
    ended while it was in work, it is tried last, when no other image is in work: nothing else can be to blame then.
    Such a try is counted as a death before it begins, so that it counts whatever it takes along; the image's record,
    or the try's peaceful end, takes that back.
    """

    def __init__(self, order: Order, manifest: Manifest, keeper: Keeper) -> None:
        self._run = order.run
        self._manifest = manifest
        self._keeper = keeper
        self._alone: deque[ImageTask] = deque()
        self._last: deque[ImageTask] = deque()

    @property
    def waiting(self) -> bool:
        """Return whether images are to be tried."""
        return bool(self._alone or self._last)

    def take(self, plan: Plan) -> None:
        """Take the images off a plan that something died on since their last record."""
        for image in plan.suspects():
            deaths = self._manifest.deaths(image.name, image.stamp)
            if deaths >= DEATHS:  # the last one took the run along
                self._keeper.condemn(image, final(_WHOLE_RUN, deaths), deaths, "")
            elif deaths > 1 or self._manifest.suspected(image.name, image.stamp):
                self._last.append(image)
            elif deaths:
                self._alone.append(image)
            else:
                plan.put_back([image.name])

    def alone(self) -> ImageTask | None:
        """Return an image to be tried in a batch of its own, or None."""
        return self._alone.popleft() if self._alone else None

    def last(self) -> tuple[ImageTask, int] | None:
        """Return an image to be tried with nothing beside it, and the number of the death that is feared; or None.

        Raises:
            NoSpace, StoreGone: the manifest cannot keep that now.
        """
        if not self._last:
            return None
        number = self._manifest.charge(self._last[0].name, FEARED, self._run, self._last[0].stamp)
        return self._last.popleft(), number

    def put_back(self, image: ImageTask, feared: int | None) -> None:
        """Take an image back that was not tried to its end, through no fault of its own."""
        (self._alone if feared is None else self._last).append(image)
        self.absolve(feared)

    def absolve(self, feared: int | None) -> None:
        """Take back a death that did not come; where the disk does not take that it stays, one of three."""
        if feared is not None:
            with contextlib.suppress(*TRANSIENT):
                self._manifest.absolve(feared)

    def died(self, image: ImageTask, fault: Fault, worker: str, feared: int | None) -> None:
        """Count a worker's death against an image that it had begun.

        Raises:
            NoSpace, StoreGone: the manifest cannot keep that now; the image is tried again all the same.
        """
        deaths = 1
        try:
            if feared is None:
                deaths = self._manifest.died(image.name, fault.code, self._run, image.stamp)
            else:
                deaths = self._manifest.deaths(image.name, image.stamp)
        finally:
            if feared is None:
                (self._alone if deaths == 1 else self._last).append(image)
            elif deaths < DEATHS:
                self._last.append(image)
            else:
                self._keeper.condemn(image, final(fault, deaths), deaths, worker)
