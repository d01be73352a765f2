"""The batch runs of a stack once they are started: followed, ended, reported."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from stackctl.batch.runs import Run, Runs, follow
from stackctl.errors import UsageError

if TYPE_CHECKING:
    from stackctl.engines import Engine
    from stackctl.stack import Stack


def runs_of(stack: Stack) -> Runs:
    """Return the runs of a stack."""
    return Runs(stack.var / "batch")


def followed(engine: Engine, run: Run) -> Iterator[dict[str, Any]]:
    """Yield a run's events until its end; a coordinator that died is noticed. Empty events come while none does."""
    return follow(run, started=partial(started, engine, run))


def started(engine: Engine, run: Run) -> bool:
    """Return whether the process of a run's coordinator is there."""
    return engine.launched(name_of(run)).alive


def kill(engine: Engine, run: Run) -> None:
    """End a run at once; what it finished is kept, and the next run of the same places goes on from there."""
    run.cancel()
    engine.end_launched(name_of(run), kill=True)


def name_of(run: Run) -> str:
    """Return the name under which an engine keeps a run's coordinator."""
    return f"batch-{run.id}"


def live_run(stack: Stack, word: str | None) -> Run:
    """Return the run that goes on which ``word`` names; None: the only one.

    Raises:
        UsageError: it does not go on, or there is not exactly one.
    """
    runs = runs_of(stack)
    if word is not None:
        run = runs.find(word)
        if not run.alive():
            raise UsageError(f"The run {run.id} is over.", f"See `stackctl batch report {run.id}`.")
        return run
    live = runs.live()
    if len(live) == 1:
        return live[0]
    if not live:
        raise UsageError("No batch runs at this moment.", "See `stackctl batch list`.")
    raise UsageError(
        f"{len(live)} batches run at this moment: {', '.join(run.id for run in live)}.",
        f"Name one: stackctl batch cancel {live[0].id}",
    )


def report_of(run: Run) -> dict[str, Any] | None:
    """Return a run's report, or None where there is none."""
    try:
        found = json.loads(run.report.read_text())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def deliver_earlier(stack: Stack, runs: Iterable[Run], seconds: float = 10.0) -> int:
    """Tell MLflow what runs that are over could not tell it; return how much is left."""
    from stackctl.batch.tracking import deliver, undelivered

    left, deadline = 0, time.monotonic() + seconds
    for run in runs:
        if not run.alive() and undelivered(run.folder):
            left += deliver(run.folder, stack, seconds=max(0.0, deadline - time.monotonic()))
    return left
