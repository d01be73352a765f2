"""A batch run as MLflow shows it: a parent run, a child per step and per batch, figures over time, files at the end.

Every call only writes into the run's outbox, so none of them waits for MLflow and none fails because of it. A thread
delivers while the run goes on; what is left then is delivered by ``deliver``, by whichever command comes next.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from stackctl.batch import steps, telling
from stackctl.batch.delivery import Courier, Delivery
from stackctl.batch.outbox import FILE, Item, Outbox, delivering
from stackctl.errors import StackctlError
from stackctl.models.rest import Rest

if TYPE_CHECKING:
    import httpx

    from stackctl.batch.order import Order
    from stackctl.batch.plan import Planned
    from stackctl.batch.report import Report
    from stackctl.batch.steps import Step
    from stackctl.stack import Stack

PARENT = "run"
MAX_CHILDREN = 200
MAX_GROUPS = MAX_CHILDREN - 3
"""Child runs that batches may have: the other steps have three."""
SOONEST = 2.0
POINTS = 500
"""Figures over time are noted after 2 s or after a five-hundredth of the time so far, whichever is longer."""
_STATUS = {"ok": "FINISHED", "threshold": "FAILED", "cancelled": "KILLED", "failed": "FAILED"}


@dataclass
class _Group:
    """Batches that share a child run."""

    first: int
    last: int = 0
    images: int = 0
    working: set[int] = field(default_factory=set)
    sums: dict[str, float] = field(default_factory=dict)
    told: bool = False

    def __post_init__(self) -> None:
        self.last = self.first

    @property
    def key(self) -> str:
        """Name of its run in the outbox."""
        return f"batch-{self.first}"

    @property
    def name(self) -> str:
        """Name of its run in MLflow."""
        return f"batch {self.first}" if self.last == self.first else f"batches {self.first}–{self.last}"


class Tracking:
    """What one run tells MLflow. Never waits for the network, never raises because of MLflow or the disk."""

    def __init__(self, run_folder: Path, order: Order, rest: Rest, say: Callable[[str], None]) -> None:
        self._folder = run_folder
        self._order = order
        try:
            self._outbox = Outbox(run_folder / FILE)
        except sqlite3.Error:  # the disk is full: what MLflow takes while the run lasts is better than nothing
            self._outbox = Outbox(Path(":memory:"))
        self._courier = Courier(Delivery(self._outbox, rest, run_folder), self._outbox, run_folder, say)
        self._groups: list[_Group] = []
        self._group_of: dict[int, _Group] = {}
        self._pending = 0
        self._unsubmitted = 0
        self._began = time.monotonic()
        self._next_point = 0.0

    @classmethod
    def open(
        cls,
        run_folder: Path,
        order: Order,
        stack: Stack,
        *,
        say: Callable[[str], None] = lambda _: None,
        transport: httpx.BaseTransport | None = None,
    ) -> Tracking:
        """Return the tracking of a run.

        Args:
            run_folder: gets the outbox; the files that ``end`` names lie in it.
            order: what the run does.
            stack: whose MLflow.
            say: called from another thread with ``connected`` or ``unreachable: WHY`` when that changes.
            transport: how requests travel (tests put their own here).
        """
        return cls(run_folder, order, _rest(stack, transport), say)

    def begin(self, planned: Planned) -> None:
        """The plan is made: create the parent run and the runs of the steps so far."""
        self._unsubmitted = self._pending = planned.pending
        figures = {name: getattr(planned, name) for name in ("total", "pending", "skipped", "known_bad")}
        items = [
            self._run(PARENT, self._order.run, telling.tags(self._order)),
            telling.log(PARENT, params=telling.params(self._order), metrics=figures),
        ]
        for step in steps.recorded(self._folder):
            items += [
                self._run(step.name, step.name, {telling.STEP: step.name}, began=step.began),
                telling.log(step.name, params=step.params, metrics=step.metrics, at=step.ended),
                telling.end(step.name, "FINISHED", at=step.ended),
            ]
        name = steps.MANAGE_WORKERS
        items += [self._run(name, name, {telling.STEP: name}), telling.log(name, metrics=figures)]
        self._tell(*items)
        self._courier.start()

    def submitted(self, batch_number: int, images: int, cost: float) -> None:
        """A batch of so many images was handed to the workers; ``cost`` in pixels."""
        group = self._groups[-1] if self._groups else None
        if group is None or (self._is_full(group) and len(self._groups) < MAX_GROUPS):
            group = _Group(batch_number)
            self._groups.append(group)
            self._tell(self._run(group.key, group.name, {telling.STEP: steps.PROCESS_BATCH}))
        group.last = max(group.last, batch_number)
        group.images += images
        group.working.add(batch_number)
        self._group_of[batch_number] = group
        _add(group.sums, {"batches": 1, "images": images, "cost": cost})
        self._unsubmitted = max(0, self._unsubmitted - images)

    def finished(self, batch_number: int, figures: Mapping[str, float]) -> None:
        """A batch came back, or its worker died; figures (done, seconds, pixels, …) of a child's batches are summed."""
        group = self._group_of.pop(batch_number, None)
        if group is None:
            return
        group.working.discard(batch_number)
        _add(group.sums, figures)
        if not group.working and (group is not self._groups[-1] or self._is_full(group)):
            self._close(group, "FINISHED")

    def progress(self, figures: Mapping[str, float | None], at: float | None = None) -> None:
        """Note figures of the whole run over time (``at``: seconds of the epoch); most calls do nothing."""
        elapsed = time.monotonic() - self._began
        if elapsed >= self._next_point:
            self._next_point = elapsed + max(SOONEST, elapsed / POINTS)
            self._tell(telling.log(PARENT, metrics=figures, at=at, step=int(elapsed)))

    def end(self, status: str, report: Report | None, files: Iterable[Path]) -> None:
        """The run is over (``ok``, ``threshold``, ``cancelled``, ``failed``): upload its files and end its runs."""
        for group in self._groups:
            if not group.told:
                self._close(group, "KILLED" if group.working else "FINISHED")
        figures = report.metrics() if report is not None else {}
        self._tell(
            telling.log(
                PARENT, metrics=figures, tags={telling.STATUS: status}, step=int(time.monotonic() - self._began)
            ),
            telling.end(steps.MANAGE_WORKERS, "FINISHED"),
            telling.end(
                PARENT, _STATUS.get(status, "FAILED")
            ),  # before the files, which a proxy may refuse for their size
            *(Item("file", PARENT, {"file": file.name}) for file in files if file.is_file()),
        )

    def close(self, timeout: float = 10.0) -> int:
        """Wait up to ``timeout`` seconds until MLflow has everything; return how many items it has not."""
        return self._courier.finish(timeout)

    def _is_full(self, group: _Group) -> bool:
        """Say whether the next batch gets a child run of its own: always where so few images are left that all can."""
        if len(self._groups) + self._unsubmitted <= MAX_GROUPS:
            return True
        return group.images >= self._pending / (MAX_GROUPS * 0.9)

    def _close(self, group: _Group, status: str) -> None:
        group.told = True
        self._tell(telling.log(group.key, metrics=group.sums), telling.end(group.key, status, name=group.name))

    def _run(self, key: str, name: str, tags: Mapping[str, str], began: float | None = None) -> Item:
        parent = None if key == PARENT else PARENT
        return telling.run(self._order.run, self._order.experiment, key, name, tags, parent=parent, began=began)

    def _tell(self, *items: Item) -> None:
        self._outbox.put(*items)
        self._courier.wake()


