"""Follows the registry: asks it what is Production and candidate, and has the line-up follow."""

from __future__ import annotations

import asyncio
import contextlib

from stackctl.errors import StackctlError, Unhealthy
from stackctl.serving.cache import VersionCache
from stackctl.serving.events import event, now
from stackctl.serving.lineup import Lineup, Wish
from stackctl.serving.registry_view import READY, Facts, RegistryView, Version, production_of
from stackctl.serving.settings import ServingSettings

REFRESH_SECONDS = 30.0
FAST_SECONDS = 600.0


class Follower:
    """Polls the registry; polling is the truth, ``wake`` only shortens the pause.

    Attributes:
        stale_since: since when the registry has not answered (ISO 8601), or None.
        stale_reason: what it did instead, or None.
        seen: whether the registry has answered since this process started.
        problem: why what the registry asks for cannot be had, or None.
    """

    def __init__(self, view: RegistryView, lineup: Lineup, settings: ServingSettings, cache: VersionCache) -> None:
        self.stale_since: str | None = None
        self.stale_reason: str | None = None
        self.seen = False
        self.problem: str | None = None
        self._view = view
        self._lineup = lineup
        self._settings = settings
        self._cache = cache
        self._wake = asyncio.Event()
        self._facts = Facts()
        self._facts_at = 0.0
        self._agreed: str | None = None
        self._aligned: Facts | None = None
        self._reported = lineup.ban
        self._by = f"model server of {settings.stack.name}"
        self._refreshed_at = 0.0

    def wake(self) -> None:
        """Look again now."""
        self._wake.set()

    async def run(self) -> None:
        """Follow until cancelled; nothing that goes wrong ends it."""
        while True:
            self._wake.clear()
            try:
                await self._step()
            except Exception as error:  # noqa: BLE001 - the next look may find things in order
                self.problem = f"{error.__class__.__name__}: {error}"
                event("follow_failed", reason=self.problem)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), self._pause())

    async def _step(self) -> None:
        wish = await self._look()
        problems = [await self._load(number, wish) for number in self._lineup.missing(wish)]
        self.problem = next((problem for problem in problems if problem), None)
        self._lineup.arrange(wish)
        if self._lineup.stranded():
            self._serve_last_known_good()
        await self._refresh()
        if self.stale_since is None:
            await self._write_back(wish)

    async def _write_back(self, wish: Wish) -> None:
        """Tell the registry what it cannot know: a version taken back, a promotion that somebody made elsewhere."""
        ban, serving = self._lineup.ban, self._lineup.serving
        with contextlib.suppress(Unhealthy):  # the next look tries again
            if ban is not None and ban is not self._reported and serving is not None:
                await asyncio.to_thread(
                    self._view.report_failure, ban.version, serving.version.version, ban.reason, self._by
                )
            self._reported = ban
            serves = serving is not None and serving.ready and serving.version.version == wish.production
            facts = self._facts
            if serves and not facts.settled and facts.journal is None and facts != self._aligned:
                before = None if facts.alias == facts.stage else self._agreed  # else the history knows it
                told = await asyncio.to_thread(self._view.align, before, self._by)
                self._aligned = facts if told is None else None  # what was changed once can be changed again
                if told is not None:
                    self._agreed = wish.production
                    event("aligned", version=wish.production, what=told)
                    self.wake()

    async def _look(self) -> Wish:
        try:
            facts = await asyncio.to_thread(self._view.facts)
        except StackctlError as error:
            self._lost(error)
            return self._lineup.wish
        if self.stale_since is not None:
            event("registry_found", stale_since=self.stale_since)
        self.stale_since, self.stale_reason, self.seen = None, None, True
        if facts != self._facts:
            event(
                "registry",
                alias=facts.alias,
                stage=facts.stage,
                candidate=facts.candidate,
                promoting=facts.journal is not None,
            )
            self._facts, self._facts_at, self._refreshed_at, self._aligned = facts, _clock(), 0.0, None
        if facts.alias == facts.stage and facts.journal is None:
            self._agreed = facts.alias
        return Wish(production_of(facts, self._agreed), facts.candidate, facts.journal, gone=facts.gone)

    def _lost(self, error: StackctlError) -> None:
        self.stale_reason = error.message
        if self.stale_since is not None:
            return
        self.stale_since = now()
        event("registry_lost", reason=error.message)
        if not self.seen:
            self._serve_last_known_good()

    def _serve_last_known_good(self) -> None:
        """Load what served last, from this machine's own files, until the version in Production can be served."""
        found = self._cache.last_known_good(self._settings.model)
        if found is None or self._lineup.stand_in is not None or found[0].version == self._lineup.wish.production:
            return
        version, digest = found
        event("last_known_good", version=version.version, digest=digest)
        self._lineup.load(version, digest=digest)
        self._lineup.stand_in = version.version
        if not self.seen:
            self._lineup.wish = Wish(production=version.version)

    async def _load(self, number: str, wish: Wish) -> str | None:
        """Begin to prepare a version; return why it cannot even be tried, or None."""
        if self.stale_since is not None:
            return None
        try:
            version = await asyncio.to_thread(self._view.version, number)
        except StackctlError as error:
            return error.message
        if version.status != READY:
            return f"Version {number} of {version.name} is {version.status} in the registry, not {READY}."
        self._lineup.load(version, attempt=wish.attempt)
        return None

    async def _refresh(self) -> None:
        """Read the serving version again when the registry changed, and now and then: its tags may be new."""
        serving = self._lineup.serving
        if serving is None or self.stale_since is not None or _clock() - self._refreshed_at < REFRESH_SECONDS:
            return
        self._refreshed_at, self._aligned = _clock(), None  # a promotion that nobody saw may have stopped the aligning
        with contextlib.suppress(StackctlError):
            fresh: Version = await asyncio.to_thread(self._view.version, serving.version.version)
            self._lineup.refresh(fresh)
        if self._lineup.ban is not None:
            with contextlib.suppress(StackctlError):
                self._lineup.reconsider(await asyncio.to_thread(self._view.version, self._lineup.ban.version))

    def _pause(self) -> float:
        upcoming = self._lineup.upcoming
        waiting = upcoming is not None and upcoming.state == "prepared" and upcoming is not self._lineup.serving
        promoting = self._facts.journal is not None
        fast = (waiting or promoting) and self.stale_since is None and _clock() - self._facts_at < FAST_SECONDS
        return self._settings.poll_prepared if fast else self._settings.poll


def _clock() -> float:
    return asyncio.get_running_loop().time()
