"""Images between folders of this machine and the object store, around a batch whose workers see only the store."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sqlite3
import sys
import threading
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from stackctl import process
from stackctl.batch.listing import Settled
from stackctl.batch.runs import Run
from stackctl.errors import StackctlError
from stackctl.lifecycle.batch_places import HOST, Route
from stackctl.store.errors import NoSpace, StoreGone
from stackctl.store.files import Files
from stackctl.store.places import Listed, Place, open_place

if TYPE_CHECKING:
    from stackctl.engines import Progress
    from stackctl.stack import Stack

PAUSE_SECONDS = 3.0
LANES = 8
"""Images on their way at the same time."""
SHARE = 10
"""Looking for what is new takes at most one part in so many of the time."""
TRANSFERS = "transfers"
"""Folder, beside the runs, that remembers what was brought."""
ROUTE = "route.json"
BROUGHT = "brought"
_SCHEMA = """
CREATE TABLE IF NOT EXISTS brought (name BLOB PRIMARY KEY, size INTEGER NOT NULL, stamp TEXT NOT NULL) WITHOUT ROWID;
CREATE TEMP TABLE there (name BLOB PRIMARY KEY, stamp TEXT NOT NULL) WITHOUT ROWID;
"""


def push(
    stack: Stack, folder: Path, url: str, records: Path, progress: Progress, *, settled: Settled | None = None
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
    """
    here = Files(folder)
    there = open_place(url, stack)
    if settled is None and f"/{HOST}/" in url:
        _forget_gone(here, there)
    images = here.list() if settled is None else settled.filter(here.list())
    return _bring(here, there, images, _record(records, f"{folder} > {url}"), folder.name, progress)


def pull(stack: Stack, url: str, folder: Path, records: Path, progress: Progress) -> int:
    """Bring the results that are new or changed, or gone from the folder, out of the store; return how many."""
    there = open_place(url, stack)
    folder.mkdir(parents=True, exist_ok=True)
    return _bring(there, Files(folder), there.list(), _record(records, f"{url} > {folder}"), folder.name, progress)


def _forget_gone(source: Place, copy: Place) -> None:
    """Delete what was brought earlier and is gone from its folder: the next run would work on it for ever."""
    with contextlib.closing(sqlite3.connect("")) as base:  # on disk, and gone when closed
        base.execute("CREATE TABLE here (name BLOB PRIMARY KEY) WITHOUT ROWID")
        base.executemany(
            "INSERT OR IGNORE INTO here VALUES (?)", ((os.fsencode(image.name),) for image in source.list())
        )
        for image in copy.list():
            if base.execute("SELECT 1 FROM here WHERE name = ?", (os.fsencode(image.name),)).fetchone() is None:
                copy.delete(image.name)


def _bring(source: Place, target: Place, images: Iterable[Listed], record: Path, subject: str, tell: Progress) -> int:
    brought = kept = 0
    told = time.monotonic()
    record.parent.mkdir(parents=True, exist_ok=True)
    with (
        contextlib.closing(sqlite3.connect(record, timeout=30, isolation_level=None)) as base,
        ThreadPoolExecutor(LANES) as pool,
    ):
        base.executescript(_SCHEMA)
        base.execute("BEGIN")
        there = ((os.fsencode(image.name), image.stamp) for image in target.list())
        base.executemany("INSERT OR REPLACE INTO there VALUES (?, ?)", there)
        base.execute("COMMIT")
        rest = iter(images)
        while some := list(islice(rest, LANES * 4)):
            stamps = {image.name: _stamp_there(base, image) for image in some}
            wanted = [image for image in some if stamps[image.name] is None or not _is_known(base, image)]
            kept += len(some) - len(wanted)
            outcomes = pool.map(
                lambda image, stamps=stamps: _bring_one(source, target, image, stamps[image.name]), wanted
            )
            for image, outcome in zip(wanted, outcomes, strict=True):
                if isinstance(outcome, str):
                    tell(f"! {subject}", f"{source.full(image.name)} stays behind: {outcome}")
                    continue
                brought += outcome
                entry = (os.fsencode(image.name), image.size, image.stamp)
                base.execute("INSERT OR REPLACE INTO brought VALUES (?, ?, ?)", entry)
            if wanted and time.monotonic() - told > 1.0:
                told = time.monotonic()
                tell(subject, f"{brought} brought to {target.url}")
    if brought or kept:
        tell(subject, f"{brought} brought to {target.url}, {kept} there already")
    return brought


def _stamp_there(base: sqlite3.Connection, image: Listed) -> str | None:
    row = base.execute("SELECT stamp FROM there WHERE name = ?", (os.fsencode(image.name),)).fetchone()
    return None if row is None else str(row[0])


