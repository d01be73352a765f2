"""Batches on Dask: worker processes of the run's own, or a scheduler that is there already. One code path for both."""

from __future__ import annotations

import contextlib
import ipaddress
import json
import queue
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from stackctl.batch.cluster import Announced, Died, Joined, Lost, Message, Returned
from stackctl.batch.task import Job, Outcome
from stackctl.errors import MissingPrerequisite, StackctlError, UsageError

if TYPE_CHECKING:
    from distributed import Client, Future, LocalCluster, Security

    from stackctl.batch.order import OrderedSecurity
    from stackctl.batch.plan import ImageTask
    from stackctl.batch.sizing import Sizes

CONNECT_SECONDS = 30.0
RECONNECT_SECONDS = 3.0
STARTS = 5
"""How often it is tried to start worker processes: one that is killed while it starts ends that try."""
DESERTED_SECONDS = 300.0
"""After so long without any worker process a run of its own gives up: they come back within seconds."""
COUNT_SECONDS = 2.0
SETTINGS: dict[str, Any] = {
    "distributed.scheduler.allowed-failures": 0,
    "distributed.deploy.lost-worker-timeout": "365 days",  # a slow machine starts one anew in more than the default
    "distributed.worker.profile.enabled": False,
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.pause": False,
    "distributed.worker.memory.terminate": 0.98,
    "distributed.nanny.pre-spawn-environ": {},  # MALLOC_TRIM_THRESHOLD_ alone costs a tenth of an image's CPU time
    "distributed.admin.tick.interval": "500ms",
    "distributed.diagnostics.nvml": False,
    "distributed.scheduler.active-memory-manager.start": False,
    "distributed.admin.low-level-log-length": 100,
}
"""A dead worker's batches come back at once, and nothing is measured that nobody looks at."""
NO_PAGES: dict[str, Any] = {"distributed.scheduler.http.routes": [], "distributed.worker.http.routes": []}
"""Dask listens for HTTP in any case; on loopback, and without the dashboard it has nothing to tell there."""


