"""The heart of a run: batches out, outcomes in, every outcome in the manifest before it counts.

Whatever dies, an image is in exactly one of these: the plan, a flight (a batch that workers have), the suspects that
wait to be tried again, or the manifest. Results are written before their records, so losing a record means doing an
image again, never losing it.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

from stackctl.batch.cluster import Announced, Cluster, Died, Joined, Lost, Message, Returned
from stackctl.batch.faults import TRANSIENT, Fault, NothingCanBeWritten, death
from stackctl.batch.flights import Flight, Watcher
from stackctl.batch.keeping import Counts, Keeper, record_of
from stackctl.batch.pace import Pace, Patience, most_images
from stackctl.batch.suspects import Suspects
from stackctl.batch.task import Outcome
from stackctl.errors import StackctlError

if TYPE_CHECKING:
    from stackctl.batch.events import EventLog
    from stackctl.batch.manifest import Manifest
    from stackctl.batch.order import Order
    from stackctl.batch.plan import ImageTask, Plan
    from stackctl.store.places import Place

FLUSH_SECONDS = 0.25
FLUSH_RECORDS = 500
PROGRESS_SECONDS = 1.0
SAME_SECONDS = 60.0
"""How long figures that do not change are told once: a run that waits for new images would fill the disk with them."""
GRACE_SECONDS = 120.0
MOST_PROBLEMS = 5
MOST_FRUITLESS = 20

Verdict = Literal["ok", "threshold", "cancelled"]


class Dispatch:
    """Brings the images of plans to workers until each has its record."""

    def __init__(
        self,
        order: Order,
        manifest: Manifest,
        cluster: Cluster,
        places: tuple[Place, Place],
        events: EventLog,
        watcher: Watcher,
        *,
        stopping: Callable[[], bool] = lambda: False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Keep what is given; ``places`` are those of inputs and quarantine."""
        self._order = order
        self._manifest = manifest
        self._cluster = cluster
        self._keeper = Keeper(order, manifest, places, events)
        self._events = events
        self._watcher = watcher
        self._stopping = stopping
        self._clock = clock
        self._pace = Pace(clock)
        self._patience = Patience(order.wait_limit, clock)
        self._most_failures: int | None = None
        self._number = 0
        self._flights: dict[int, Flight] = {}
        self._suspects = Suspects(order, manifest, self._keeper)
        self._forgiving = False
        self._began = False
        self._problems = self._fruitless = self._failures = 0
        self._tasters = 0
        self._blocked = False
        self._dead: set[str] = set()
        self._flushed = self._told = clock()
        self._said: dict[str, float | None] = {}
        self._said_at = 0.0

    @property
    def counts(self) -> Counts:
        """How many images ended how so far, over all plans of the run."""
        return self._keeper.counts

    @property
    def workers_died(self) -> bool:
        """Return whether a worker ended that should not have."""
        return bool(self._dead)

    def run(self, plan: Plan) -> Verdict:
        """Bring a plan to its end, or to where the run is stopped.

        Raises:
            StackctlError: it cannot be brought to its end; what is done stays done.
        """
        self._plan = plan
        self._forgiving = False
        self.counts.pending += plan.planned.pending
        self._most_failures = self._order.most_failures(self.counts.pending)
        try:
            self._suspects.take(plan)
            verdict = self._until_done(plan)
        except Exception:
            with contextlib.suppress(StackctlError):  # what is done is kept, whatever ends the run
                self._flush()
            self._forgive()
            raise
        finally:
            self._tell_progress(now=True)
        self._forgive()
        return verdict

    def _until_done(self, plan: Plan) -> Verdict:
        while True:
            if (verdict := self._verdict()) is not None:
                self._drain()
                return verdict
            self._fill()
            if not (self._flights or self._suspects.waiting or self._keeper.waiting or plan.remaining()[0]):
                return "ok"
            self._step()

    def _step(self, timeout: float = 0.2) -> None:
        """Hear what the workers say, and keep it."""
        for message in self._cluster.messages(timeout):
            self._hear(message)
        known = self._keeper.waiting
        late = self._clock() - self._flushed >= FLUSH_SECONDS
        due = late and (known or self._blocked or self._manifest.has_starts)
        if due or (known and not self._flights) or known >= FLUSH_RECORDS:
            self._flush()
        self._tell_progress()
        if self._patience.over:
            raise StackctlError(
                f"{self._patience.why} That lasted longer than {self._order.wait_limit:g} s.",
                "Run the same command again once it is mended: it goes on where this run stopped.",
            )

    def _verdict(self) -> Verdict | None:
        if self._stopping():
            return "cancelled"
        if self._most_failures is not None and self.counts.quarantined > self._most_failures:
            return "threshold"
        return None

    def _drain(self) -> None:
        """Let the workers finish the images in their hands, and keep what comes of them."""
        self._forgive()
        self._cluster.drain()
        deadline = self._clock() + min(GRACE_SECONDS, self._order.image_timeout)
        while (self._flights or self._keeper.waiting) and self._clock() < deadline and not self._patience.over:
            self._step()
        self._flush()

    def _forgive(self) -> None:
        """What ends from now on was meant to end: no image is to blame."""
        self._forgiving = True
        for flight in self._flights.values():
            self._suspects.absolve(flight.feared)
            flight.feared = None
        if self._began:
            with contextlib.suppress(*TRANSIENT):
                self._manifest.forget_starts()
                self._began = False

    # what goes out

    def _fill(self) -> None:
        window = 2 * max(1, self._cluster.workers)
        while self._cluster.connected and not self._blocked and len(self._flights) < window:
            if self._patience.waiting and (self._flights or not self._patience.may_try):
                return  # one image at a time finds out whether it has passed
            if (image := self._suspects.alone()) is not None:
                self._submit((image,), float(image.size), alone=True)
                continue
            early = self._tasters < self._cluster.workers  # one cheap image each shows soon whether all is well
            most = 1 if self._patience.waiting or early else most_images(self._order.batch_size)
            budget = self._pace.budget(self._plan.remaining()[1], self._cluster.workers)
            try:
                batch = self._plan.next_batch(budget, most, cheapest=early)
                last = self._suspects.last() if batch is None and not self._flights else None
            except TRANSIENT as error:
                self._wait(error)
                return
            if batch is not None:
                self._tasters += early
                self._submit(batch.images, batch.cost)
                continue
            if last is not None:
                self._submit((last[0],), float(last[0].size), alone=True, feared=last[1])
            return

    def _submit(
        self, images: tuple[ImageTask, ...], cost: float, *, alone: bool = False, feared: int | None = None
    ) -> None:
        self._number += 1
        self._flights[self._number] = Flight(
            {image.name: image for image in images}, cost, alone, submitted=self._clock(), feared=feared
        )
        self._watcher.submitted(self._number, len(images), cost)
        self._cluster.submit(self._number, images)

    # what comes in

    def _hear(self, message: Message) -> None:
        match message:
            case Announced():
                self._announced(message)
            case Returned(number, problem):
                self._returned(number, problem)
            case Joined(worker):
                self._events.say("worker", name=worker, state="joined")
            case Died(worker, expected):
                self._died(worker, expected=expected)
            case Lost(why):
                for number in list(self._flights):
                    self._land(number)
                self._wait_for(why)

    def _announced(self, message: Announced) -> None:
        flight = self._flights.get(message.number)
        if flight is None:
            return  # of a batch that was given up: its images are tried, or done, elsewhere
        flight.worker = message.worker
        for outcome in message.finished:
            self._outcome(flight, outcome)
        flight.begun = [name for name in message.begun if name in flight.images]
        flight.begun_at = self._clock()
        if self._order.scheduler is None and not self._forgiving:  # workers that this process takes along when it ends
            for name in flight.begun:
                self._manifest.started(name, message.worker, self._order.run, flight.images[name].stamp)
                self._began = True
        self._events.say_all([("started", {"name": name, "worker": message.worker}) for name in flight.begun])

    def _outcome(self, flight: Flight, outcome: Outcome) -> None:
        image = flight.images.get(outcome.name)
        if image is None or outcome.status == "later":
            if image is not None and outcome.reason:
                self._wait_for(outcome.reason)
            return  # heard before; or it stays in the flight and goes back with it
        del flight.images[outcome.name]
        if outcome.status == "failed":
            self._failed(flight, image, Fault(outcome.code, outcome.reason))
            return
        self._failures = 0
        if outcome.status != "gone":
            flight.feared = None  # its record ends the fear
        self._problems = self._fruitless = 0
        if not self._blocked:
            self._go_on()
        for name, value in (
            ("done", outcome.status == "done"),
            ("seconds", outcome.seconds),
            ("pixels", outcome.pixels),
        ):
            flight.figures[name] = flight.figures.get(name, 0.0) + value
        if outcome.status == "gone":
            self._keeper.gone(outcome)
            return
        self._keeper.add(record_of(self._order, image, outcome, flight.worker or ""))

    def _failed(self, flight: Flight, image: ImageTask, fault: Fault) -> None:
        """Have an image tried again; where one after the other fails it is none of theirs, and the run ends."""
        self._failures += not flight.alone
        if self._failures > max(MOST_FRUITLESS, 6 * self._cluster.workers):
            raise StackctlError(f"Image after image fails: {fault.reason}", "See the run's log.txt.")
        flight.figures.setdefault("done", 0.0)
        self._suspect(image, fault, flight)

    def _returned(self, number: int, problem: Exception | None) -> None:
        flight = self._flights.get(number)
        if flight is None:
            return
        if not flight.images and not flight.alone and flight.figures.get("seconds"):
            self._pace.worked(flight.cost, flight.figures["seconds"])
        if flight.images and not flight.figures and not self._stopping() and not self._patience.waiting:
            self._fruitless += 1
        self._land(number)
        if isinstance(problem, NothingCanBeWritten) or (isinstance(problem, StackctlError) and problem.code != 1):
            raise problem
        if problem is not None:
            self._problems += 1
            text = str(problem) or type(problem).__name__
            if self._problems >= MOST_PROBLEMS:
                raise problem if isinstance(problem, StackctlError) else StackctlError(f"The workers fail: {text}")
            self._events.say("note", text=f"A batch came back undone: {text}")
        if self._fruitless > max(MOST_FRUITLESS, 6 * self._cluster.workers):
            raise StackctlError("The workers end before they begin with an image.", "See the run's log.txt.")

    def _died(self, worker: str, *, expected: bool) -> None:
        """Find the images that a worker died on: those it had begun, as it had said before."""
        mine = [number for number, flight in self._flights.items() if flight.worker == worker]
        if not expected and worker not in self._dead:
            self._dead.add(worker)  # Dask says it more than once
            self._events.say("worker", name=worker, state="died")
        for number in mine:
            flight = self._flights[number]
            innocent = expected or self._forgiving
            suspects = [] if innocent else [flight.images.pop(name) for name in flight.begun if name in flight.images]
            fault = death(self._clock() - flight.begun_at, self._order.image_timeout)
            if suspects:
                self._fruitless = 0
            for image in suspects:
                self._suspect(image, fault, flight)
            self._cluster.forget(number)
            self._land(number)

    def _suspect(self, image: ImageTask, fault: Fault, flight: Flight) -> None:
        """Count a failed try against an image of a flight, out of which it was taken."""
        feared, flight.feared = flight.feared, None
        try:
            self._suspects.died(image, fault, flight.worker or "", feared)
        except TRANSIENT as error:
            self._wait(error)

    def _land(self, number: int) -> None:
        """End a flight; what has no outcome goes back to where it came from."""
        flight = self._flights.pop(number)
        if flight.alone:
            for image in flight.images.values():
                self._suspects.put_back(image, flight.feared)
            if not flight.images:
                self._suspects.absolve(flight.feared)
        elif flight.images:
            self._plan.put_back(flight.images)
        self._watcher.finished(number, flight.figures)

    def _flush(self) -> None:
        """Keep what is known; what the disk or the quarantine does not take is kept later."""
        self._flushed = self._clock()
        try:
            kept = self._keeper.flush()
        except TRANSIENT as error:
            self._blocked = True
            self._wait(error)
            return
        if self._blocked:
            self._blocked = False
            self._go_on()
        for record in kept:
            self._pace.finished(record.pixels)

    # what is told

    def _wait(self, error: Exception) -> None:
        self._wait_for(str(getattr(error, "message", error)))

    def _wait_for(self, why: str) -> None:
        if self._patience.failed(why):
            self._events.say("waiting", why=why)

    def _go_on(self) -> None:
        if self._patience.succeeded():
            self._events.say("resumed")

    def _tell_progress(self, *, now: bool = False) -> None:
        if not now and self._clock() - self._told < PROGRESS_SECONDS:
            return
        self._told = self._clock()
        images, pixels = self._pace.speeds()
        counts = self.counts
        cost = self._plan.remaining()[1] + sum(flight.cost for flight in self._flights.values())
        eta = self._pace.eta(cost, self._cluster.workers)
        figures: dict[str, float | None] = {
            "done": counts.done,
            "skipped": counts.skipped,
            "quarantined": counts.quarantined,
            "pending": counts.left,
            "images_per_s": round(images, 3),
            "pixels_per_s": round(pixels),
            "eta_s": None if eta is None else round(eta, 1),
            "workers": self._cluster.workers,
        }
        if figures == self._said and self._told - self._said_at < SAME_SECONDS:
            return
        self._said, self._said_at = figures, self._told
        self._events.say("progress", **figures)
        self._watcher.progress(figures)
