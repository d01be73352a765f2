"""The model servers that follow one target: have them prepare a version, and wait until they serve it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence

from stackctl.errors import Unhealthy
from stackctl.models.clock import Clock
from stackctl.models.promotion import Deadlines, PromotionRefused
from stackctl.models.servers import Candidate, ModelServer, ServerView
from stackctl.models.targets import PRODUCTION, Target

Progress = Callable[[str, str], None]
"""Called with (subject, what happens)."""


class Fleet:
    """Every model server that follows a target.

    Args:
        servers: the servers; without any there is nobody to ask.
        target: what they follow.
        progress: told what they do.
        deadlines: how long to wait.
        clock: time.
    """

    def __init__(
        self, servers: Sequence[ModelServer], target: Target, progress: Progress, deadlines: Deadlines, clock: Clock
    ) -> None:
        self._servers = tuple(servers)
        self._target = target
        self._progress = progress
        self._deadlines = deadlines
        self._clock = clock
        self._logs = "stackctl logs serving" if target is PRODUCTION else f"stackctl logs serving-{target.name}"

    def settle(self, model: str, number: str) -> None:
        """Make sure that every server is there and follows the model, and shows nothing of an earlier try.

        Raises:
            PromotionRefused: a server follows another model.
            Unhealthy: a server cannot be reached.
        """
        deadline = self._clock.monotonic() + self._deadlines.forget
        for server in self._servers:
            while True:
                view = self._reach(server)
                if view.name != model:
                    raise PromotionRefused(
                        f"The model server at {server.url} serves {view.name}, not {model}.",
                        "server",
                        f"Set `model: {model}` in stack.yaml and run `stackctl up`.",
                    )
                stale = view.candidate is not None and view.candidate.version == number
                if not stale or self._clock.monotonic() > deadline:
                    break
                self._clock.sleep(self._deadlines.poll)

    def taken_back(self, model: str, number: str) -> str | None:
        """Return why a server took the version back after it had served it, or None; one that is away says nothing."""
        for server in self._servers:
            with contextlib.suppress(Unhealthy):
                view = server.view()
                if view.name == model and view.taken_back is not None and view.taken_back[0] == number:
                    return view.taken_back[1]
        return None

    def await_prepared(self, model: str, number: str) -> Mapping[str, str | None]:
        """Wait until every server prepared the version; return the digest each computed, by the server's URL.

        Raises:
            PromotionRefused: a server refused it.
            Unhealthy: a server cannot be reached, or is not ready in time.
        """
        if not self._servers:
            self._progress("prepare", f"version {number}: no model server follows {self._target.name}, none loads it")
        deadline = self._clock.monotonic() + self._deadlines.prepare
        while True:
            views = [self._reach(server) for server in self._servers]
            for view in views:
                self._check_refusal(view, model, number)
                self._progress("prepare", f"version {number}: {_preparing(view, number)}")
            if all(_is_prepared(view, number) for view in views):
                return {view.url: _digest_of(view, number) for view in views}
            if self._clock.monotonic() > deadline:
                late = ", ".join(view.url for view in views if not _is_prepared(view, number))
                raise Unhealthy(
                    f"{late} did not prepare {model} version {number} within {self._deadlines.prepare:.0f} s. "
                    f"{self._target.stage} was not touched.",
                    f"See `{self._logs}`.",
                )
            self._clock.sleep(self._deadlines.poll)

    def await_live(self, model: str, number: str, began: float) -> float | None:
        """Wait until every server serves the version; return the seconds since ``began`` (None without any server).

        Raises:
            Unhealthy: a server cannot be reached, or serves something else for too long.
        """
        while self._servers:
            views = [self._reach(server) for server in self._servers]
            behind = [view for view in views if view.version != number]
            seconds = self._clock.monotonic() - began
            if not behind:
                self._progress("serving", f"version {number}")
                return seconds
            if seconds > self._deadlines.live:
                told = " ".join(
                    f"{view.url} serves {view.version or 'nothing'}: {view.error or 'no error'}" for view in behind
                )
                raise Unhealthy(
                    f"{model} version {number} is in {self._target.stage}, but not served after "
                    f"{self._deadlines.live:.0f} s. {told}",
                    f"See `stackctl status` and `{self._logs}`.",
                )
            self._progress("serving", f"waiting for version {number} (version {behind[0].version or 'none'} answers)")
            self._clock.sleep(self._deadlines.poll_live)
        return None

    def _check_refusal(self, view: ServerView, model: str, number: str) -> None:
        candidate = _candidate(view, number)
        if candidate is not None and candidate.state == "refused":
            raise PromotionRefused(
                f"The model server at {view.url} refused {model} version {number}: "
                f"{candidate.reason or 'it gave no reason'}",
                "server",
                f"{self._target.stage} was not touched. More is in `{self._logs}`.",
            )

    def _reach(self, server: ModelServer) -> ServerView:
        """Ask a server; one that does not answer gets a moment to come back."""
        began = self._clock.monotonic()
        while True:
            try:
                return server.view()
            except Unhealthy:
                if self._clock.monotonic() - began > self._deadlines.reach:
                    raise
                self._clock.sleep(self._deadlines.poll)


def _candidate(view: ServerView, number: str) -> Candidate | None:
    return view.candidate if view.candidate is not None and view.candidate.version == number else None


def _is_prepared(view: ServerView, number: str) -> bool:
    candidate = _candidate(view, number)
    return view.version == number or (candidate is not None and candidate.state == "prepared")


def _digest_of(view: ServerView, number: str) -> str | None:
    candidate = _candidate(view, number)
    return candidate.digest if candidate is not None and candidate.state == "prepared" else view.digest


def _preparing(view: ServerView, number: str) -> str:
    candidate = _candidate(view, number)
    if view.version == number:
        return f"served by {view.url} already"
    return f"{candidate.state if candidate else 'announced'} ({view.url})"
