"""Copies through which folders of this machine travel to workers that see only the store.

Before a run the images come that it has to work on, and no others; once it is over the copies are deleted: the inputs
because their folder has them, the results once they are back. What a run finds done it knows from the manifest, from
what was brought earlier, and from the results that lie in their folder (``stackctl.batch.elsewhere``).
"""

from __future__ import annotations

import contextlib
import fcntl
import math
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from stackctl.batch import elsewhere
from stackctl.batch.runs import Run, Runs, state_of
from stackctl.lifecycle.batch_brought import TRANSFERS, Brought
from stackctl.lifecycle.batch_places import Route
from stackctl.lifecycle.batch_transfer import LANES, names_on_disk, push
from stackctl.store.files import Files
from stackctl.store.places import Listed, Place, open_place

if TYPE_CHECKING:
    from stackctl.batch.order import Order
    from stackctl.engines import Progress
    from stackctl.stack import Stack

LOCK = "copies.lock"


@contextlib.contextmanager
def held(records: Path, *, wait: bool = True) -> Iterator[bool]:
    """Keep others from bringing copies or deleting them; yield whether that is so (with ``wait`` it always is)."""
    records.mkdir(parents=True, exist_ok=True)
    with (records / LOCK).open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
            return
        yield True


def bring_inputs(stack: Stack, order: Order, path: Route, run: Run, progress: Progress) -> None:
    """Bring into the store what a run has to work on, and write down what else it must know; a dry run only the latter.

    Raises:
        StackctlError: the store does not take it.
    """
    records = run.folder.parents[1] / TRANSFERS
    if path.pull and path.copies_results:
        elsewhere.write(run.folder / elsewhere.RESULTS, _results_here(path.pull, path.output, records))
    if path.push is None:
        return
    behind: list[str] = []
    if order.dry_run:
        elsewhere.write(run.folder / elsewhere.INPUTS, _inputs_here(path.push, path.input, records))
    elif not path.copies_inputs:
        push(stack, path.push, path.input, records, progress, behind=behind)
    else:
        here = partial(_inputs_here, path.push, path.input, records)
        with names_on_disk(_pending(stack, order, path, run, here())) as pending:
            push(stack, path.push, path.input, records, progress, only=pending, behind=behind)
            done = (image for image in here() if image.stamp and not pending(image.name))
            elsewhere.write(run.folder / elsewhere.INPUTS, done)
    elsewhere.leave_behind(run.folder, behind)


def forget_copies(stack: Stack, run: Run, path: Route) -> bool:
    """Delete the copies of a run that is over, unless another run needs them; return whether they are gone.

    A result stays that is not in its folder.

    Raises:
        StackctlError: the store does not answer.
    """
    batch = run.folder.parents[1]
    with held(batch / TRANSFERS, wait=False) as mine:
        if not mine or _needed(Runs(batch), run, path):
            return False
        if path.pull and path.copies_results:
            there = open_place(path.output, stack)
            _delete(there, _back(there, path.pull, path.output, batch / TRANSFERS))
        if path.copies_inputs:
            there = open_place(path.input, stack)
            _delete(there, there.list())
    return True


def _pending(stack: Stack, order: Order, path: Route, run: Run, inputs: Iterable[Listed]) -> Iterator[str]:
    """Yield the names of the images that have no right result, as the run itself will find it."""
    from stackctl.batch.manifest import Manifest, file_of, others_of
    from stackctl.batch.plan import Plan

    batch = run.folder.parents[1]
    outputs = open_place(path.output, stack)
    file = file_of(batch / "manifests", open_place(path.input, stack).base(), outputs.base())
    with Manifest.open(file) as manifest:
        plan = Plan.make(
            manifest,
            inputs,
            elsewhere.joined(outputs.list(), run.folder / elsewhere.RESULTS),
            order.recipe,
            folder=run.folder,
            suffix=order.suffix,
            retry_failed=order.retry_failed,
            others=others_of(file),
        )
        with contextlib.closing(plan):
            while batch_of := plan.next_batch(math.inf, 1000):
                yield from (image.name for image in batch_of.images)


def _inputs_here(folder: Path, url: str, records: Path) -> Iterator[Listed]:
    """Yield the images of a folder with the stamps that their copies had; without where they are new or changed."""
    with Brought(records, str(folder), url) as brought:
        for image in Files(folder).list():
            yield Listed(image.name, image.size, brought.there(image))


def _results_here(folder: Path, url: str, records: Path) -> Iterator[Listed]:
    """Yield the results that were brought back and are still in their folder, as the store listed them."""
    with Brought(records, url, str(folder)) as brought:
        yield from (image for image in brought.all() if (folder / image.name).is_file())


def _back(there: Place, folder: Path, url: str, records: Path) -> Iterator[Listed]:
    """Yield the results in the store that lie in their folder too."""
    with Brought(records, url, str(folder)) as brought:
        yield from (image for image in there.list() if brought.has(image) and (folder / image.name).is_file())


def _needed(runs: Runs, run: Run, path: Route) -> bool:
    """Return whether another run that goes on, or that is about to begin, works with the same copies."""
    for other in runs.all():
        order = other.order()
        same = path.input == order.get("input") or path.output == order.get("output")
        if same and other.id != run.id and not order.get("dry_run") and state_of(other).live:
            return True
    return False


def _delete(place: Place, images: Iterable[Listed]) -> None:
    rest = iter(images)
    with ThreadPoolExecutor(LANES) as pool:
        while some := list(islice(rest, 1000)):
            list(pool.map(lambda image: place.delete(image.name), some))