def _is_known(base: sqlite3.Connection, image: Listed) -> bool:
    row = base.execute("SELECT size, stamp FROM brought WHERE name = ?", (os.fsencode(image.name),)).fetchone()
    return bool(row == (image.size, image.stamp))


def _bring_one(source: Place, target: Place, image: Listed, stamp: str | None) -> bool | str:
    """Copy one image; return False where it was there, and why it cannot be copied where that is its own fault."""
    try:
        data = source.read(image.name)
        if stamp == hashlib.md5(data, usedforsecurity=False).hexdigest():  # an object's ETag, as a rule
            return False
        target.write(image.name, data)
    except (StoreGone, NoSpace):
        raise
    except (StackctlError, UnicodeError) as error:
        return str(getattr(error, "message", error))
    return True


def pull_quarantine(stack: Stack, url: str, folder: Path) -> None:
    """Make ``folder`` show what is quarantined in the store: images and the reasons beside them."""
    from stackctl.store.urls import open_store

    store, here = open_store(stack, url), Files(folder)
    found = {each.key: each.size for each in store.list()}
    for key, size in found.items():
        file = folder / key
        if not file.is_file() or file.stat().st_size != size:
            here.write(key, store.get(key))
    shown = [file for file in folder.rglob("*") if file.is_file() and not file.name.startswith(".")]
    for file in shown:
        if file.relative_to(folder).as_posix() not in found:
            file.unlink(missing_ok=True)


class Carrier:
    """Brings images to and from the store while a run goes on, as far as its route asks for it."""

    def __init__(self, stack: Stack, run: Run) -> None:
        self._stack = stack
        self._run = run
        self._route = route_of(run)
        self._watch = bool(run.order().get("watch"))
        self._records = run.folder.parents[1] / TRANSFERS
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        route = self._route
        if route is not None and (route.pull or (route.push and self._watch)):
            self._thread = threading.Thread(target=self._go_on, args=(route,), daemon=True)
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        if self._thread is not None:
            self._thread.join()

    def rest(self, progress: Progress) -> None:
        """Bring the results that are still in the store.

        Raises:
            StackctlError: they cannot be had now; the message says where they lie.
        """
        route = self._route
        if route is None or route.pull is None or (self._run.folder / BROUGHT).exists():
            return
        try:
            self._pull(route, progress)
        except StackctlError as error:
            raise StackctlError(
                f"The results lie in {route.output} and could not be brought to {route.pull}: {error.message}",
                f"Bring them later: stackctl batch status {self._run.id}",
            ) from error
        (self._run.folder / BROUGHT).touch()

    def _go_on(self, route: Route) -> None:
        pause = PAUSE_SECONDS
        settled = Settled(self._run.folder / "settling.sqlite") if route.push and self._watch else None
        while not self._over.wait(pause):
            began = time.monotonic()
            with contextlib.suppress(StackctlError):  # the store does not answer: the next round tries again
                if route.push and settled:
                    push(self._stack, route.push, route.input, self._records, _silent, settled=settled)
                self._pull(route, _silent)
            pause = max(PAUSE_SECONDS, SHARE * (time.monotonic() - began))
        if settled:
            settled.close()

    def _pull(self, route: Route, progress: Progress) -> None:
        if route.pull:
            pull(self._stack, route.output, route.pull, self._records, progress)
        if route.pull_quarantine:
            pull_quarantine(self._stack, route.quarantine, route.pull_quarantine)


def carry_on(stack: Stack, run: Run) -> None:
    """Leave a process that brings a run's results until it ends, where its route asks for it."""
    route = route_of(run)
    if route is None or not (route.pull or (route.push and run.order().get("watch"))):
        return
    words = ["-C", str(stack.home), "--quiet", "batch", "status", "--follow", run.id]
    process.start([sys.executable, "-m", "stackctl", *words], log=run.folder / "follow.log")


def remember_route(run: Run, route: Route) -> None:
    """Write a run's route into its folder: whoever follows it later brings what it asks for."""
    entries = {name: str(value) if isinstance(value, Path) else value for name, value in asdict(route).items()}
    (run.folder / ROUTE).write_text(json.dumps(entries, indent=2))


def route_of(run: Run) -> Route | None:
    """Return a run's route; None where nobody wrote it."""
    try:
        entries: dict[str, Any] = json.loads((run.folder / ROUTE).read_text())
    except (OSError, ValueError):
        return None
    folders = {name: Path(entries[name]) if entries[name] else None for name in ("push", "pull", "pull_quarantine")}
    return Route(entries["input"], entries["output"], entries["quarantine"], **folders)


def _record(records: Path, what: str) -> Path:
    return records / f"{hashlib.sha256(what.encode(errors='surrogateescape')).hexdigest()[:16]}.sqlite"


def _silent(_subject: str, _what: str) -> None:
    """Draw nothing: a bar is on the screen."""
