"""What a Dask worker gets for a run: the workbench, loaded once, and the wire on which it tells of its images."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from distributed import WorkerPlugin, get_worker
from distributed.utils import sync

from stackctl.batch.task import Job, Outcome, Workbench
from stackctl.errors import MissingPrerequisite, StackctlError

if TYPE_CHECKING:
    from distributed import Worker

    from stackctl.batch.plan import ImageTask


THREADS_VARIABLE = "STACKCTL_BATCH_THREADS"
"""Threads of inference on a worker that was there before the run."""
MEMORY_SHARE = 0.9
"""Share of a worker's memory limit that one image may need; above the limit Dask ends the worker."""


class UnknownRun(StackctlError):
    """A worker was given a batch of a run that nobody told it of: its scheduler was started anew."""


def plugin_name(run: str) -> str:
    """Return under which name a run's plugin stands on each worker."""
    return f"stackctl-batch-{run}"


class BatchPlugin(WorkerPlugin):
    """A run on one worker process: one image at a time, so that a death names its image."""

    def __init__(self, job: Job, topic: str) -> None:
        """Keep what travels to the workers: the job, and the topic of what they tell."""
        self.name = plugin_name(job.order.run)
        self.job = job
        self.topic = topic

    def setup(self, worker: Worker) -> None:
        """Begin to load the network in the background: the worker has to answer meanwhile."""
        self._worker = worker
        self._one_batch = threading.Lock()
        self._stop = threading.Event()
        self._bench: Workbench | None = None
        self._problem: Exception | None = None
        self._loading = threading.Thread(target=self._load, name="stackctl-batch-load", daemon=True)
        self._loading.start()

    def teardown(self, worker: Worker) -> None:  # noqa: ARG002 - Dask's signature
        """End after the image in work: the run is over."""
        self._stop.set()

    def stop(self) -> None:
        """Begin no further image."""
        self._stop.set()

    def process(self, number: int, images: Sequence[ImageTask], key: str) -> None:
        """Work on a batch, in a thread of the worker; what comes of it goes over the wire.

        Raises:
            StackctlError: this worker cannot do this run's work.
        """
        self._loading.join()
        if self._problem is not None:
            raise self._problem
        assert self._bench is not None  # noqa: S101 - it is there, or the problem is

        def announce(finished: list[Outcome], begun: list[str]) -> None:
            message = json.dumps([number, self._worker.address, finished, begun]).encode()
            sync(self._worker.loop, self._worker.scheduler.log_event, topic=self.topic, msg=message)

        def stopping() -> bool:
            task = self._worker.state.tasks.get(key)
            return self._stop.is_set() or task is None or task.state == "cancelled"

        with self._one_batch:
            self._bench.process(images, announce, stopping)

    def _load(self) -> None:
        try:
            if (wanted := self.job.environment_hash) is not None:
                check_environment(wanted, self._worker.address)
            self._bench = Workbench.open(self._fitted(), worker=self._worker.address, final=False)
        except StackctlError as error:
            self._problem = error
        except Exception as error:  # noqa: BLE001 - said where a batch is begun
            self._problem = StackctlError(f"The network cannot be loaded on a worker: {error}")

    def _fitted(self) -> Job:
        """Return the job with this worker's own threads and memory."""
        limit = self._worker.memory_manager.memory_limit or 0
        threads = self.job.threads or int(os.environ.get(THREADS_VARIABLE) or 0) or None
        return replace(self.job, threads=threads, max_memory=int(limit * MEMORY_SHARE))


def check_environment(wanted: str, worker: str) -> None:
    """Raise ``MissingPrerequisite`` where this process runs with other packages than the coordinator."""
    from stackctl.distribution import environment_hash

    if (found := environment_hash()) != wanted:
        raise MissingPrerequisite(f"The worker {worker} has another environment ({found}) than this run ({wanted}).")


def work(run: str, number: int, images: Sequence[ImageTask]) -> None:
    """Work on a batch: what is submitted to Dask."""
    worker = get_worker()
    plugin: Any = worker.plugins.get(plugin_name(run))
    if plugin is None:
        raise UnknownRun(f"The worker {worker.address} does not know the run {run}.")
    plugin.process(number, images, worker.get_current_task())


def stop(dask_worker: Worker, run: str) -> None:
    """Begin no further image of a run: called on each worker."""
    plugin: Any = dask_worker.plugins.get(plugin_name(run))
    if plugin is not None:
        plugin.stop()


def problem(wanted: str | None, dask_worker: Worker) -> StackctlError | None:
    """Return why a worker cannot take part: called on each worker."""
    try:
        if wanted is not None:
            check_environment(wanted, dask_worker.address)
    except StackctlError as error:
        return error
    return None
