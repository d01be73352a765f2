"""``stackctl promote`` and ``stackctl rollback``, and what finishes or undoes one that was interrupted."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

from stackctl.engines import Progress
from stackctl.errors import StackctlError
from stackctl.lifecycle.exclusive import exclusive, if_free, owner_of
from stackctl.models import ModelVersion, Registry, resolve
from stackctl.models.arrivals import agreed, earlier
from stackctl.models.clock import Clock, SystemClock
from stackctl.models.gates import MetricGate
from stackctl.models.history import events_of
from stackctl.models.promoter import Promoter, going_on
from stackctl.models.promotion import Deadlines, Promotion, Recovery
from stackctl.models.registry import UnknownVersion
from stackctl.models.servers import ModelServer
from stackctl.models.targets import PRODUCTION, TARGETS, Target
from stackctl.models.versions import RegisteredModel
from stackctl.stack import Stack


def promote(
    stack: Stack,
    model: str,
    version: str,
    *,
    target: Target = PRODUCTION,
    metric: MetricGate | None = None,
    wait: bool = True,
    dry_run: bool = False,
    progress: Progress,
    registry: Registry | None = None,
    deadlines: Deadlines | None = None,
    clock: Clock | None = None,
) -> Promotion:
    """Bring a version of a model to a target: prepare on every model server that follows it, then commit.

    Args:
        stack: the stack whose servers follow the target.
        model: the registered model.
        version: which version, in a person's words (see ``stackctl.models.resolve``).
        target: Production, or staging.
        metric: how it must be better than the version in Production.
        wait: return only once every server serves it; nothing skips the preparation.
        dry_run: check and prepare it, then undo; neither the target nor the history is touched.
        progress: told what happens.
        registry: the registry to use instead of the stack's own.
        deadlines: how long to wait for what.
        clock: time.

    Raises:
        UnknownModel, UnknownVersion, UsageError: there is no such version.
        PromotionRefused: a gate or a server refused it; the target was not touched.
        Unhealthy: MLflow or a model server cannot be reached, or does not keep a deadline.
        StackctlError: another promotion of this model is going on.
    """
    with _desk(stack, target, progress, registry, deadlines, clock) as desk:
        resolve(desk.registry, model, version)  # a word that names nothing is said before anything is waited for
        with exclusive(stack, progress, desk.clock):
            desk.clear(model)
            wanted = resolve(desk.registry, model, version)
            return desk.promoter().promote(wanted, wait=wait, dry_run=dry_run, metric=metric)


def rollback(
    stack: Stack,
    model: str,
    to_version: str | None = None,
    *,
    wait: bool = True,
    dry_run: bool = False,
    progress: Progress,
    registry: Registry | None = None,
    deadlines: Deadlines | None = None,
    clock: Clock | None = None,
) -> Promotion:
    """Bring back the version that was in Production before, by the same protocol as any promotion.

    Args:
        stack: the stack whose servers follow Production.
        model: the registered model.
        to_version: which version instead, in a person's words.
        wait: as for ``promote``.
        dry_run: as for ``promote``.
        progress: told what happens.
        registry: the registry to use instead of the stack's own.
        deadlines: how long to wait for what.
        clock: time.

    Raises:
        UnknownVersion: no version was in Production before.
        PromotionRefused, Unhealthy, StackctlError: as for ``promote``.
    """
    with _desk(stack, PRODUCTION, progress, registry, deadlines, clock) as desk, exclusive(stack, progress, desk.clock):
        desk.clear(model)
        found = desk.registry.model(model)
        now = found.production.winner(agreed(events_of(found), PRODUCTION))
        wanted = (
            resolve(desk.registry, model, to_version) if to_version else _before(desk.registry, found, now, progress)
        )
        reason = f"rolled back from version {now}" if now else None
        return desk.promoter().promote(wanted, wait=wait, dry_run=dry_run, purpose="rollback", reason=reason)


def recover(
    stack: Stack,
    model: str | None = None,
    *,
    progress: Progress | None = None,
    registry: Registry | None = None,
    deadlines: Deadlines | None = None,
    clock: Clock | None = None,
) -> Recovery | None:
    """Finish or undo what was interrupted, at any target; None where nothing was.

    A promotion that is going on is left alone and reported as ``running``. Model servers are not asked: they follow.

    Raises:
        Unhealthy: MLflow does not answer.
        StackctlError: the journal cannot be read.
    """
    name = model or stack.settings.model
    with _desk(stack, PRODUCTION, progress or _silent, registry, deadlines, clock) as desk, if_free(stack) as free:
        found = desk.recover(name) if free else [going_on(desk.registry, name, target) for target in TARGETS]
        return next((recovery for recovery in found if recovery is not None), None)


@dataclass(frozen=True)
class _Desk:
    """What one command promotes with."""

    stack: Stack
    target: Target
    registry: Registry
    servers: tuple[ModelServer, ...]
    progress: Progress
    deadlines: Deadlines | None
    clock: Clock

    def promoter(self) -> Promoter:
        return self._promoter(self.target, self.servers)

    def recover(self, model: str) -> list[Recovery | None]:
        return [self._promoter(target, ()).recover(model) for target in TARGETS]

    def clear(self, model: str) -> None:
        """Finish or undo what was interrupted; whoever holds the folder's lock may.

        Raises:
            StackctlError: somebody else promotes to the same target right now.
        """
        for recovery in self.recover(model):
            if recovery is None:
                continue
            self.progress("recover", recovery.sentence)
            if recovery.outcome == "running" and recovery.target is self.target:
                raise StackctlError(recovery.sentence, "Wait for it, or promote again in a quarter of an hour.")

    def _promoter(self, target: Target, servers: tuple[ModelServer, ...]) -> Promoter:
        return Promoter(
            self.registry,
            servers,
            owner=owner_of(self.stack),
            progress=self.progress,
            target=target,
            deadlines=self.deadlines,
            clock=self.clock,
        )


@contextlib.contextmanager
def _desk(
    stack: Stack,
    target: Target,
    progress: Progress,
    registry: Registry | None,
    deadlines: Deadlines | None,
    clock: Clock | None,
) -> Iterator[_Desk]:
    ours = registry or Registry.of(stack)
    servers = tuple(ModelServer(url) for url in stack.servers_for(target.name))
    try:
        yield _Desk(stack, target, ours, servers, progress, deadlines, clock or SystemClock())
    finally:
        for server in servers:
            server.close()
        if registry is None:
            ours.close()


def _before(registry: Registry, model: RegisteredModel, now: str | None, progress: Progress) -> ModelVersion:
    """Return the version that was in Production before ``now``; one that was deleted since is passed over."""
    events = events_of(model)
    known = agreed(events, PRODUCTION) is not None
    for number in earlier(events, PRODUCTION, now) if known else _promoted_earlier(registry, model.name, now):
        try:
            return registry.version(model.name, number)
        except UnknownVersion:
            progress("history", f"version {number} was in Production before, and was deleted since")
    raise UnknownVersion(
        f"No version of {model.name} was in Production before version {now}."
        if now
        else f"No version of {model.name} was in Production yet.",
        f"Name one: `stackctl rollback {model.name} --to-version N` (see `stackctl history {model.name}`).",
    )


def _promoted_earlier(registry: Registry, model: str, now: str | None) -> list[str]:
    """Return versions that were promoted before there was a history, the last promoted first."""
    promoted = [version for version in registry.versions(model) if version.promoted_at and version.version != now]
    promoted.sort(key=lambda version: version.promoted_at or "", reverse=True)
    return [version.version for version in promoted]


def _silent(_subject: str, _what: str) -> None:
    return
