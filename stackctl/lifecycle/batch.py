"""``stackctl batch run``: from what a person wants to a coordinator that runs, and the events it tells."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Mapping
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from stackctl.batch.order import Order, OrderedModel, OrderedOptions, OrderedSecurity
from stackctl.batch.runs import COPIES, Run, Runs
from stackctl.batch.steps import PREPARE_ENVIRONMENT, PREPARE_MODEL, step
from stackctl.distribution import environment_hash
from stackctl.errors import StackctlError, UsageError
from stackctl.lifecycle.batch_brought import TRANSFERS
from stackctl.lifecycle.batch_carrier import bring_earlier, remember_route
from stackctl.lifecycle.batch_copies import bring_inputs, forget_copies, held
from stackctl.lifecycle.batch_model import batch_model
from stackctl.lifecycle.batch_places import Route, must_answer, route
from stackctl.lifecycle.batch_runs import name_of, runs_of
from stackctl.scaffold.secret_files import add_missing

if TYPE_CHECKING:
    from stackctl.engines import Engine, Progress
    from stackctl.stack import Stack

INSIDE = "/var/lib/stackctl/batch"
"""Where a container sees the batch folder."""
OWN_KEY = "batch_tls"
"""The secret with which the stack's own scheduler and workers know each other."""
_SCHEDULER = re.compile(r"(?P<scheme>tls|tcp)://(?P<host>\[[0-9a-fA-F:]+\]|[^/:\s]+):(?P<port>\d{1,5})")
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "[::1]"})
_THRESHOLD = re.compile(r"\d{1,9}|(100|\d{1,2})(\.\d+)?%")


@dataclass(frozen=True)
class Wanted:
    """What a person wants of a batch; None and 0 leave the choice to stackctl.

    Attributes:
        input: folder or ``s3://`` URL with images; None: the stack's inbound.
        output: where results go; None: the stack's outbound.
        model: ``NAME``, ``NAME@alias`` or ``NAME/VERSION``; None: the stack's model in Production.
        workers: how many worker processes.
        batch_size: how many images a worker gets at once.
        scheduler: address of a Dask scheduler that exists.
        tls: files that prove who we are to that scheduler: CA, certificate, key; None: the stack's own.
        local: worker processes of the run's own, also where the stack has a scheduler.
        error_threshold: images (``10``) or share (``5%``) of quarantined ones that end the run early.
        retry_failed: try images again that were quarantined before.
        watch: go on with what arrives, until stopped.
        dry_run: say what would be done.
        image_timeout: seconds that one image may take.
        wait_limit: seconds that a full disk or a store that is gone is waited for.
        experiment: MLflow's experiment.
        dashboard: show Dask's dashboard, on loopback.
    """

    input: str | None = None
    output: str | None = None
    model: str | None = None
    workers: int | None = None
    batch_size: int | None = None
    scheduler: str | None = None
    tls: tuple[Path, Path, Path] | None = None
    local: bool = False
    error_threshold: str | None = None
    retry_failed: bool = False
    watch: bool = False
    dry_run: bool = False
    suffix: str = "_out"
    format: str = "auto"
    outscale: float = 0.0
    tile: int = 0
    precision: str = "auto"
    alpha: str = "bicubic"
    image_timeout: float | None = None
    wait_limit: float | None = None
    experiment: str = "batch"
    dashboard: bool = False


@dataclass(frozen=True)
class Launched:
    """A run that was started: its folder and between which places it runs."""

    run: Run
    route: Route


