"""Images between folders of this machine and the object store, around a batch whose workers see only the store."""

from __future__ import annotations

import contextlib
import hashlib
import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from stackctl.batch.listing import Settled
from stackctl.errors import StackctlError
from stackctl.lifecycle.batch_brought import Brought
from stackctl.store.errors import NoSpace, NotFound, StoreGone
from stackctl.store.files import Files
from stackctl.store.places import HOST, Listed, Place, open_place

if TYPE_CHECKING:
    from stackctl.engines import Progress
    from stackctl.stack import Stack

LANES = 8
"""Images on their way at the same time."""


def push(
    stack: Stack,
    folder: Path,
    url: str,
    records: Path,
    progress: Progress,
    *,
    settled: Settled | None = None,
    only: Callable[[str], bool] | None = None,
    behind: list[str] | None = None,
) -> int:
    """Bring a folder's images that are new or changed into the store; return how many.

    Where the URL only stands for the folder, images that are gone from the folder are deleted there too.

    Args:
        stack: whose store.
        folder: of this machine.
        url: ``s3://BUCKET/PREFIX``.
        records: folder that remembers what was brought.
        progress: told what happens.
        settled: what earlier calls saw, where only those are brought that have not changed since the last one.
        only: tells by its name whether an image is needed there (default: all are).
        behind: gets a sentence for each image that cannot be brought.
    """
    here = Files(folder)
    there = open_place(url, stack)
    stands_for = f"/{HOST}/" in url
    if settled is None and stands_for:
        _forget_gone(here, there)
    images = here.list() if settled is None else settled.filter(here.list())
    if only is not None:
        images = (image for image in images if only(image.name))
    with Brought(records, str(folder), url) as brought:
        # copies of what is done are gone from there: while a run watches, what was brought before is not missing
        missing = not (stands_for and settled)
        where = "the object store" if stands_for else there.url
        left: list[str] = [] if behind is None else behind
        return _bring(here, there, images, brought, folder.name, progress, where, left, missing=missing)


def pull(stack: Stack, url: str, folder: Path, records: Path, progress: Progress) -> int:
    """Bring the results that are new or changed, or gone from the folder, out of the store; return how many.

    Raises:
        StackctlError: some of them, or all, cannot be brought; those that can are.
    """
    there = open_place(url, stack)
    behind: list[str] = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StackctlError(f"{folder} cannot be made: {error.strerror}.") from error
    with Brought(records, url, str(folder)) as brought:
        here = Files(folder)
        count = _bring(there, here, there.list(), brought, folder.name, progress, str(folder), behind, known=False)
    if behind:
        raise StackctlError(behind[0] + (f" So it is with {len(behind) - 1} more." if len(behind) > 1 else ""))
    return count


def pull_quarantine(stack: Stack, url: str, folder: Path, records: Path) -> None:
    """Make ``folder`` show what is quarantined in the store: images and the reasons beside them.

    What was brought by an earlier call and is quarantined no more is deleted; what came there otherwise stays.
    """
    from stackctl.store.urls import open_store

    store, here = open_store(stack, url), Files(folder)
    found = {each.key: each.size for each in store.list()}
    with Brought(records, url, str(folder)) as brought:
        for key, size in found.items():
            file = folder / key
            if not file.is_file() or file.stat().st_size != size:
                here.write(key, store.get(key))
            brought.keep([(Listed(key, size, ""), "")])
        over = [each for each in brought.all() if each.name not in found]
        for each in over:
            with contextlib.suppress(FileNotFoundError):
                if (folder / each.name).stat().st_size == each.size:
                    (folder / each.name).unlink()
        brought.forget(each.name for each in over)


def _forget_gone(source: Place, copy: Place) -> None:
    """Delete what was brought earlier and is gone from its folder: the next run would work on it for ever."""
    with names_on_disk(image.name for image in source.list()) as here:
        for image in copy.list():
            if not here(image.name):
                copy.delete(image.name)