class DaskCluster:
    """A Dask scheduler and its workers, as one run uses them."""

    def __init__(self, job: Job, sizes: Sizes, *, dashboard: bool = False) -> None:
        """Connect to the order's scheduler, or start worker processes.

        Raises:
            UsageError: the scheduler's URL is not allowed.
            MissingPrerequisite: its workers have another environment.
            StackctlError: it does not answer.
        """
        import dask

        order = job.order
        self._job = job
        self._run = order.run
        self._url = order.scheduler
        self._messages: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self._futures: dict[int, Future[None]] = {}
        self._known: set[str] = set()
        self._comm: object = None
        self._counted = 0.0
        self._workers = 0
        self._peopled = time.monotonic()
        self._connections = 0
        self._own: LocalCluster | None = None
        self._lost = ""
        self._forgotten = False
        if self._url is None:
            dask.config.set({**SETTINGS, **({} if dashboard else NO_PAGES)})
            self._own = _own_processes(sizes, dashboard=dashboard)
            self._security: Security | None = None
        else:
            self._security = _security(order.security)
        self._client = self._connect(CONNECT_SECONDS)

    @property
    def workers(self) -> int:
        """Return how many workers there are now."""
        if time.monotonic() - self._counted > COUNT_SECONDS and not self._lost:
            with contextlib.suppress(Exception):
                self._count()
        return self._workers

    @property
    def connected(self) -> bool:
        """Return whether the scheduler is there."""
        return not self._lost

    def submit(self, number: int, images: Sequence[ImageTask]) -> None:
        """Have a worker work on a batch."""
        from stackctl.batch.worker_plugin import work

        key = f"{self._run}-{self._connections}-{number}"
        try:
            future = self._client.submit(work, self._run, number, tuple(images), key=key, pure=False)
        except Exception:  # noqa: BLE001 - a scheduler that is gone is noticed when messages are asked for
            self._messages.put(Returned(number))
            return
        self._futures[number] = future
        future.add_done_callback(lambda done: self._done(number, done))

    def forget(self, number: int) -> None:
        """Have no worker begin a batch any more."""
        future = self._futures.pop(number, None)
        if future is not None:
            with contextlib.suppress(Exception):
                future.cancel(force=True)

    def messages(self, timeout: float) -> list[Message]:
        """Return what was said since the last call; reconnects where the scheduler is gone.

        Raises:
            StackctlError: the run's own worker processes do not come back.
        """
        if self._own is not None:
            self._see_workers()
        if self._lost or self._forgotten or self._is_another_connection():
            return self._return_to_scheduler(timeout)
        found: list[Message] = []
        with contextlib.suppress(queue.Empty):
            found.append(self._messages.get(timeout=timeout))
            while True:
                found.append(self._messages.get_nowait())
        for message in found:
            if isinstance(message, Returned):
                self._futures.pop(message.number, None)
            elif isinstance(message, Died):
                self._counted = 0.0
        return found

    def _see_workers(self) -> None:
        if self.workers:
            self._peopled = time.monotonic()
        elif time.monotonic() - self._peopled > DESERTED_SECONDS:
            raise StackctlError(
                f"No worker process has come back for {DESERTED_SECONDS:g} s.", "See the run's log.txt."
            )

    def drain(self) -> None:
        """Have every worker finish its image and return the rest of its batch."""
        from stackctl.batch.worker_plugin import stop

        with contextlib.suppress(Exception):
            self._client.run(stop, self._run, wait=False, on_error="ignore")

    def close(self) -> None:
        """Take the run off the workers, and end them where they are its own."""
        from stackctl.batch.worker_plugin import plugin_name

        with contextlib.suppress(Exception):
            for future in self._futures.values():
                future.cancel(force=True)
            if self._own is None:
                self._client.unregister_worker_plugin(plugin_name(self._run))
        with contextlib.suppress(Exception):
            self._client.unsubscribe_topic("all")
            self._client.close(timeout=2)
        if self._own is not None:
            with contextlib.suppress(Exception):
                self._own.close(timeout=10)

    def _connect(self, seconds: float) -> Client:
        from distributed import Client

        target = self._own if self._own is not None else self._url
        try:
            client = Client(target, security=self._security, timeout=seconds, set_as_default=False)
        except (OSError, TimeoutError, ImportError, ValueError) as error:
            text = f"The scheduler {self._url or 'of this run'} does not answer: {error}"
            raise StackctlError(
                f"{text.rstrip('.')}.", "Is it running, and are its TLS files the right ones?"
            ) from error
        self._connections += 1
        self._prepare(client)
        self._comm = client.scheduler_comm
        return client

    def _is_another_connection(self) -> bool:
        """Return whether the connection is gone, or was made anew by Dask, which forgets what was listened to."""
        return self._client.status != "running" or self._client.scheduler_comm is not self._comm

    def _prepare(self, client: Client) -> None:
        from stackctl.batch.worker_plugin import BatchPlugin, problem

        topic = f"stackctl-batch-{self._run}-{self._connections}"
        client.subscribe_topic(topic, self._announced)
        client.subscribe_topic("all", self._heard)
        try:
            found = _though_workers_end(
                lambda: (
                    client.register_plugin(BatchPlugin(self._job, topic)),
                    client.run(problem, self._job.environment_hash),
                )[1]
            )
        except StackctlError:
            raise
        except Exception as error:
            raise MissingPrerequisite(
                f"The workers of {self._url or 'this run'} cannot load stackctl: {type(error).__name__}: {error}",
                "Give them the same environment: see `stackctl batch step prepare-environment`.",
            ) from error
        for trouble in found.values():
            if isinstance(trouble, StackctlError):
                raise trouble
        self._count(client)

    def _count(self, client: Client | None = None) -> None:
        there = set((client or self._client).nthreads())
        for worker in sorted(there - self._known):
            self._messages.put(Joined(worker))
        self._known = there
        self._workers = len(there)
        self._counted = time.monotonic()

    def _announced(self, event: tuple[float, bytes]) -> None:
        number, worker, finished, begun = json.loads(event[1])
        self._messages.put(Announced(number, worker, [Outcome(*row) for row in finished], begun))

    def _heard(self, event: tuple[float, Any]) -> None:
        said = event[1]
        if not isinstance(said, dict):
            return
        match said.get("action"):
            case "add-worker":
                self._counted = 0.0
            case "remove-worker" if "worker" in said:
                self._messages.put(Died(str(said["worker"]), expected=bool(said.get("expected"))))

    def _done(self, number: int, future: Future[None]) -> None:
        """Say that a batch came back; called in a thread of Dask's."""
        from distributed import KilledWorker

        from stackctl.batch.worker_plugin import UnknownRun

        problem: BaseException | None = None
        if future.status == "error":
            problem = future.exception()
            if isinstance(problem, KilledWorker):
                self._messages.put(Died(problem.last_worker.address))
                problem = None
            elif isinstance(problem, UnknownRun):  # the client found a scheduler again that was started anew
                self._forgotten = True
                return
        self._messages.put(Returned(number, problem if isinstance(problem, Exception) else None))

    def _return_to_scheduler(self, timeout: float) -> list[Message]:
        """Try once to connect anew; the first failure is told as ``Lost``."""
        said: list[Message] = []
        if not self._lost:
            self._lost = f"The scheduler {self._url or 'of this run'} is gone."
            self._futures.clear()
            self._messages = queue.SimpleQueue()
            self._workers = 0
            self._known = set()
            with contextlib.suppress(Exception):
                self._client.close(timeout=1)
            said.append(Lost(self._lost))
        try:
            self._client = self._connect(RECONNECT_SECONDS)
        except MissingPrerequisite:
            raise
        except Exception:  # noqa: BLE001 - tried again at the next call
            time.sleep(timeout)
            return said
        self._lost, self._forgotten = "", False
        return said


