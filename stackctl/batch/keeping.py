"""What a run keeps of its images: quarantine first, then the record in the manifest, then the event that tells it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from stackctl.batch.faults import TRANSIENT, Fault, put_into_quarantine, take_out_of_quarantine
from stackctl.batch.in_time import QUICK_SECONDS, NoAnswer, in_time
from stackctl.batch.manifest import UNCHANGED, Record
from stackctl.batch.task import Outcome
from stackctl.errors import StackctlError

if TYPE_CHECKING:
    from stackctl.batch.events import EventLog, EventName
    from stackctl.batch.manifest import Manifest
    from stackctl.batch.order import Order
    from stackctl.batch.plan import ImageTask
    from stackctl.store.places import Place


@dataclass
class Counts:
    """How many images of a run ended how."""

    pending: int = 0
    done: int = 0
    skipped: int = 0
    quarantined: int = 0

    @property
    def left(self) -> int:
        """How many have not ended yet."""
        return max(0, self.pending - self.done - self.skipped - self.quarantined)


class Keeper:
    """Collects outcomes and keeps them in groups; an outcome counts once it is on the disk.

    Attributes:
        counts: of what was kept.
    """

    def __init__(self, order: Order, manifest: Manifest, places: tuple[Place, Place], events: EventLog) -> None:
        """Keep what is given; ``places`` are those of inputs and quarantine."""
        self.counts = Counts()
        self._order = order
        self._manifest = manifest
        self._input, self._quarantine = places
        self._events = events
        self._records: list[Record] = []
        self._condemned: list[tuple[ImageTask, Fault, int, str]] = []

    @property
    def waiting(self) -> int:
        """How many outcomes are not kept yet."""
        return len(self._records) + len(self._condemned)

    def add(self, record: Record) -> None:
        """Keep a record with the next group."""
        self._records.append(record)

    def condemn(self, image: ImageTask, fault: Fault, deaths: int, worker: str) -> None:
        """Put an image on which workers died into quarantine with the next group."""
        self._condemned.append((image, fault, deaths, worker))

    def gone(self, outcome: Outcome) -> None:
        """Count an image that was removed before it was read: it leaves no record."""
        self.counts.skipped += 1
        self._events.say("image", name=outcome.name, status="skipped", code="gone", reason=outcome.reason)

    def flush(self) -> list[Record]:
        """Keep what is waiting, tell of it, and return it.

        Raises:
            NoSpace, StoreGone: it is not kept: try again later.
        """
        while self._condemned:
            self._records.append(self._condemn(*self._condemned[0]))
            del self._condemned[0]
        for record in self._records:
            if record.status == "done" and self._was_quarantined(record.name):
                take_out_of_quarantine(self._quarantine, self._order, record.name)
        self._manifest.append(self._records)
        kept, self._records = self._records, []
        self._events.say_all([self._count(record) for record in kept])
        return kept

    def _condemn(self, image: ImageTask, fault: Fault, deaths: int, worker: str) -> Record:
        data = None
        try:
            data = in_time(QUICK_SECONDS, self._input.url, partial(self._input.read, image.name))
        except NoAnswer:  # it may have been the reading that hung: the reason stands alone
            pass
        except TRANSIENT:
            raise
        except StackctlError:  # removed meanwhile, or not to be read
            pass
        fault = put_into_quarantine(
            self._quarantine, self._order, image.name, data, fault, worker=worker, deaths=deaths
        )
        outcome = Outcome(image.name, "quarantined", code=fault.code, reason=fault.reason)
        return record_of(self._order, image, outcome, worker)

    def _was_quarantined(self, name: str) -> bool:
        latest = self._manifest.latest(name)
        return latest is not None and latest.status == "quarantined"

    def _count(self, record: Record) -> tuple[EventName, dict[str, Any]]:
        status = record.status if record.code != UNCHANGED else "skipped"
        setattr(self.counts, status, getattr(self.counts, status) + 1)
        facts = {
            "name": record.name,
            "status": status,
            "seconds": record.seconds,
            "pixels": record.pixels,
            "out_pixels": record.out_pixels,
            "output": record.output,
            "code": record.code,
            "reason": record.reason,
        }
        return "image", {name: value for name, value in facts.items() if value != ""}


def record_of(order: Order, image: ImageTask, outcome: Outcome, worker: str) -> Record:
    """Return the record of what became of an image."""
    return Record(
        name=image.name,
        stem=image.output_stem,
        size=image.size,
        stamp=image.stamp,
        recipe=order.recipe,
        model_digest=order.model.digest,
        status="quarantined" if outcome.status == "quarantined" else "done",
        input_digest=outcome.input_digest,
        output=outcome.output,
        output_digest=outcome.output_digest,
        output_size=outcome.output_size,
        output_stamp=outcome.output_stamp,
        code=UNCHANGED if outcome.status == "unchanged" else outcome.code,
        reason=outcome.reason,
        seconds=outcome.seconds,
        pixels=outcome.pixels,
        out_pixels=outcome.out_pixels,
        worker=worker,
        run=order.run,
    )
