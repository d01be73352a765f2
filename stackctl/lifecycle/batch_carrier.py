"""Brings images to the store and results back while a run goes on, and leaves nothing in between once it is over."""

from __future__ import annotations

import contextlib
import json
import sys
import threading
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from stackctl import process
from stackctl.batch import elsewhere
from stackctl.batch.alone import unfinished
from stackctl.batch.listing import Settled
from stackctl.batch.runs import COPIES, Run, Runs, state_of
from stackctl.errors import StackctlError
from stackctl.lifecycle.batch_brought import TRANSFERS
from stackctl.lifecycle.batch_copies import forget_copies
from stackctl.lifecycle.batch_places import Route
from stackctl.lifecycle.batch_transfer import pull, pull_quarantine, push

if TYPE_CHECKING:
    from stackctl.engines import Progress
    from stackctl.stack import Stack

PAUSE_SECONDS = 3.0
SHARE = 10
"""Looking for what is new takes at most one part in so many of the time."""
ROUTE = "route.json"
BROUGHT = "brought"


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
        """Bring the results of a run that is over as far as they are still in the store, and delete the copies there.

        Raises:
            StackctlError: they cannot be had now; the message says where they lie.
        """
        route = self._route
        if route is None:
            return
        if (route.pull or route.pull_quarantine) and not (self._run.folder / BROUGHT).exists():
            self.bring(progress)
            if unfinished(self._run.folder):
                return
            (self._run.folder / BROUGHT).touch()
        self._forget(route)

    def bring(self, progress: Progress) -> None:
        """Bring the results and the quarantine that are in the store.

        Raises:
            StackctlError: they cannot be had now; the message says where they lie.
        """
        route = self._route
        if route is None:
            return
        try:
            self._pull(route, progress)
        except StackctlError as error:
            if route.pull is None:  # the quarantine can be looked at in the store, too
                return
            raise StackctlError(
                f"The results lie in {route.output} and could not be brought to {route.pull}: {error.message}",
                f"Bring them later: stackctl batch status {self._run.id}",
            ) from error

    def _forget(self, route: Route) -> None:
        marked = self._run.folder / COPIES
        if not marked.exists() or unfinished(self._run.folder):
            return
        with contextlib.suppress(StackctlError):  # a later batch command does it
            if forget_copies(self._stack, self._run, route):
                for name in (elsewhere.INPUTS, elsewhere.RESULTS):
                    (self._run.folder / name).unlink(missing_ok=True)
                marked.unlink(missing_ok=True)

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
        try:
            if route.pull:
                pull(self._stack, route.output, route.pull, self._records, progress)
        finally:
            if route.pull_quarantine:
                pull_quarantine(self._stack, route.quarantine, route.pull_quarantine, self._records)


def bring_earlier(stack: Stack, runs: Runs, progress: Progress) -> None:
    """Bring what runs that are over left in the store because nobody was there at their end, and delete the copies.

    A folder that is not there, as when its disk is not mounted, is waited for.
    """
    for run in runs.all():
        if not (run.folder / COPIES).exists() or state_of(run).live:
            continue
        route = route_of(run)
        if route is not None and (route.pull is None or route.pull.is_dir()):
            with contextlib.suppress(StackctlError):  # the run that is asked for now may have what it needs
                Carrier(stack, run).rest(progress)


def carry_on(stack: Stack, run: Run) -> None:
    """Leave a process that brings a run's results until it ends, where its route asks for it."""
    route = route_of(run)
    if route is None or not (route.pull or route.copies_inputs or (route.push and run.order().get("watch"))):
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


def _silent(_subject: str, _what: str) -> None:
    """Draw nothing: a bar is on the screen."""
