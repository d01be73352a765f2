"""``python -m stackctl.batch.coordinator RUN_FOLDER``: does what the order in that folder says, and tells of it there.

One run is one such process, whoever started it and wherever its workers are. It can be killed at any time: the next run
between the same places goes on where it stopped.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, TypeVar

from stackctl.batch import runs
from stackctl.batch.events import FILE as EVENTS
from stackctl.batch.events import EventLog
from stackctl.batch.order import NOOP, Order
from stackctl.errors import INTERRUPTED, StackctlError, UsageError

if TYPE_CHECKING:
    from stackctl.batch.cluster import Cluster
    from stackctl.batch.dispatch import Verdict
    from stackctl.batch.keeping import Counts
    from stackctl.batch.manifest import Manifest
    from stackctl.batch.plan import Plan, Planned
    from stackctl.batch.task import Job
    from stackctl.batch.tracking import Tracking
    from stackctl.store.places import Place

Done = TypeVar("Done")
POLL_SECONDS = 2.0
DELIVERY_SECONDS = 10.0
MOST_TOLD, MOST_KEPT = 20, 500
"""Of folders and images that cannot be looked at events tell so many, and the report."""


def main(folder: Path) -> int:
    """Run the order in ``folder`` to its end; return the exit status."""
    held = runs.hold(folder)
    events = EventLog(folder / EVENTS)
    stop = Stop(folder)
    try:
        ended = Coordinator(folder, Order.read(folder), events, stop).run()
    except StackctlError as error:
        ended = Ended("failed", error.code, error.message, error.hint)
    except Exception as error:  # noqa: BLE001 - whoever follows the run must hear of its end
        traceback.print_exc()
        ended = Ended("failed", 1, f"The coordinator failed: {type(error).__name__}: {error}", "See the run's log.txt.")
    events.say("end", status=ended.status, exit=ended.exit, message=ended.message, hint=ended.hint)
    events.close()
    os.close(held)
    return ended.exit


class Stop:
    """Whether the run was asked to end: by SIGTERM, SIGINT or a file; a second signal ends it at once."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "cancel"
        self._asked = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._ask)

    def __call__(self) -> bool:
        """Return whether the run was asked to end."""
        if not self._asked and self._file.exists():
            self._asked = True
        return self._asked

    def _ask(self, _number: int, _frame: FrameType | None) -> None:
        if self._asked:
            os._exit(INTERRUPTED)
        self._asked = True


@dataclass(frozen=True)
class Ended:
    """How a run ended: status, exit status, and what to tell."""

    status: str
    exit: int = 0
    message: str | None = None
    hint: str | None = None