def tell_step(folder: Path, stack: Stack, done: Step, experiment: str | None, *, failed: bool = False) -> int:
    """Tell MLflow of a step that was done by itself, as a run of its own; return how many items it has not got.

    Args:
        folder: of the batch run, or of the step where it belongs to none; it gets the outbox.
        stack: whose MLflow.
        done: the step.
        experiment: MLflow's, by name.
        failed: the step did not succeed.
    """
    key = f"{done.name}-{int(done.began * 1000)}"
    outbox = Outbox(folder / FILE)
    tags = {telling.STEP: done.name}
    outbox.put(
        telling.run(folder.name, experiment, key, done.name, tags, began=done.began),
        telling.log(key, params=done.params, metrics=done.metrics, at=done.ended),
        telling.end(key, "FAILED" if failed else "FINISHED", at=done.ended),
    )
    outbox.close()
    return deliver(folder, stack)


def deliver(
    run_folder: Path, stack: Stack, *, seconds: float = 10.0, transport: httpx.BaseTransport | None = None
) -> int:
    """Bring to MLflow what a run that is over could not; return how many items are left.

    A run whose coordinator was killed is ended there as killed. One whose coordinator lives is left to it.
    """
    if not (run_folder / FILE).is_file():
        return 0
    with delivering(run_folder) as mine:
        try:
            outbox = Outbox(run_folder / FILE)
        except sqlite3.Error:
            return 0
        try:
            if mine:
                outbox.put(*(telling.end(run, "KILLED") for run in reversed(outbox.open_runs())))
                delivery = Delivery(outbox, _rest(stack, transport), run_folder)
                _deliver_until(delivery, time.monotonic() + seconds)
            return outbox.left()
        except sqlite3.Error:
            return 0
        finally:
            outbox.close()


def undelivered(run_folder: Path) -> int:
    """Return how many items of a run MLflow does not have yet (a run folder with some is worth keeping)."""
    if not (run_folder / FILE).is_file():
        return 0
    try:
        outbox = Outbox(run_folder / FILE)
    except sqlite3.Error:
        return 0
    try:
        return outbox.left() + len(outbox.open_runs())
    finally:
        outbox.close()


def _deliver_until(delivery: Delivery, deadline: float) -> None:
    try:
        while time.monotonic() < deadline and delivery.some():
            pass
    except StackctlError:  # not now: the next command tries again
        return


def _rest(stack: Stack, transport: httpx.BaseTransport | None) -> Rest:
    return Rest(stack.endpoints.mlflow, stack.mlflow_token(), transport=transport)


def _add(sums: dict[str, float], figures: Mapping[str, float]) -> None:
    for name, value in figures.items():
        sums[name] = sums.get(name, 0) + value
