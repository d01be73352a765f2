"""The versions this server has at hand: the one that serves, the one that may come next, and those on their way out."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from typing import Any

from stackctl.serving.events import event, now
from stackctl.serving.memory import in_mib, resident
from stackctl.serving.metrics import Metrics
from stackctl.serving.probation import Ban, Probation, Tally
from stackctl.serving.registry_view import Version
from stackctl.serving.slot import Slot, Workshop
from stackctl.serving.spec import IMAGE

HOPELESS_RETRY_FACTOR = 10
DROPPED_GRACE_SECONDS = 5.0


@dataclass(frozen=True)
class Wish:
    """What the registry asks for: the version in Production, the candidate, and the promotion that is under way.

    ``gone`` says that it has no such model.
    """

    production: str | None = None
    candidate: str | None = None
    attempt: str | None = None
    gone: bool = False

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
        stand_in: version to serve until the one in Production can be; none takes its place once a version serves.
        ban: the version that was taken back because it failed, or None.
        last_death: when and how a process of a version last died, and of which.
    """

    def __init__(self, workshop: Workshop, metrics: Metrics) -> None:
        self.serving: Slot | None = None
        self.since: str | None = None
        self.wish = Wish()
        self.stand_in: str | None = None
        self.ban: Ban | None = workshop.cache.ban(workshop.settings.model)
        self._probation: Probation | None = None
        self._served_last = workshop.cache.image_champion(workshop.settings.model)
        self._workshop = workshop
        self._metrics = metrics
        self._slots: dict[str, Slot] = {}
        self._leaving: dict[Slot, float] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._writing = asyncio.Lock()

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
        where = self._workshop.settings.target.stage
        if wanted is not None and self._banned(wanted):
            back = f"version {serving.version.version} serves again" if serving else "no other version is loaded"
            return (
                f"Version {wanted} is in {where} but was taken back: {self.ban.reason if self.ban else ''} So {back}."
            )
        slot = self._slots.get(wanted) if wanted else None
        if slot is not None and slot is not self.serving and slot.state == "refused":
            return f"Version {wanted} is in {where} but cannot be served: {slot.reason}"
        if serving is not None and wanted is None:
            name, still = self._workshop.settings.model, f"version {serving.version.version} still serves."
            if self.wish.gone:
                return f"MLflow has no model {name} any more (renamed or deleted?); {still}"
            return f"No version is in {where}; {still}"
        return None

    def missing(self, wish: Wish) -> list[str]:
        """Return the versions of ``wish`` that must be loaded, or loaded again."""
        return [number for number in wish.versions if self._worth_a_try(number, wish)]

    def stranded(self) -> bool:
        """Return whether nothing serves and the version in Production cannot be served either, for now or for good."""
        wanted = self.wish.production
        if self.serving is not None or wanted is None:
            return False
        slot = self._slots.get(wanted)
        return self._banned(wanted) or (slot is not None and slot.state == "refused")

    def answered(self, slot: Slot, *, failed: bool) -> None:
        """Count an answer of a version; one that just took over and fails more than the old one loses its place."""
        slot.tally.failures += failed
        self.judge()

    def before(self, slot: Slot) -> Slot | None:
        """Return the version that would take over again if ``slot`` fails too often; None: it is not on probation."""
        return self._probation.old if self._probation is not None and slot is self.serving else None

    def judge(self) -> None:
        """Go back to the version before if the new one failed too often within its grace time."""
        probation, slot = self._probation, self.serving
        if probation is None or slot is None:
            return
        if asyncio.get_running_loop().time() > probation.until:
            self._probation = None
        elif probation.old.ready and (reason := probation.verdict(slot)):
            self._fall_back(slot, probation.old, reason)

    def reconsider(self, version: Version) -> None:
        """Lift the ban of a version that the registry shows changed, or promoted anew."""
        if self.ban is not None and self.ban.version == version.version and not self.ban.covers(version):
            self._lift_ban()

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
        if self.ban is not None and wish.production not in (None, self.ban.version):
            self._lift_ban()
        self.judge()
        banned = wish.production is not None and self._banned(wish.production)
        wanted = self._slots.get(wish.production) if wish.production and not banned else None
        if self.serving is None and self.stand_in and not (wanted and wanted.ready):
            wanted = self._slots.get(self.stand_in)
        if wanted is not None and wanted is not self.serving and wanted.ready:
            if champion := self._image_champion(wanted):
                wanted.refuse(
                    f"It is no image model, and version {champion}, which it would replace, is one. "
                    "Register it under a name of its own."
                )
            else:
                self._flip(wanted)
        clock = asyncio.get_running_loop().time()
        for number, slot in list(self._slots.items()):
            awaited = number == wish.candidate or (number == wish.production and not banned)
            if slot is self.serving or awaited or (number == self.stand_in and self.serving is None):
                self._leaving.pop(slot, None)
            else:
                self._leaving.setdefault(slot, clock + DROPPED_GRACE_SECONDS)
        for slot in [slot for slot, leave_at in self._leaving.items() if leave_at <= clock]:
            self._let_go(slot)

    async def close(self) -> None:
        """End every process."""
        slots = {*self._slots.values(), *self._leaving, *([self.serving] if self.serving else [])}
        await asyncio.gather(*(slot.close() for slot in slots), *self._tasks)

    def relieve(self) -> None:
        """End a process if all of them together use too much memory: the biggest, but first those that do not serve."""
        slots = {slot for slot in (*self._slots.values(), *self._leaving, self.serving) if slot is not None}
        pids = {slot: slot.pid for slot in slots if slot.pid is not None}
        used = self._workshop.memory.exceeded(pids.values())
        if used is None or not pids:
            return
        victim = max(pids, key=lambda slot: (slot is not self.serving, resident(pids[slot])))
        limit, own = self._workshop.memory.limit or 0, resident(pids[victim])
        phrase = (
            f"it used {in_mib(own)} of memory, and all processes of this server {in_mib(used)}, "
            f"where {in_mib(limit)} are the limit"
        )
        victim.end_for_memory(phrase, expendable=victim is not self.serving)

    def _image_champion(self, slot: Slot) -> str | None:
        """Return the image model that a version must not replace because it is none itself, or None."""
        if slot.report is None or slot.report.contract == IMAGE:
            return None
        if self.serving is None:  # after a start; a model that was made anew begins with the same numbers
            return self._served_last if self._served_last != slot.version.version else None
        report = self.serving.report
        return self.serving.version.version if report and report.contract == IMAGE else None

    def _banned(self, number: str) -> bool:
        return self.ban is not None and self.ban.version == number

    def _worth_a_try(self, number: str, wish: Wish) -> bool:
        slot = self._slots.get(number)
        if self._banned(number) and number != wish.candidate:
            return False
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
        self._probation, self.stand_in = None, None
        if old is not None:
            until = asyncio.get_running_loop().time() + self._workshop.settings.grace
            self._leaving[old] = until
            self._probation = Probation(old, until, old.tally.rate)
            self._metrics.swaps.inc()
        slot.tally = Tally()
        event("flip", version=slot.version.version, was=old.version.version if old else None, digest=slot.digest)
        self._remember(slot)

    def _fall_back(self, slot: Slot, old: Slot, reason: str) -> None:
        """Serve the old version again; the failed one is banned until it changes or is promoted anew."""
        self.serving, self.since, self._probation = old, now(), None
        self._slots[old.version.version] = old
        self._leaving.pop(old, None)
        self.ban = Ban.of(slot.version, reason)
        self._metrics.fallbacks.inc()
        event("fallback", version=slot.version.version, back_to=old.version.version, reason=reason)
        slot.retire()
        self._leaving[slot] = 0.0
        self._remember(old)
        self._write(partial(self._workshop.cache.write_ban, slot.version.name, self.ban))
        self._workshop.changed()

    def _lift_ban(self) -> None:
        event("ban_lifted", version=self.ban.version if self.ban else None)
        self.ban = None
        self._write(partial(self._workshop.cache.write_ban, self._workshop.settings.model, None))

    def _remember(self, slot: Slot) -> None:
        contract = slot.report.contract if slot.report else None
        self._write(partial(self._workshop.cache.remember, slot.version, slot.digest, contract))

    def _let_go(self, slot: Slot) -> None:
        del self._leaving[slot]
        if self._slots.get(slot.version.version) is slot:
            del self._slots[slot.version.version]
        event("let_go", version=slot.version.version)
        self._run(slot.close(self._workshop.settings.timeout))

    def _write(self, record: Callable[[], None]) -> None:
        """Write a record in a thread, after those before it: the last one counts."""

        async def written() -> None:
            async with self._writing:
                await asyncio.to_thread(record)

        self._run(written())

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