@contextlib.contextmanager
def names_on_disk(names: Iterable[str]) -> Iterator[Callable[[str], bool]]:
    """Return what tells whether a name is one of these, however many they are: they lie on the disk meanwhile."""
    with contextlib.closing(sqlite3.connect("")) as base:  # on disk, and gone when closed
        base.execute("CREATE TABLE names (name BLOB PRIMARY KEY) WITHOUT ROWID")
        base.executemany("INSERT OR IGNORE INTO names VALUES (?)", ((os.fsencode(name),) for name in names))
        yield lambda name: bool(base.execute("SELECT 1 FROM names WHERE name = ?", (os.fsencode(name),)).fetchone())


class _Outcome(NamedTuple):
    """What became of one image: whether it was written, its stamp there, and why it stays behind, if it does."""

    written: bool = False
    stamp: str = ""
    fault: str = ""


def _bring(
    source: Place,
    target: Place,
    images: Iterable[Listed],
    brought: Brought,
    subject: str,
    tell: Progress,
    where: str,
    behind: list[str],
    *,
    missing: bool = True,
    known: bool = True,
) -> int:
    """Bring images that were not brought as they are now, and with ``missing`` those that are gone from the target.

    With ``known`` it is also told how many were there already. ``behind`` gets a sentence for each that stays behind.
    """
    count = kept = 0
    told = time.monotonic()
    with _stamps(target) as there, ThreadPoolExecutor(LANES) as pool:
        rest = iter(images)
        while some := list(islice(rest, LANES * 4)):
            stamps = {image.name: there(image.name) for image in some}
            wanted = [image for image in some if not brought.has(image) or (missing and stamps[image.name] is None)]
            kept += len(some) - len(wanted)
            outcomes = pool.map(
                lambda image, stamps=stamps: _bring_one(source, target, image, stamps[image.name]), wanted
            )
            done: list[tuple[Listed, str]] = []
            try:
                for image, outcome in zip(wanted, outcomes, strict=True):
                    if outcome is None:
                        continue
                    if outcome.fault:
                        behind.append(f"{source.full(image.name)} stays behind: {outcome.fault}")
                        tell(f"! {subject}", behind[-1])
                        continue
                    count += outcome.written
                    done.append((image, outcome.stamp))
            finally:
                brought.keep(done)
            if wanted and time.monotonic() - told > 1.0:
                told = time.monotonic()
                tell(subject, f"{count} brought to {where}")
    kept = kept if known else 0
    if count or kept:
        tell(subject, f"{count} brought to {where}" + (f", {kept} there already" if kept else ""))
    return count


@contextlib.contextmanager
def _stamps(place: Place) -> Iterator[Callable[[str], str | None]]:
    """Return what tells the stamp of an image of a place, None where there is none."""
    with contextlib.closing(sqlite3.connect("")) as base:  # on disk, and gone when closed
        base.execute("CREATE TABLE there (name BLOB PRIMARY KEY, stamp TEXT NOT NULL) WITHOUT ROWID")
        listed = ((os.fsencode(image.name), image.stamp) for image in place.list())
        base.executemany("INSERT OR REPLACE INTO there VALUES (?, ?)", listed)

        def stamp(name: str) -> str | None:
            row = base.execute("SELECT stamp FROM there WHERE name = ?", (os.fsencode(name),)).fetchone()
            return None if row is None else str(row[0])

        yield stamp


def _bring_one(source: Place, target: Place, image: Listed, stamp: str | None) -> _Outcome | None:
    """Copy one image, unless it is there already; what is its own fault is told of. One that is gone is None."""
    try:
        data = source.read(image.name)
        if stamp == hashlib.md5(data, usedforsecurity=False).hexdigest():  # an object's ETag, as a rule
            return _Outcome(stamp=stamp)
        return _Outcome(True, target.write(image.name, data).stamp)
    except NotFound:
        return None
    except (StoreGone, NoSpace):
        raise
    except (StackctlError, UnicodeError) as error:
        return _Outcome(fault=str(getattr(error, "message", error)))
