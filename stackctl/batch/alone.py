"""The last two steps of a batch without a cluster: a run's images split into files, and one such file worked on.

``python -m stackctl.batch.alone manage-workers RUN_FOLDER`` writes ``batches/0001.json`` and so on into the run's
folder. ``… process-batch FILE`` works on one of them, here or on any machine that sees the folder, several at once.
Both print one line of JSON with what they came to.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import socket
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stackctl.batch.events import FILE as EVENTS
from stackctl.batch.events import EventLog
from stackctl.batch.order import NOOP, Order
from stackctl.batch.steps import MANAGE_WORKERS, PROCESS_BATCH
from stackctl.errors import StackctlError, UsageError

if TYPE_CHECKING:
    from stackctl.batch.manifest import Manifest
    from stackctl.batch.plan import ImageTask
    from stackctl.batch.task import Outcome
    from stackctl.store.places import Place

SCHEMA = 1
BATCHES = "batches"
DONE = ".done"
"""Ending of the empty file beside a batch that was worked on."""
PER_WORKER = 4
"""Batches for each worker, so that none waits long for another's last image."""


def manage_workers(run_folder: Path) -> dict[str, Any]:
    """Plan a run and write its batches, of about equal cost, the most expensive images first; return the figures."""
    from stackctl.batch import elsewhere
    from stackctl.batch.listing import header_probe, inputs
    from stackctl.batch.manifest import Manifest, others_of
    from stackctl.batch.plan import Plan
    from stackctl.batch.sizing import free_memory, sizes
    from stackctl.batch.task import open_places
    from stackctl.imaging.cpu import usable_cores

    order = Order.read(run_folder)
    inbound, outbound, quarantine = open_places(order)
    workers = sizes(order.workers, usable_cores(), free_memory()).processes
    folder = run_folder / BATCHES
    folder.mkdir(exist_ok=True)
    with output_held(run_folder, order), Manifest.open(_manifest_file(run_folder, order)) as manifest:
        plan = Plan.make(
            manifest,
            elsewhere.joined(inputs(inbound, outbound, quarantine), run_folder / elsewhere.INPUTS),
            elsewhere.joined(outbound.list(), run_folder / elsewhere.RESULTS),
            order.recipe,
            folder=run_folder,
            suffix=order.suffix,
            retry_failed=order.retry_failed,
            probe=header_probe(inbound),
            others=others_of(manifest.file),
        )
        most = order.batch_size if isinstance(order.batch_size, int) else 10_000
        budget, count = max(1, plan.planned.cost // (workers * PER_WORKER)), 0
        while batch := plan.next_batch(budget, most):
            count += 1
            document = {"schema_version": SCHEMA, "cost": batch.cost, "images": [asdict(each) for each in batch.images]}
            (folder / f"{count:04d}.json").write_text(json.dumps(document))
        planned = plan.planned
        plan.close()
    figures = {name: getattr(planned, name) for name in ("total", "pending", "skipped", "known_bad")}
    events = EventLog(run_folder / EVENTS)
    events.say("begin", run=order.run, pixels=planned.cost, **figures)
    events.say("end", status="ok", exit=0, message=f"Split into {count} batches.", hint=None)
    events.close()
    return {**figures, "pixels": planned.cost, "batches": count, "workers": workers}


def process_batch(file: Path) -> dict[str, Any]:
    """Work on one batch that ``manage_workers`` wrote; return the figures. What is done already is done again alike.

    Raises:
        UsageError: the file is no batch.
        BatchFailed: images are left, or too many were quarantined.
        StackctlError: the model cannot be loaded, or a coordinator works on the same place of results.
    """
    from stackctl.batch.manifest import Manifest
    from stackctl.batch.network import Parcel
    from stackctl.batch.sizing import free_memory
    from stackctl.batch.task import Job, Workbench, open_places

    images = read_batch(file)
    run_folder = file.absolute().parents[1]
    order = Order.read(run_folder)
    model, parcel = order.model, None
    if model.network != NOOP:
        folder = run_folder.parents[1]
        golden = folder / model.golden if model.golden else None
        parcel = Parcel.pack(folder / model.network, golden, bf16_allowed=model.bf16_allowed, carry=False)
    with output_held(run_folder, order), Manifest.open(_manifest_file(run_folder, order)) as manifest:
        notes = _Notes(order, manifest, {image.name: image for image in images}, open_places(order)[2])
        bench = Workbench.open(Job(order, parcel, max_memory=free_memory()), worker=notes.worker)
        bench.process(images, notes.heard, lambda: notes.stopping)
    figures = notes.figures
    if figures["later"]:
        text = f"{figures['later']} of {len(images)} images are left. {notes.why or 'It was stopped.'}"
        raise BatchFailed(text, "Work on the same batch again.", figures)
    file.with_suffix(DONE).touch()
    most = order.most_failures(len(images))
    if most is not None and figures["quarantined"] > most:
        text = f"{figures['quarantined']} of {len(images)} images failed: more than --error-threshold allows."
        raise BatchFailed(text, f"Their reasons are in {order.shown('quarantine')}; what is done is kept.", figures)
    return figures


def unfinished(run_folder: Path) -> bool:
    """Return whether a run was split into batches of which one was not worked on yet."""
    return any(not file.with_suffix(DONE).exists() for file in (run_folder / BATCHES).glob("*.json"))


class BatchFailed(StackctlError):
    """A batch did not end well; ``figures`` say how far it came."""

    def __init__(self, message: str, hint: str, figures: dict[str, int]) -> None:
        super().__init__(message, hint)
        self.figures = figures


class _Notes:
    """Keeps a record of each image, as the coordinator of a run does, and counts them."""

    def __init__(self, order: Order, manifest: Manifest, images: dict[str, ImageTask], quarantine: Place) -> None:
        self._order = order
        self._quarantine = quarantine
        self._manifest = manifest
        self._images = images
        self.worker = f"{socket.gethostname()}:{os.getpid()}"
        self.figures = dict.fromkeys(("images", "done", "unchanged", "quarantined", "gone", "later"), 0)
        self.figures["images"] = len(images)
        self.stopping = False
        self.why = ""
        signal.signal(signal.SIGTERM, self._stop)

    def heard(self, finished: list[Outcome], begun: list[str]) -> None:
        """Keep what is finished and what is begun."""
        from stackctl.batch.faults import take_out_of_quarantine
        from stackctl.batch.keeping import record_of

        records, mended = [], []
        for outcome in finished:
            self.figures[outcome.status] += 1
            self.why = outcome.reason if outcome.status == "later" and outcome.reason else self.why
            if outcome.status in {"done", "unchanged", "quarantined"}:
                records.append(record_of(self._order, self._images[outcome.name], outcome, self.worker))
            latest = self._manifest.latest(outcome.name) if outcome.status in {"done", "unchanged"} else None
            if latest is not None and latest.status == "quarantined":
                mended.append(outcome.name)
        for name in begun:
            self._manifest.started(name, self.worker, self._order.run, self._images[name].stamp)
        self._manifest.append(records)
        for name in mended:
            take_out_of_quarantine(self._quarantine, self._order, name)

    def _stop(self, _number: int, _frame: object) -> None:
        self.stopping = True


def read_batch(file: Path) -> list[ImageTask]:
    """Return the images of a batch.

    Raises:
        UsageError: the file is no batch.
    """
    from stackctl.batch.plan import ImageTask, Known

    try:
        document = json.loads(file.read_text())
        if document["schema_version"] != SCHEMA:
            raise UsageError(f"{file.name} has version {document['schema_version']}, not {SCHEMA}.", "Plan again.")
        return [
            ImageTask(**{**each, "known": Known(**each["known"]) if each["known"] else None})
            for each in document["images"]
        ]
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}.", "See `stackctl batch step --help`.") from error
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{file} is no batch.", "Make batches with `stackctl batch step manage-workers`.") from error