class Coordinator:
    """One run, from its order to its report."""

    def __init__(self, folder: Path, order: Order, events: EventLog, stop: Stop) -> None:
        self._folder = folder
        self._batch_folder = folder.parents[1]
        self._order = order
        self._events = events
        self._stop = stop
        self._began = time.monotonic()
        self._left_out: dict[str, None] = {}

    def run(self) -> Ended:
        """Do it.

        Raises:
            StackctlError: the run failed; what is done stays done.
        """
        from stackctl.batch import elsewhere
        from stackctl.batch.dask_cluster import check_scheduler
        from stackctl.batch.manifest import Manifest, file_of
        from stackctl.batch.output_hold import held
        from stackctl.batch.task import open_places

        if self._order.scheduler:
            check_scheduler(self._order.scheduler, self._order.security)
        self._check_options()
        for why in elsewhere.left_behind(self._folder):
            self._cannot_be_read(why)
        self._input, self._output, self._quarantine = open_places(self._order)
        self._file = file = file_of(self._batch_folder / "manifests", self._input.base(), self._output.base())
        file.parent.mkdir(parents=True, exist_ok=True)
        if self._order.dry_run:
            return self._look(file)
        for place in (self._output, self._quarantine):
            make_folder(place)
        with (
            held(file.parent, self._output.base(), self._order),
            self._waiting(lambda: Manifest.open(file)) as manifest,
        ):
            for place in (self._output, self._quarantine):
                self._waiting(place.sweep)
            return self._upscale(manifest)

    def _look(self, file: Path) -> Ended:
        """Say what a run would do, and do nothing."""
        from stackctl.batch.manifest import Manifest

        scratch = self._folder / "dry-run.sqlite"
        try:
            manifest = Manifest.open(scratch)
            if file.is_file():
                manifest.close()
                with Manifest.open(file) as real:
                    manifest = real.copy(scratch)
            with manifest:
                plan = self._plan(manifest, retry_failed=self._order.retry_failed)
                self._begin(plan.planned)
                plan.close()
        finally:
            scratch.unlink(missing_ok=True)
        return self._incomplete() if self._left_out else Ended("ok")

    def _upscale(self, manifest: Manifest) -> Ended:
        from stackctl.batch.listing import Settled
        from stackctl.batch.tracking import Tracking
        from stackctl.stack import Stack

        self._waiting(lambda: manifest.suspect_started(lambda run: runs.Run(self._folder.parent / run).cancelling))
        settled = Settled(self._folder / "settled.sqlite") if self._order.watch else None
        plan = self._waiting(lambda: self._plan(manifest, settled=settled, retry_failed=self._order.retry_failed))
        self._begin(plan.planned)
        tracking = Tracking.open(
            self._folder, self._order, Stack.from_env(), say=lambda state: self._events.say("mlflow", state=state)
        )
        tracking.begin(plan.planned)
        try:
            status, counts = self._work(manifest, plan, settled, tracking)
        except BaseException:
            self._finish(manifest, tracking, "failed", plan.planned)
            raise
        finally:
            plan.close()
        if status == "ok" and self._left_out:
            self._finish(manifest, tracking, "incomplete", plan.planned)
            return self._incomplete()
        self._finish(manifest, tracking, status, plan.planned)
        return self._ended(status, counts)

    def _work(self, manifest: Manifest, plan: Plan, settled: Any, tracking: Tracking) -> tuple[Verdict, Counts]:
        """Bring the plan, and with ``--watch`` every later one, to its end."""
        from stackctl.batch.dispatch import Dispatch
        from stackctl.batch.keeping import Counts

        if not plan.planned.pending and settled is None:
            return "ok", Counts()
        cluster = self._cluster()
        dispatch = Dispatch(
            self._order,
            manifest,
            cluster,
            (self._input, self._quarantine),
            self._events,
            tracking,
            stopping=self._stop,
        )
        try:
            verdict = dispatch.run(plan)
            retry = self._order.retry_failed  # once: what fails again in this run is not tried for ever
            while settled is not None and verdict == "ok":
                if not self._rest():
                    return "cancelled", dispatch.counts
                again = self._waiting(partial(self._plan, manifest, settled=settled, retry_failed=retry))
                retry = False
                verdict = dispatch.run(again)
                again.close()
            return verdict, dispatch.counts
        finally:
            cluster.close()
            if dispatch.workers_died:
                self._sweep()  # what they left half written

    def _plan(self, manifest: Manifest, *, settled: Any = None, retry_failed: bool) -> Plan:
        from stackctl.batch import elsewhere
        from stackctl.batch.listing import header_probe, inputs
        from stackctl.batch.manifest import others_of
        from stackctl.batch.plan import Plan

        found = inputs(self._input, self._output, self._quarantine, unreadable=self._cannot_be_read)
        if settled:
            found = settled.filter(found)
        return Plan.make(
            manifest,
            elsewhere.joined(found, self._folder / elsewhere.INPUTS, first=self._order.dry_run),
            elsewhere.joined(self._output.list(), self._folder / elsewhere.RESULTS),
            self._order.recipe,
            folder=self._folder,
            suffix=self._order.suffix,
            retry_failed=retry_failed,
            probe=header_probe(self._input),
            others=others_of(self._file),
        )

    def _cannot_be_read(self, why: str) -> None:
        """Note what of the inputs is left out; once, however often they are listed."""
        if why not in self._left_out and len(self._left_out) < MOST_KEPT:
            self._left_out[why] = None
            if len(self._left_out) <= MOST_TOLD:
                self._events.say("note", text=f"Not looked at: {why}")

    def _sweep(self) -> None:
        for place in (self._output, self._quarantine):
            with contextlib.suppress(StackctlError):  # the next run does it
                place.sweep()

    def _begin(self, planned: Planned) -> None:
        self._events.say(
            "begin",
            run=self._order.run,
            total=planned.total,
            pending=planned.pending,
            skipped=planned.skipped,
            known_bad=planned.known_bad,
            orphans=planned.orphans,
            pixels=planned.cost,
        )

    def _cluster(self) -> Cluster:
        from stackctl.batch.dask_cluster import DaskCluster
        from stackctl.batch.sizing import free_memory, sizes
        from stackctl.imaging.cpu import usable_cores

        chosen = sizes(self._order.workers, usable_cores(), free_memory())
        own = self._order.scheduler is None
        if own:
            self._events.say(
                "note",
                text=f"Worker processes: {chosen.processes}, each with {chosen.threads} "
                f"{'thread' if chosen.threads == 1 else 'threads'} and {chosen.memory_per_worker // 2**20} MiB.",
            )
        return DaskCluster(self._job(chosen.threads if own else None), chosen, dashboard=self._order.dashboard)

    def _job(self, threads: int | None) -> Job:
        from stackctl.batch.network import Parcel
        from stackctl.batch.task import Job
        from stackctl.distribution import environment_hash

        model = self._order.model
        parcel = None
        if model.network != NOOP:
            parcel = Parcel.pack(
                self._batch_folder / model.network,
                self._batch_folder / model.golden if model.golden else None,
                bf16_allowed=model.bf16_allowed,
                carry=self._order.scheduler is not None,
            )
        hashed = environment_hash() if self._order.scheduler is not None else None
        return Job(self._order, parcel, threads, environment_hash=hashed)

    def _finish(self, manifest: Manifest, tracking: Tracking, status: str, planned: Planned) -> None:
        """Write the report and give it to MLflow; a report that cannot be written does not undo the run."""
        from stackctl.batch import contact_sheet
        from stackctl.batch import report as reports

        made = None
        spent = time.monotonic() - self._began
        try:
            places = (self._input, self._output)
            made = reports.write(
                self._folder, manifest, self._order, status, planned, spent, places, left_out=tuple(self._left_out)
            )
        except Exception as error:  # noqa: BLE001 - the images are done, whatever became of the report
            self._events.say("note", text=f"The report could not be written: {error}")
        names = (reports.MANIFEST, reports.HTML, reports.JSON, contact_sheet.FILE)
        tracking.end(status, made, [self._folder / name for name in names])
        stopped = self._stop()  # then whoever stopped it delivers the rest
        if tracking.close(0.0 if stopped else DELIVERY_SECONDS) and not stopped:
            self._events.say(
                "note", text="MLflow has not got everything of this run: the next batch command brings it."
            )

    def _ended(self, status: Verdict, counts: Counts) -> Ended:
        match status:
            case "ok":
                return Ended("ok")
            case "cancelled":
                return Ended(status, INTERRUPTED, "The run was stopped.", runs.RESUME)
            case "threshold":
                images = "1 image" if counts.quarantined == 1 else f"{counts.quarantined:,} images"
                text = f"{images} could not be upscaled: more than --error-threshold allows."
                return Ended(status, 1, text, "Their reasons are in the report; what is done is kept.")

    def _incomplete(self) -> Ended:
        """Say that everything was done but for what could not be looked at."""
        count = len(self._left_out)
        what = "folder or image was" if count == 1 else "folders or images were"
        text = f"{count}{' or more' if count == MOST_KEPT else ''} {what} not looked at: "
        named = " ".join(list(self._left_out)[:3])
        more = " … " if count > 3 else " "
        return Ended("incomplete", 1, f"{text}{named}{more}The others are done.", "Mend that, and run it again.")

    def _waiting(self, step: Callable[[], Done]) -> Done:
        """Do a step, as often as it takes, while the disk is full or the store does not answer."""
        from stackctl.batch.faults import TRANSIENT
        from stackctl.batch.pace import Patience

        patience = Patience(self._order.wait_limit, time.monotonic)
        while True:
            try:
                done = step()
            except TRANSIENT as error:
                if patience.failed(error.message):
                    self._events.say("waiting", why=error.message)
                if patience.over or self._stop():
                    raise
                time.sleep(0.2)
                continue
            if patience.succeeded():
                self._events.say("resumed")
            return done

    def _rest(self) -> bool:
        """Wait until the inputs are looked at again; return False where the run was asked to end."""
        until = time.monotonic() + POLL_SECONDS
        while time.monotonic() < until:
            if self._stop():
                return False
            time.sleep(0.1)
        return True

    def _check_options(self) -> None:
        from stackctl import imaging

        try:
            imaging.Options(**self._order.imaging_options)
            self._order.most_failures(100)
        except imaging.BadOption as error:
            raise UsageError(f"{str(error).rstrip('.')}.") from error
        except ValueError as error:
            raise UsageError(
                f"`{self._order.error_threshold}` is no threshold.", "Write a number (10) or a share (5%)."
            ) from error


def make_folder(place: Place) -> None:
    """Make the folder that results go to, where a place is one.

    Raises:
        UsageError: it cannot be made.
    """
    from stackctl.store.files import Files

    if isinstance(place, Files):
        try:
            place.root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"{place.root} cannot be made: {error.strerror}.", "Choose another folder.") from error


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
