"""A version this server has loaded or tries to load, kept alive until it is closed."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from stackctl.serving.cache import VersionCache
from stackctl.serving.child_process import Child
from stackctl.serving.errors import ChildGone, Refused
from stackctl.serving.events import event, now
from stackctl.serving.memory import Memory
from stackctl.serving.probation import Tally
from stackctl.serving.registry_view import Version
from stackctl.serving.settings import ServingSettings
from stackctl.serving.spec import ChildSpec, Report

SlotState = Literal["loading", "prepared", "refused"]
FIRST_PAUSE_SECONDS = 0.2
LONGEST_PAUSE_SECONDS = 30.0
STEADY_SECONDS = 60.0
DRAIN_STEP_SECONDS = 0.02


@dataclass(frozen=True)
class Workshop:
    """What every slot needs: settings, cached versions, the folder of sockets, whom to tell of changes and deaths."""

    settings: ServingSettings
    cache: VersionCache
    runtime: Path
    changed: Callable[[], None]
    died: Callable[[dict[str, str]], None]

    @property
    def memory(self) -> Memory:
        """What the server's processes may use."""
        return self.settings.memory


class Slot:
    """One version: it is prepared once; afterwards its process is replaced whenever it dies.

    Attributes:
        version: what the registry says of it.
        attempt: the promotion this attempt belongs to; another one allows another try.
        state: ``loading``, ``prepared`` or ``refused``.
        reason: why it is refused.
        transient: whether a later try may succeed.
        report: what the process said when it was prepared.
        digest: digest of its files, as far as it is known.
        restarts: how often its process was replaced.
        last_death: when its process last died, how, and the kind of cause (``memory``, ``timeout``, ``other``).
        tally: what became of its requests since it last took over.
    """

    def __init__(
        self, version: Version, workshop: Workshop, *, attempt: str | None = None, digest: str | None = None
    ) -> None:
        self.version = version
        self.attempt = attempt
        self.state: SlotState = "loading"
        self.reason: str | None = None
        self.transient = False
        self.report: Report | None = None
        self.digest = digest
        self.restarts = 0
        self.last_death: dict[str, str] | None = None
        self.tally = Tally()
        self.ended_at: float | None = None
        self._workshop = workshop
        self._child: Child | None = None
        self._ready = asyncio.Event()
        self._closing = False
        self._retired = False
        self._expendable = False
        self._number = 0
        self._life = asyncio.create_task(self._live(), name=f"version {version.version}")

    @property
    def ready(self) -> bool:
        """Whether a process of it answers now."""
        alive = self._child is not None and self._child.alive
        return alive and self.state == "prepared" and not self._retired and self._ready.is_set()

    @property
    def in_flight(self) -> int:
        """Requests its process works on."""
        return self._child.in_flight if self._child else 0

    @property
    def pid(self) -> int | None:
        """Id of its process."""
        return self._child.pid if self._child and self._child.alive else None

    async def child(self) -> Child:
        """Return its process, waiting while it is being replaced.

        Raises:
            ChildGone: it is refused, retired or closed.
        """
        while not self.ready:
            if self._closing or self._retired or self.state == "refused" or self._life.done():
                raise ChildGone(f"version {self.version.version} is not loaded any more")
            self._ready.clear()
            await self._ready.wait()
        if self._child is None:
            raise ChildGone(f"version {self.version.version} is not loaded any more")
        return self._child

    def retire(self) -> None:
        """Send those who wait for its process elsewhere: it lost its place."""
        self._retired = True
        self._ready.set()

    def refuse(self, reason: str) -> None:
        """Refuse it although it was prepared, and end its process."""
        self._life.cancel()
        if self._child is not None:
            self._child.kill("other", reason)
        self._refused(Refused(reason, digest=self.digest))

    def end_for_memory(self, phrase: str, *, expendable: bool) -> None:
        """Kill its process because memory runs out; one that is ``expendable`` is refused, another one replaced."""
        if self._child is not None and self._child.alive:
            self._expendable = expendable
            self._child.kill("memory", phrase)

    async def close(self, drain: float = 0.0) -> None:
        """Let requests in flight finish for at most ``drain`` seconds, then end its process."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + drain
        while self.in_flight and loop.time() < deadline:  # noqa: ASYNC110 - the count falls in another task
            await asyncio.sleep(DRAIN_STEP_SECONDS)
        self._closing = True
        self._ready.set()
        self._life.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._life
        if self._child is not None:
            await self._child.stop()

    async def _live(self) -> None:
        loop = asyncio.get_running_loop()
        pause = FIRST_PAUSE_SECONDS
        while not self._closing:
            started = loop.time()
            try:
                self._child = child = self._started()
            except OSError as error:  # no space, no file handles, no folder: that may pass
                event("start_failed", version=self.version.version, reason=str(error))
                if self.report is None:
                    self._refused(Refused(f"Its process could not be started: {error}", transient=True))
                    return
                pause = min(pause * 2, LONGEST_PAUSE_SECONDS)
                await asyncio.sleep(pause)
                continue
            try:
                self._prepared(await child.prepared(self._workshop.settings.load_timeout))
            except Refused as error:
                if self.report is None:
                    await child.stop()
                    self._note_death(child)
                    self._refused(error)
                    return
                event("restart_failed", version=self.version.version, reason=error.reason)
            await child.exited.wait()
            self._ready.clear()
            self.restarts += 1
            self.tally.failures += child.cause != "timeout"  # the request may be to blame for that: the front finds out
            self._note_death(child)
            if self._expendable:
                self._refused(Refused(f"Its process {child.how_it_ended}", digest=self.digest, transient=True))
                return
            self._workshop.changed()
            pause = (
                FIRST_PAUSE_SECONDS if loop.time() - started > STEADY_SECONDS else min(pause * 2, LONGEST_PAUSE_SECONDS)
            )
            await asyncio.sleep(pause)

    def _note_death(self, child: Child) -> None:
        if child.alive or child.reported_refusal:
            return
        how = child.how_it_ended
        self.last_death = {"at": now(), "version": self.version.version, "how": how, "cause": child.cause}
        event("child_died", version=self.version.version, pid=child.pid, cause=child.cause, how=how)
        self._workshop.died(self.last_death)

    def _started(self) -> Child:
        settings = self._workshop.settings
        self._number += 1
        spec = ChildSpec(
            name=self.version.name,
            version=self.version.version,
            run_id=self.version.run_id,
            digest=self.version.digest or self.digest,
            contract=self.version.contract,
            folder=str(self._workshop.cache.folder_of(self.version)),
            network_cache=str(self._workshop.cache.openvino),
            socket=str(self._workshop.runtime / f"{self.version.version}-{id(self) & 0xFFFFFF:x}-{self._number}.sock"),
            parent=os.getpid(),
            concurrency=settings.concurrency,
            max_bytes=settings.max_bytes,
            timeout=settings.timeout,
            max_memory=settings.memory.request_limit(settings.concurrency),
        )
        child = Child(spec, self._workshop.runtime, self._workshop.memory)
        event("child_started", version=self.version.version, pid=child.pid)
        return child

    def _prepared(self, report: Report) -> None:
        self.report, self.digest, self.state = report, report.digest, "prepared"
        self._ready.set()
        event("prepared", version=self.version.version, digest=report.digest, contract=report.contract)
        self._workshop.changed()

    def _refused(self, error: Refused) -> None:
        self.state, self.reason, self.digest, self.transient = "refused", error.reason, error.digest, error.transient
        self.ended_at = asyncio.get_running_loop().time()
        self._ready.set()
        event("refused", version=self.version.version, reason=error.reason)
        self._workshop.changed()