def _though_workers_end(call: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return what all workers answer; one that ends meanwhile is asked no more.

    Raises:
        StackctlError: workers end each time.
    """
    for _ in range(STARTS):
        try:
            return call()
        except OSError as error:
            last = error
    raise StackctlError(f"The workers end before they answer: {last}", "See the run's log.txt.") from last


def check_scheduler(url: str, security: OrderedSecurity | None) -> None:
    """Refuse a scheduler's URL over which anybody could run code or read along.

    Raises:
        UsageError: it is no ``tls://`` or ``tcp://`` URL, leaves this machine in plain text, or lacks keys.
    """
    parts = urlsplit(url)
    if parts.scheme == "tls":
        if security is None:
            raise UsageError(f"{url} needs keys.", "Name them: --tls-ca, --tls-cert, --tls-key.")
        return
    if parts.scheme != "tcp" or not parts.hostname:
        raise UsageError(f"`{url}` is no URL of a Dask scheduler.", "Write tls://HOST:PORT.")
    if not _is_loopback(parts.hostname):
        raise UsageError(
            f"{url} leaves this machine in plain text: whoever reaches that port can run code as you.",
            "Use tls://HOST:PORT with keys.",
        )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _security(files: OrderedSecurity | None) -> Security | None:
    from distributed import Security

    if files is None:
        return None
    return Security(require_encryption=True, tls_ca_file=files.ca, tls_client_cert=files.cert, tls_client_key=files.key)


def _own_processes(sizes: Sizes, *, dashboard: bool) -> LocalCluster:
    from distributed import LocalCluster, Security

    for left in reversed(range(STARTS)):
        try:
            return LocalCluster(
                n_workers=sizes.processes,
                threads_per_worker=1,
                processes=True,
                host="127.0.0.1",
                security=Security.temporary(),
                memory_limit=sizes.memory_per_worker,
                dashboard_address="127.0.0.1:0",
                scheduler_kwargs={"dashboard": dashboard},
                worker_dashboard_address=None,
                silence_logs=30,
            )
        except (RuntimeError, OSError, TimeoutError) as error:
            if not left:
                raise StackctlError(f"The worker processes do not start: {error}", "See the run's log.txt.") from error
    raise AssertionError