def launch(
    stack: Stack,
    engine: Engine,
    wanted: Wanted,
    progress: Progress,
    warn: Callable[[str], None],
    environ: Mapping[str, str] | None = None,
    *,
    start: bool = True,
) -> Launched:
    """Start a batch and return at once; its coordinator outlives this process.

    Args:
        stack: whose model, store and engine.
        engine: runs the coordinator.
        wanted: what is to be done.
        progress: told what happens.
        warn: told what a person must know.
        environ: environment (default: the process's own).
        start: whether to start the coordinator; without one the run's folder holds its order.

    Raises:
        UsageError: something that is wanted cannot be.
        StackctlError: another run writes to the same place, or the model cannot be had.
        Unhealthy: MLflow or the store does not answer.
    """
    _check(wanted)
    wanted = capped(wanted, os.environ if environ is None else environ, warn)
    path = route(stack, wanted.input, wanted.output)
    runs = runs_of(stack)
    if not wanted.dry_run:
        _nobody_else(runs, path)
    must_answer(stack, path.input, path.output)
    add_missing(stack.home / "secrets")
    _make_folders(path)
    if not wanted.dry_run:
        bring_earlier(stack, runs, progress)
    if wanted.scheduler is not None and wanted.tls is None:
        wanted = replace(wanted, tls=(stack.home / "secrets" / OWN_KEY,) * 3)
    run = runs.create()
    try:
        with held(runs.folder / TRANSFERS) if path.copied else nullcontext():
            order = _prepare(stack, engine, wanted, path, run, progress, warn)
            (run.folder / "order.json").write_text(order.to_json())
            remember_route(run, path)
            if start:
                _start(engine, run, wanted)
    except BaseException:
        if (run.folder / COPIES).exists():
            with suppress(StackctlError):
                forget_copies(stack, run, path)
        shutil.rmtree(run.folder, ignore_errors=True)
        raise
    return Launched(run, path)


def _prepare(
    stack: Stack,
    engine: Engine,
    wanted: Wanted,
    path: Route,
    run: Run,
    progress: Progress,
    warn: Callable[[str], None],
) -> Order:
    """Do the first two steps of a batch, and return its order."""
    folder = run.folder.parents[1]
    with step(PREPARE_MODEL, run.folder) as preparing:
        model = batch_model(stack, wanted.model, folder, progress, warn)
        preparing.params.update(name=model.name, version=model.version, digest=model.digest)
    with step(PREPARE_ENVIRONMENT, run.folder) as preparing:
        engine.prepare_workers(progress)
        preparing.params["environment"] = environment_hash()
    configured = stack.settings.batch.workers
    if wanted.workers is None and configured != "auto":
        wanted = replace(wanted, workers=configured)
    order = _order(wanted, path, model, run)
    if path.copied and not wanted.dry_run:
        (run.folder / COPIES).touch()
    bring_inputs(stack, order, path, run, progress)
    scheduler, security = _scheduler(engine, wanted, progress)
    return replace(order, scheduler=scheduler, security=security)


def _make_folders(path: Route) -> None:
    """Make the folders of this machine that results go to.

    Raises:
        UsageError: they cannot be made.
    """
    for place in (path.output, path.quarantine):
        if not place.startswith("s3://"):
            try:
                Path(place).mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise UsageError(f"{place} cannot be made: {error.strerror}.", "Name another --output.") from error


def capped(wanted: Wanted, environ: Mapping[str, str], warn: Callable[[str], None]) -> Wanted:
    """Return what is wanted with no more workers than ``ADSP_WORKER_MAX`` allows.

    Raises:
        UsageError: the variable is no number.
    """
    text = environ.get("ADSP_WORKER_MAX", "").strip()
    if not text:
        return wanted
    if not text.isdecimal() or int(text) < 1:
        raise UsageError(f"ADSP_WORKER_MAX is {text!r}, which is no number of workers.", "Set it to 1 or more.")
    most = int(text)
    if wanted.workers is not None and wanted.workers > most:
        warn(f"{most} worker{'s' if most > 1 else ''} instead of {wanted.workers}: ADSP_WORKER_MAX allows no more.")
    automatic = min(most, os.cpu_count() or 1)
    return replace(wanted, workers=min(wanted.workers or automatic, most))