@contextlib.contextmanager
def output_held(run_folder: Path, order: Order) -> Iterator[None]:
    """Keep coordinators off a place of results; other batches that are processed alone may go on there.

    Raises:
        StackctlError: a coordinator works there.
    """
    from stackctl.batch.output_hold import lock_of
    from stackctl.batch.task import open_places

    base = open_places(order)[1].base()
    file = lock_of(_manifests(run_folder), base)
    with file.open("a") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StackctlError(f"A run works on {order.shown('output')} now.", "See `stackctl batch list`.") from None
        yield


def _manifest_file(run_folder: Path, order: Order) -> Path:
    from stackctl.batch.manifest import file_of
    from stackctl.batch.task import open_places

    inbound, outbound, _ = open_places(order)
    return file_of(_manifests(run_folder), inbound.base(), outbound.base())


def _manifests(run_folder: Path) -> Path:
    folder = run_folder.absolute().parents[1] / "manifests"
    folder.mkdir(exist_ok=True)
    return folder


def main(step: str, path: str) -> int:
    """Do one step and print what it came to; return the exit status."""
    do = {MANAGE_WORKERS: manage_workers, PROCESS_BATCH: process_batch}[step]
    try:
        answer = do(Path(path))
    except StackctlError as error:
        figures = error.figures if isinstance(error, BatchFailed) else {}
        answer = {"error": error.message, "hint": error.hint, "code": error.code, "figures": figures}
        print(json.dumps(answer))  # noqa: T201 - for the caller
        return error.code
    print(json.dumps(answer))  # noqa: T201 - for the caller
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
