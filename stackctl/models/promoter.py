"""The promotion protocol: prepare, then commit; whoever finds it interrupted finishes or undoes it.

Prepare: the journal is opened, the version gets the alias ``candidate``, every model server loads it beside the
version it serves, checks its digest, replays its golden inputs and says ``prepared`` or ``refused``. Production is not
touched. Commit: the journal says ``committing`` (from here on the promotion is decided), the version gets stage and
alias, servers flip, the journal is closed. Stage and alias are two calls in MLflow and there is no compare-and-swap:
the journal is what makes them one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Literal

from stackctl.errors import StackctlError, Unhealthy
from stackctl.models import tags
from stackctl.models.clock import Clock, SystemClock
from stackctl.models.journal import Journal, check_own, close_journal, read_journal, write_journal
from stackctl.models.promotion import Deadlines, Promotion, PromotionRefused, Recovery
from stackctl.models.registry import Registry, UnknownVersion
from stackctl.models.servers import Candidate, ModelServer, ServerView
from stackctl.models.versions import ModelVersion, iso

Progress = Callable[[str, str], None]
"""Called with (subject, what happens)."""


_FINISHED_LATER = "the next `stackctl promote` or `stackctl status` finishes it"


class Promoter:
    """Runs the protocol against one registry and the model servers that follow it.

    Args:
        registry: where versions, stages and aliases are.
        servers: every server that must serve what is in Production.
        owner: who promotes: user, machine and stack folder. Of one owner only one promotion runs at a time; the caller
            sees to that.
        progress: told what happens.
        deadlines: how long to wait.
        clock: time (tests put their own here).
    """

    def __init__(
        self,
        registry: Registry,
        servers: Sequence[ModelServer],
        *,
        owner: str,
        progress: Progress,
        deadlines: Deadlines | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._registry = registry
        self._servers = tuple(servers)
        self._owner = owner
        self._progress = progress
        self._deadlines = deadlines or Deadlines()
        self._clock = clock or SystemClock()

    def promote(self, version: ModelVersion, *, wait: bool = True) -> Promotion:
        """Bring a version into Production.

        Args:
            version: the version, as the registry has it.
            wait: return only once every server serves it. Nothing skips the preparation.

        Raises:
            PromotionRefused: a gate or a server refused it; Production was not touched.
            Unhealthy: a server could not be reached or did not answer in time; the message says whether Production was
                touched.
            StackctlError: somebody else promotes this model right now.
            KeyboardInterrupt: passed on; before the commit everything is undone first.
        """
        began = self._clock.monotonic()
        model = version.name
        production = self._registry.production_of(model)
        if production.agrees and production.version == version.version:
            live = self._await_live(model, version.version) if wait else None
            return Promotion(model, version.version, version.version, version.digest, False, self._since(began), live)
        journal = Journal.begin(production.version, version.version, by=self._owner, now=self._clock.now())
        try:
            digest = self._prepare(version, journal)
            journal = self._decide(model, journal)
        except (Exception, KeyboardInterrupt):
            self._undo_quietly(model, journal)
            raise
        live = self._commit(model, journal, wait=wait)
        return Promotion(model, journal.previous, version.version, digest, True, self._since(began), live)

    def recover(self, model: str) -> Recovery | None:
        """Finish or undo a promotion that was interrupted; None where there is none.

        A journal of the same owner is taken for interrupted (the caller holds the owner's lock); somebody else's only
        once it is older than the lease.
        """
        journal = read_journal(self._registry, model)
        if journal is None:
            return None
        if journal.by != self._owner and journal.age(self._clock.now()) < timedelta(seconds=self._deadlines.lease):
            return _recovery(model, journal, "running")
        if journal.phase == "preparing":
            self._undo(model, journal)
            return _recovery(model, journal, "undone")
        if self._changed_elsewhere(model, journal):
            self._undo(model, journal)
            return _recovery(model, journal, "abandoned")
        self._apply(model, journal)
        self._close(model, journal)
        return _recovery(model, journal, "finished")

    def _prepare(self, version: ModelVersion, journal: Journal) -> str:
        """Have every server prepare the version; return the digest they agree on."""
        model, number = version.name, version.version
        write_journal(self._registry, model, journal)
        if version.status != "READY":
            raise PromotionRefused(
                f"{model} version {number} is not ready: its status in the registry is {version.status}.",
                "status",
                "Wait until it is registered completely, or register it again.",
            )
        self._settle(model, number)
        self._registry.set_alias(model, tags.CANDIDATE_ALIAS, number)
        digests = {view.url: _digest_of(view, number) for view in self._await_prepared(model, number)}
        return self._check_digest(version, digests)

    def _settle(self, model: str, number: str) -> None:
        """Make sure that every server is there and follows the model, and shows nothing of an earlier try."""
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

    def _await_prepared(self, model: str, number: str) -> list[ServerView]:
        deadline = self._clock.monotonic() + self._deadlines.prepare
        while True:
            views = [self._reach(server) for server in self._servers]
            for view in views:
                candidate = _candidate(view, number)
                if candidate is not None and candidate.state == "refused":
                    raise PromotionRefused(
                        f"The model server at {view.url} refused {model} version {number}: "
                        f"{candidate.reason or 'it gave no reason'}",
                        "server",
                        "Production was not touched. More is in `stackctl logs serving`.",
                    )
                self._progress("prepare", f"version {number}: {_preparing(view, number)}")
            if all(_is_prepared(view, number) for view in views):
                return views
            if self._clock.monotonic() > deadline:
                late = ", ".join(view.url for view in views if not _is_prepared(view, number))
                raise Unhealthy(
                    f"{late} did not prepare {model} version {number} within {self._deadlines.prepare:.0f} s. "
                    "Production was not touched.",
                    "See `stackctl logs serving`.",
                )
            self._clock.sleep(self._deadlines.poll)

    def _check_digest(self, version: ModelVersion, digests: dict[str, str | None]) -> str:
        """Compare the recorded digest with what the servers computed; record it where none was."""
        recorded = self._registry.version(version.name, version.version).digest
        if not digests:
            return recorded or ""
        for url, digest in digests.items():
            expected = recorded or next(iter(digests.values()))
            if digest is None or digest != expected:
                raise PromotionRefused(
                    f"{version.name} version {version.version} is not what was logged: its digest is {expected}, "
                    f"the model server at {url} has {digest or 'none'}.",
                    "digest",
                    "Production was not touched. Its files were changed since: register the version again.",
                )
        digest = str(next(iter(digests.values())))
        if recorded is None:
            self._registry.set_version_tag(version.name, version.version, tags.DIGEST, digest)
        return digest

    def _decide(self, model: str, journal: Journal) -> Journal:
        """Write that the promotion is decided: from here on it is finished, by whomever."""
        check_own(self._registry, model, journal)
        decided = replace(journal, phase="committing", committed_at=iso(self._clock.now()))
        self._progress("commit", f"version {journal.version} goes to {tags.PRODUCTION_STAGE}")
        self._registry.set_model_tag(model, tags.PROMOTION, decided.to_json())
        return decided

    def _commit(self, model: str, journal: Journal, *, wait: bool) -> float | None:
        """Carry out what was decided; return how long it took until every server served it."""
        number = journal.version
        try:
            self._apply(model, journal)
        except KeyboardInterrupt:
            self._progress("commit", f"interrupted after the decision for version {number}: {_FINISHED_LATER}")
            raise
        except StackctlError as error:
            raise Unhealthy(
                f"{model} version {number} was decided for Production, but the registry could not be changed "
                f"completely: {error.message}",
                f"Nothing is lost: {_FINISHED_LATER}.",
            ) from error
        try:
            live = self._await_live(model, number) if wait else None
        except KeyboardInterrupt:
            self._progress("commit", f"interrupted: version {number} is in Production, servers may still be loading it")
            self._close(model, journal)
            raise
        except StackctlError:
            self._close(model, journal)
            raise
        self._close(model, journal)
        return live

    def _apply(self, model: str, journal: Journal) -> None:
        moment = journal.committed_at or iso(self._clock.now())
        self._registry.set_version_tag(model, journal.version, tags.PROMOTED_AT, moment)
        self._registry.transition_stage(model, journal.version, tags.PRODUCTION_STAGE, archive_existing=True)
        self._registry.set_alias(model, tags.PRODUCTION_ALIAS, journal.version)

    def _await_live(self, model: str, number: str) -> float:
        """Wait until every server serves the version; return how long that took."""
        began = self._clock.monotonic()
        while True:
            views = [self._reach(server) for server in self._servers]
            behind = [view for view in views if view.version != number]
            if not behind:
                self._progress("serving", f"version {number}")
                return self._since(began)
            if self._since(began) > self._deadlines.live:
                told = " ".join(
                    f"{view.url} serves {view.version or 'nothing'}: {view.error or 'no error'}" for view in behind
                )
                raise Unhealthy(
                    f"{model} version {number} is in Production, but not served after "
                    f"{self._deadlines.live:.0f} s. {told}",
                    "See `stackctl status` and `stackctl logs serving`.",
                )
            self._progress("serving", f"waiting for version {number} (version {behind[0].version or 'none'} answers)")
            self._clock.sleep(self._deadlines.poll_live)

    def _reach(self, server: ModelServer) -> ServerView:
        """Ask a server; one that does not answer gets a moment to come back."""
        began = self._clock.monotonic()
        while True:
            try:
                return server.view()
            except Unhealthy:
                if self._since(began) > self._deadlines.reach:
                    raise
                self._clock.sleep(self._deadlines.poll)

    def _changed_elsewhere(self, model: str, journal: Journal) -> bool:
        """Return whether Production moved to a third version since the decision, or the version is gone."""
        try:
            self._registry.version(model, journal.version)
        except UnknownVersion:
            return True
        production = self._registry.production_of(model)
        known = {journal.previous, journal.version, None}
        return production.stage not in known or production.alias not in known

    def _close(self, model: str, journal: Journal) -> None:
        if self._registry.model(model).aliases.get(tags.CANDIDATE_ALIAS) == journal.version:
            self._registry.delete_alias(model, tags.CANDIDATE_ALIAS)
        close_journal(self._registry, model)

    def _undo(self, model: str, journal: Journal) -> None:
        self._progress("undo", f"version {journal.version} is no candidate any more")
        self._close(model, journal)

    def _undo_quietly(self, model: str, journal: Journal) -> None:
        """Undo after a failure that is about to be reported; what cannot be undone now, the next command undoes."""
        try:
            standing = read_journal(self._registry, model)
            if standing is not None and standing.id == journal.id:
                self._undo(model, journal)
        except StackctlError as error:
            self._progress("undo", f"left to the next `stackctl promote` or `stackctl status`: {error.message}")

    def _since(self, began: float) -> float:
        return self._clock.monotonic() - began


def going_on(registry: Registry, model: str) -> Recovery | None:
    """Return the promotion of a model that is going on, or None."""
    journal = read_journal(registry, model)
    return _recovery(model, journal, "running") if journal else None


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


def _recovery(model: str, journal: Journal, outcome: Literal["finished", "undone", "abandoned", "running"]) -> Recovery:
    return Recovery(model, journal.version, journal.previous, journal.by, outcome)
