"""The versions this server has at hand: the one that serves, the one that may come next, and those on their way out."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

from stackctl.serving.events import event, now
from stackctl.serving.metrics import Metrics
from stackctl.serving.registry_view import Version
from stackctl.serving.slot import Slot, Workshop

HOPELESS_RETRY_FACTOR = 10
DROPPED_GRACE_SECONDS = 5.0


@dataclass(frozen=True)
class Wish:
    """What the registry asks for: the version in Production, the candidate, and the promotion that is under way."""

    production: str | None = None
    candidate: str | None = None
    attempt: str | None = None

    @property
    def versions(self) -> tuple[str, ...]:
        """The versions that must be at hand, Production first."""
        return tuple(dict.fromkeys(number for number in (self.production, self.candidate) if number))


class Lineup:
    """Loads, flips and lets go of versions; everything happens on the event loop, so a flip is one assignment.

    Attributes:
        serving: the version that answers requests, or None.
        since: when it began to (ISO 8601).
        wish: what the registry asked for last.
    """

    def __init__(self, workshop: Workshop, metrics: Metrics) -> None:
        self.serving: Slot | None = None
        self.since: str | None = None
        self.wish = Wish()
        self._workshop = workshop
        self._metrics = metrics
        self._slots: dict[str, Slot] = {}
        self._leaving: dict[Slot, float] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def upcoming(self) -> Slot | None:
        """The version being prepared or refused: the candidate, or a Production version that does not serve yet."""
        for number in (self.wish.candidate, self.wish.production):
            slot = self._slots.get(number) if number else None
            if slot is not None and (slot is not self.serving or number == self.wish.candidate):
                return slot
        return None

    @property
    def error(self) -> str | None:
        """What is wrong with what serves, as a sentence, or None."""
        serving, wanted = self.serving, self.wish.production
        if serving is not None and not serving.ready:
            how = f": it {serving.last_death['how']}" if serving.last_death else ""
            return f"The process of version {serving.version.version} is being replaced{how}"
        slot = self._slots.get(wanted) if wanted else None
        if slot is not None and slot is not self.serving and slot.state == "refused":
            return f"Version {wanted} is in Production but cannot be served: {slot.reason}"
        if serving is not None and wanted is None:
            return f"No version is in Production; version {serving.version.version} still serves."
        return None

    def missing(self, wish: Wish) -> list[str]:
        """Return the versions of ``wish`` that must be loaded, or loaded again."""
        return [number for number in wish.versions if self._worth_a_try(number, wish)]

    def load(self, version: Version, *, attempt: str | None = None, digest: str | None = None) -> None:
        """Begin to prepare a version; an earlier attempt at it is let go."""
        earlier = self._slots.pop(version.version, None)
        if earlier is not None and earlier is not self.serving:
            self._leaving[earlier] = 0.0
        self._slots[version.version] = Slot(version, self._workshop, attempt=attempt, digest=digest)

    def refresh(self, version: Version) -> None:
        """Take what the registry says now of a version at hand; another run under the same number is loaded."""
        slot = self._slots.get(version.version)
        if slot is None:
            return
        if slot.version.run_id != version.run_id:
            event("replaced_in_registry", version=version.version, run=version.run_id, old_run=slot.version.run_id)
            self.load(version)
        elif slot.version != version:
            slot.version = version
            if slot is self.serving:
                self._remember(slot)

    def arrange(self, wish: Wish) -> None:
        """Flip to Production if it is prepared, and let go of what nobody asks for."""
        self.wish = wish
        wanted = self._slots.get(wish.production) if wish.production else None
        if wanted is not None and wanted is not self.serving and wanted.ready:
            self._flip(wanted)
        clock = asyncio.get_running_loop().time()
        for number, slot in list(self._slots.items()):
            if slot is self.serving or number in wish.versions:
                self._leaving.pop(slot, None)
            else:
                self._leaving.setdefault(slot, clock + DROPPED_GRACE_SECONDS)
        for slot in [slot for slot, leave_at in self._leaving.items() if leave_at <= clock]:
            self._let_go(slot)

    async def close(self) -> None:
        """End every process."""
        slots = {*self._slots.values(), *self._leaving, *([self.serving] if self.serving else [])}
        await asyncio.gather(*(slot.close() for slot in slots), *self._tasks)

    def _worth_a_try(self, number: str, wish: Wish) -> bool:
        slot = self._slots.get(number)
        if slot is None:
            return True
        if slot.state != "refused":
            return False
        if wish.attempt is not None and wish.attempt != slot.attempt:
            return True
        if number != wish.production and not slot.transient:
            return False
        pause = self._workshop.settings.retry * (1 if slot.transient else HOPELESS_RETRY_FACTOR)
        return slot.ended_at is not None and asyncio.get_running_loop().time() - slot.ended_at > pause

    def _flip(self, slot: Slot) -> None:
        old, self.serving = self.serving, slot
        self.since = now()
        if old is not None:
            self._leaving[old] = asyncio.get_running_loop().time() + self._workshop.settings.grace
            self._metrics.swaps.inc()
        event("flip", version=slot.version.version, was=old.version.version if old else None, digest=slot.digest)
        self._remember(slot)

    def _remember(self, slot: Slot) -> None:
        self._run(asyncio.to_thread(self._workshop.cache.remember, slot.version, slot.digest))

    def _let_go(self, slot: Slot) -> None:
        del self._leaving[slot]
        if self._slots.get(slot.version.version) is slot:
            del self._slots[slot.version.version]
        event("let_go", version=slot.version.version)
        self._run(slot.close(self._workshop.settings.timeout))

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