def _check(wanted: Wanted) -> None:
    """Refuse what cannot work before anything is done.

    Raises:
        UsageError: an option is wrong.
    """
    if "/" in wanted.suffix or "\0" in wanted.suffix:
        raise UsageError(f"A suffix is part of a file's name: {wanted.suffix!r} is none.", "Write --suffix _out.")
    if wanted.error_threshold and not _THRESHOLD.fullmatch(wanted.error_threshold):
        raise UsageError(
            f"{wanted.error_threshold!r} is no error threshold.", "Write a number of images or a share: 10 or 5%."
        )
    if wanted.scheduler is None:
        if wanted.tls:
            raise UsageError("TLS files without a --scheduler have no use.", "Add --scheduler tls://HOST:PORT.")
        return
    for file in wanted.tls or ():
        if not file.is_file():
            raise UsageError(f"There is no file {file}.", "Write --tls CA CERT KEY.")
    if wanted.local:
        raise UsageError("--local and --scheduler exclude each other.", "Leave one of them out.")
    found = _SCHEDULER.fullmatch(wanted.scheduler)
    if found is None or not 0 < int(found["port"]) < 65536:
        raise UsageError(f"{wanted.scheduler!r} is no address of a scheduler.", "Write --scheduler tls://HOST:8786.")
    if found["scheme"] == "tcp" and found["host"] not in _LOOPBACK:
        raise UsageError(
            f"{wanted.scheduler} is not encrypted: whoever reaches that port could run programs there.",
            f"Start the scheduler with TLS and write --scheduler tls://{found['host']}:{found['port']}.",
        )


def _nobody_else(runs: Runs, path: Route) -> None:
    for run in runs.live():
        if run.order().get("output") == path.output:
            raise StackctlError(
                f"The run {run.id} writes to {path.pull or path.output} at this moment.",
                f"Follow it: stackctl batch status -f {run.id}. End it: stackctl batch cancel {run.id}",
            )


def _scheduler(engine: Engine, wanted: Wanted, progress: Progress) -> tuple[str | None, OrderedSecurity | None]:
    """Return the scheduler's address and our TLS files as the coordinator sees them; None: processes of its own."""
    if wanted.scheduler is not None:
        return wanted.scheduler, OrderedSecurity(*map(os.path.realpath, wanted.tls)) if wanted.tls else None
    if wanted.local or wanted.dry_run or (found := engine.batch_scheduler(wanted.workers, progress)) is None:
        return None, None
    return found.url, OrderedSecurity(found.ca, found.cert, found.key)


def _order(wanted: Wanted, path: Route, model: OrderedModel, run: Run) -> Order:
    return Order(
        run=run.id,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        input=path.input,
        output=path.output,
        quarantine=path.quarantine,
        model=model,
        options=OrderedOptions(wanted.outscale, wanted.format, wanted.tile, wanted.precision, wanted.alpha),
        suffix=wanted.suffix,
        workers=wanted.workers or "auto",
        batch_size=wanted.batch_size or "auto",
        error_threshold=wanted.error_threshold,
        retry_failed=wanted.retry_failed,
        watch=wanted.watch,
        dry_run=wanted.dry_run,
        image_timeout=Order.image_timeout if wanted.image_timeout is None else wanted.image_timeout,
        wait_limit=Order.wait_limit if wanted.wait_limit is None else wanted.wait_limit,
        experiment=wanted.experiment,
        dashboard=wanted.dashboard,
        input_folder=str(path.push) if path.push else None,
        output_folder=str(path.pull) if path.pull else None,
        quarantine_folder=str(path.pull_quarantine) if path.pull_quarantine else None,
    )


def _start(engine: Engine, run: Run, wanted: Wanted) -> None:
    keys = {Path(os.path.realpath(file)) for file in wanted.tls or ()}
    engine.launch(
        name_of(run),
        ["python", "-P", "-m", "stackctl.batch.coordinator", f"{{mount:{INSIDE}}}/runs/{run.id}"],
        mounts={run.folder.parents[1]: INSIDE, **{file: str(file) for file in keys}},
        log=run.log,
    )
