"""The promotion protocol: prepare, then commit; whoever finds it interrupted finishes or undoes it.

Prepare: the journal is opened, the gates are checked, the version gets the alias ``candidate``, every model server of
the target loads it beside the version it serves, checks its digest, replays its golden inputs and says ``prepared`` or
``refused``. The target is not touched. Commit: the journal says ``committing`` (from here on the promotion is decided),
the version gets stage and alias, the history gets its event, servers flip, the journal is closed. Stage and alias are
two calls in MLflow and there is no compare-and-swap: the journal is what makes them one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from stackctl.errors import StackctlError, Unhealthy
from stackctl.models import arrivals, tags
from stackctl.models.alignment import arrival_tag, is_settled, set_names
from stackctl.models.clock import Clock, SystemClock
from stackctl.models.fleet import Fleet, Progress
from stackctl.models.gates import MetricGate, Passed, check_all
from stackctl.models.history import events_of, moment
from stackctl.models.journal import Journal, Purpose, check_own, close_journal, read_journal, write_journal
from stackctl.models.promotion import Deadlines, Promotion, PromotionRefused, Recovery
from stackctl.models.registry import Registry, UnknownVersion
from stackctl.models.servers import ModelServer
from stackctl.models.targets import PRODUCTION, Target
from stackctl.models.versions import ModelVersion, RegisteredModel, iso

_FINISHED_LATER = "the next `stackctl promote` or `stackctl status` finishes it"


class Promoter:
    """Runs the protocol against one registry and the model servers that follow the target.

    Args:
        registry: where versions, stages and aliases are.
        servers: every server that must serve what is at the target.
        owner: who promotes: user, machine and stack folder. Of one owner only one promotion runs at a time; the caller
            sees to that.
        progress: told what happens.
        target: where versions are promoted to.
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
        target: Target = PRODUCTION,
        deadlines: Deadlines | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._registry = registry
        self._owner = owner
        self._progress = progress
        self._target = target
        self._deadlines = deadlines or Deadlines()
        self._clock = clock or SystemClock()
        self._fleet = Fleet(servers, target, progress, self._deadlines, self._clock)

    def promote(
        self,
        version: ModelVersion,
        *,
        wait: bool = True,
        dry_run: bool = False,
        metric: MetricGate | None = None,
        purpose: Purpose = "promote",
        reason: str | None = None,
    ) -> Promotion:
        """Bring a version to the target.

        Args:
            version: the version, as the registry has it.
            wait: return only once every server serves it. Nothing skips the preparation.
            dry_run: check and prepare it, then undo; neither the target nor the history is touched.
            metric: how it must be better than the version in Production.
            purpose: ``promote`` or ``rollback``, for the history.
            reason: why, for the history.

        Raises:
            PromotionRefused: a gate or a server refused it; the target was not touched.
            Unhealthy: a server could not be reached or did not answer in time; the message says whether the target was
                touched.
            StackctlError: somebody else promotes this model right now.
            KeyboardInterrupt: passed on; before the commit everything is undone first.
        """
        began = self._clock.monotonic()
        model = self._registry.model(version.name)
        pair = model.pair(self._target)
        previous = pair.before(version.version, arrivals.agreed(events_of(model), self._target))
        if pair.version == version.version and is_settled(pair, self._target, version.stage):
            failure = self._fleet.taken_back(model.name, version.version)
            if failure is None:
                live = self._fleet.await_live(model.name, version.version, began) if wait and not dry_run else None
                return self._result(version, version.version, version.digest, began, changed=False, live_seconds=live)
            self._progress("again", f"a model server took version {version.version} back: {failure}")
            previous, reason = version.version, reason or f"again; a model server had taken it back: {failure}"
        journal = Journal.begin(
            previous,
            version.version,
            by=self._owner,
            now=self._clock.now(),
            purpose=purpose,
            reason=reason,
            replaced=() if pair.agrees else tuple(name for name in (pair.stage, pair.alias) if name),
        )
        passed: list[Passed] = []
        try:
            write_journal(self._registry, model.name, self._target, journal)
            passed += self._check(version, model, metric)
            digest = self._prepare(version, journal, dry_run=dry_run)
            if dry_run:
                self._undo(model.name, journal)
                return self._result(version, previous, digest, began, changed=False, dry_run=True, passed=tuple(passed))
            journal = self._decide(model.name, journal, passed)
        except (Exception, KeyboardInterrupt) as error:
            self._undo_quietly(model.name, journal)
            if isinstance(error, PromotionRefused) and not dry_run:
                self._record_refusal(model.name, journal, error)
            raise
        live = self._commit(model.name, journal, wait=wait)
        result = self._result(version, previous, digest, began, changed=True, live_seconds=live, passed=tuple(passed))
        return replace(result, disagreed=not pair.agrees)

    def recover(self, model: str) -> Recovery | None:
        """Finish or undo a promotion that was interrupted; None where there is none.

        A journal of the same owner is taken for interrupted (the caller holds the owner's lock); somebody else's only
        once it is older than the lease.
        """
        journal = read_journal(self._registry, model, self._target)
        if journal is None:
            return None
        if journal.by != self._owner and journal.age(self._clock.now()) < timedelta(seconds=self._deadlines.lease):
            return Recovery.of(model, journal, "running", self._target)
        if journal.phase == "preparing":
            self._undo(model, journal)
            return Recovery.of(model, journal, "undone", self._target)
        if self._changed_elsewhere(model, journal):
            self._undo(model, journal)
            return Recovery.of(model, journal, "abandoned", self._target)
        self._apply(model, journal)
        self._close(model, journal)
        return Recovery.of(model, journal, "finished", self._target)

    def _check(self, version: ModelVersion, model: RegisteredModel, metric: MetricGate | None) -> list[Passed]:
        """Hold the version against the gates.

        The champion is the version that users get, whatever the target: where the version itself was moved to
        Production by something else, the one that it replaces.
        """
        number = model.production.before(version.version, arrivals.agreed(events_of(model), PRODUCTION))
        champion = self._registry.version(model.name, number) if number and number != version.version else None
        passed = check_all(self._registry, version, champion, metric)
        for gate in passed:
            self._progress(f"gate {gate.gate}", gate.sentence)
        return passed

    def _prepare(self, version: ModelVersion, journal: Journal, *, dry_run: bool) -> str:
        """Have every server prepare the version; return the digest they agree on."""
        model, number = version.name, version.version
        self._fleet.settle(model, number)
        check_own(
            self._registry, model, self._target, journal
        )  # gates and servers took time: somebody else may be at it
        self._registry.set_alias(model, self._target.candidate_alias, number)
        return self._check_digest(version, self._fleet.await_prepared(model, number), dry_run=dry_run)

    def _check_digest(self, version: ModelVersion, digests: Mapping[str, str | None], *, dry_run: bool) -> str:
        """Compare the recorded digest with what the servers computed; record it where none was."""
        recorded = self._registry.version(version.name, version.version).digest
        if not digests:
            return recorded or ""
        for url, digest in digests.items():
            expected = recorded or next(iter(digests.values()))
            if digest is None or digest != expected:
                raise PromotionRefused(
                    f"{version.title} is not what was logged: its digest is {expected}, "
                    f"the model server at {url} has {digest or 'none'}.",
                    "digest",
                    f"{self._target.stage} was not touched. Its files were changed since: register the version again.",
                    {"expected": expected, "found": digest},
                )
        digest = str(next(iter(digests.values())))
        if recorded is None and not dry_run:
            self._registry.set_version_tag(version.name, version.version, tags.DIGEST, digest)
        return digest

    def _decide(self, model: str, journal: Journal, passed: Sequence[Passed]) -> Journal:
        """Write that the promotion is decided: from here on it is finished, by whomever."""
        check_own(self._registry, model, self._target, journal)
        figures = {name: figure for gate in passed for name, figure in gate.figures.items()}
        decided = replace(journal, phase="committing", committed_at=moment(self._clock.now()), figures=figures)
        self._progress("commit", f"version {journal.version} goes to {self._target.stage}")
        self._registry.set_model_tag(model, self._target.journal_tag, decided.to_json())
        return decided

    def _commit(self, model: str, journal: Journal, *, wait: bool) -> float | None:
        """Carry out what was decided; return how long it took until every server served it."""
        number, stage = journal.version, self._target.stage
        try:
            committed = self._apply(model, journal)
        except KeyboardInterrupt:
            self._progress("commit", f"interrupted after the decision for version {number}: {_FINISHED_LATER}")
            raise
        except StackctlError as error:
            raise Unhealthy(
                f"{model} version {number} was decided for {stage}, but the registry could not be changed "
                f"completely: {error.message}",
                f"Nothing is lost: {_FINISHED_LATER}.",
            ) from error
        try:
            live = self._fleet.await_live(model, number, committed) if wait else None
        except KeyboardInterrupt:
            self._progress("commit", f"interrupted: version {number} is in {stage}, servers may still be loading it")
            self._close(model, journal)
            raise
        except StackctlError:
            self._close(model, journal)
            raise
        self._close(model, journal)
        return live

    def _apply(self, model: str, journal: Journal) -> float:
        """Point stage and alias to the version, then record it; return when both pointed there."""
        decided = datetime.fromisoformat(journal.committed_at) if journal.committed_at else self._clock.now()
        version = self._registry.version(model, journal.version)
        self._registry.set_version_tag(model, journal.version, arrival_tag(self._target), iso(decided))
        set_names(self._registry, self._registry.model(model), self._target, journal.version, version.stage)
        committed = self._clock.monotonic()
        arrivals.record_arrival(self._registry, model, self._target, journal, decided)
        return committed

    def _changed_elsewhere(self, model: str, journal: Journal) -> bool:
        """Return whether the target moved to a third version since the decision, or the version is gone."""
        try:
            self._registry.version(model, journal.version)
        except UnknownVersion:
            return True
        pair = self._registry.model(model).pair(self._target)
        known = {journal.previous, journal.version, None, *journal.replaced}
        return pair.stage not in known or pair.alias not in known

    def _close(self, model: str, journal: Journal) -> None:
        self._withdraw(model, journal)
        close_journal(self._registry, model, self._target)

    def _withdraw(self, model: str, journal: Journal) -> None:
        """Take the candidate's alias off the journal's version, where it has it."""
        if self._registry.model(model).aliases.get(self._target.candidate_alias) == journal.version:
            self._registry.delete_alias(model, self._target.candidate_alias)

    def _undo(self, model: str, journal: Journal) -> None:
        self._progress("undo", f"version {journal.version} is no candidate any more")
        self._close(model, journal)

    def _undo_quietly(self, model: str, journal: Journal) -> None:
        """Undo after a failure that is about to be reported; what cannot be undone now, the next command undoes."""
        try:
            standing = read_journal(self._registry, model, self._target)
            if standing is not None and standing.id == journal.id:
                self._undo(model, journal)
            elif standing is None or standing.version != journal.version:  # overtaken: only the alias may be ours
                self._withdraw(model, journal)
        except StackctlError as error:
            self._progress("undo", f"left to the next `stackctl promote` or `stackctl status`: {error.message}")

    def _record_refusal(self, model: str, journal: Journal, refusal: PromotionRefused) -> None:
        try:
            arrivals.record_refusal(self._registry, model, self._target, journal, refusal, self._clock.now())
        except StackctlError as error:
            self._progress("history", f"the refusal could not be recorded: {error.message}")

    def _result(
        self,
        version: ModelVersion,
        previous: str | None,
        digest: str | None,
        began: float,
        *,
        changed: bool,
        live_seconds: float | None = None,
        dry_run: bool = False,
        passed: tuple[Passed, ...] = (),
    ) -> Promotion:
        seconds = self._clock.monotonic() - began
        figures = tuple(gate.to_dict() for gate in passed)
        return Promotion(
            version.name,
            previous,
            version.version,
            digest,
            changed,
            seconds,
            live_seconds,
            self._target.name,
            dry_run=dry_run,
            gates=figures,
        )


def going_on(registry: Registry, model: str, target: Target = PRODUCTION) -> Recovery | None:
    """Return the promotion of a model that is going on, or None."""
    journal = read_journal(registry, model, target)
    return Recovery.of(model, journal, "running", target) if journal else None
