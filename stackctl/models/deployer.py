"""``python -m stackctl.models.deployer``: promotes a new version that measures better, where ``deploy.policy`` is auto.

It goes the way of ``stackctl promote``: the same gates, the same preparation on every model server, the same journal,
to staging first where the stack has a staging server, then to production. It keeps no state of its own: what it
decided is a tag on the version, so it may be killed at any moment.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from types import FrameType

from stackctl.errors import StackctlError, Unhealthy, UsageError
from stackctl.models import tags
from stackctl.models.clock import Clock, SystemClock
from stackctl.models.deployer_health import Health, serve_health
from stackctl.models.gates import READY, MetricGate
from stackctl.models.promoter import Promoter
from stackctl.models.promotion import Deadlines, PromotionRefused
from stackctl.models.registry import Registry
from stackctl.models.servers import ModelServer
from stackctl.models.targets import PRODUCTION, STAGING, Target
from stackctl.models.versions import ModelVersion, RegisteredModel, iso
from stackctl.stack import Stack

POLL = 2.0
LONGEST_PAUSE = 60.0
EVALUATION_WAIT = timedelta(hours=1)
"""How long a version may lack what it is compared by; then the gate refuses it, and that is its decision."""
TRIES = 2
"""How often servers are asked for a version that they refuse: the store may have been away the first time."""
DEPLOYING = "deploying"
_REASON_LIMIT = 1500


@dataclass(frozen=True)
class Policy:
    """What the deployer goes by: the model, how a version must be better, and where it goes, in this order."""

    model: str
    gate: MetricGate
    targets: tuple[tuple[Target, tuple[str, ...]], ...]
    owner: str

    @classmethod
    def of(cls, stack: Stack) -> Policy:
        """Return the policy of a stack.

        Raises:
            UsageError: its policy is manual.
        """
        deploy = stack.settings.deploy
        if deploy.policy != "auto":
            raise UsageError("The deployer runs where deploy.policy is auto.", "Set it in stack.yaml: deploy.policy.")
        targets = [(target, stack.servers_for(target.name)) for target in (STAGING, PRODUCTION)]
        return cls(
            stack.settings.model,
            MetricGate(deploy.metric, deploy.min_delta, deploy.direction),
            tuple((target, servers) for target, servers in targets if servers),
            f"deployer of {stack.name}",
        )


class Deployer:
    """Looks for new versions and promotes those that are better.

    Args:
        registry: where versions are.
        policy: what to go by.
        health: told what happens; anyone may ask it.
        deadlines: how long a promotion waits for what.
        clock: time.
    """

    def __init__(
        self,
        registry: Registry,
        policy: Policy,
        health: Health,
        *,
        deadlines: Deadlines | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._registry = registry
        self._policy = policy
        self._health = health
        self._deadlines = deadlines
        self._clock = clock or SystemClock()
        self._servers = {target: [ModelServer(url) for url in urls] for target, urls in policy.targets}
        self._tries: dict[str, int] = {}
        self._champion: str | None = None

    def run(self) -> None:
        """Look again and again; what goes wrong lengthens the pause up to a minute and ends nothing."""
        pause = POLL
        while True:
            try:
                while self.step():
                    self._health.beat()
                if pause != POLL:
                    self._health.tell("watching", "goes on")
                pause = POLL
            except StackctlError as error:
                self._health.tell("waiting", error.message)
                pause = min(pause * 2, LONGEST_PAUSE)
            self._rest(pause)

    def step(self) -> bool:
        """Decide about the oldest version that is undecided; return whether there may be another one.

        Raises:
            Unhealthy: MLflow or a model server does not answer; nothing was decided.
            StackctlError: somebody else promotes this model right now.
        """
        model = self._registry.find_model(self._policy.model)
        if model is None:
            return False
        if opened := [target for target in self._servers if target.journal_tag in model.tags]:
            return self._recover(model.name, opened)
        if not model.production.agrees:
            self._health.tell("waiting", "stage and alias of Production disagree: a model server aligns them")
            return False
        self._close_finished(model)
        undecided = self._undecided(model)
        waiting = [version for version in undecided if self._lacks_evaluation(version, model.production.version)]
        ready = next((version for version in undecided if version not in waiting), None)
        if ready is not None:
            self._decide(ready)
            return True
        if waiting:
            numbers = ", ".join(version.version for version in waiting)
            self._health.tell("waiting", f"version {numbers}: no {self._policy.gate.metric} on a named data set yet")
        return False

    def _recover(self, model: str, opened: Sequence[Target]) -> bool:
        """Finish or undo interrupted promotions; return whether none goes on any more."""
        for target in opened:
            found = self._promoter(target).recover(model)
            if found is not None:
                self._health.tell("recover", found.sentence)
                if found.outcome == "running":
                    return False
        return True

    def _undecided(self, model: RegisteredModel) -> list[ModelVersion]:
        """Return what was registered after the champion, never was in Production and has no decision; oldest first."""
        champion = int(model.production.version or 0)
        if model.latest is None or int(model.latest) <= champion:
            return []
        return [
            version
            for version in reversed(self._registry.versions(model.name))
            if int(version.version) > champion
            and version.status == READY
            and version.stage != "Archived"
            and version.promoted_at is None
            and _decision(version) in {None, DEPLOYING}
        ]

    def _lacks_evaluation(self, version: ModelVersion, champion: str | None) -> bool:
        """Return whether it is still too early to compare: a run may log its metrics after its model."""
        if self._clock.now() - version.created_at > EVALUATION_WAIT:
            return False
        measured = self._registry.measured(version)
        return self._policy.gate.metric not in measured.metrics or (measured.digest is None and champion is not None)

    def _decide(self, version: ModelVersion) -> None:
        """Promote it along all targets, or note why not."""
        self._note(version, DEPLOYING, f"on its way since {iso(self._clock.now())}")
        figures: Mapping[str, object] = {}
        for target in self._servers:
            reason = f"policy auto, by {self._policy.gate.metric}"
            try:
                done = self._promoter(target).promote(version, metric=self._policy.gate, reason=reason)
            except PromotionRefused as refusal:
                self._refused(version, target, refusal)
                return
            figures = {name: figure for gate in done.gates for name, figure in gate["figures"].items()} or figures
        self._note(version, "deployed", f"to {' and '.join(target.name for target in self._servers)}", figures)

    def _refused(self, version: ModelVersion, target: Target, refusal: PromotionRefused) -> None:
        tries = self._tries[version.version] = self._tries.get(version.version, 0) + 1
        if refusal.gate == "server" and tries < TRIES:
            raise Unhealthy(f"{refusal.message} It is tried once more.", refusal.hint)
        self._note(version, "refused", f"{target.name}, {refusal.gate}: {refusal.message}", refusal.figures)

    def _close_finished(self, model: RegisteredModel) -> None:
        """Complete the decision about a champion whose promotion outlived the deployer that began it."""
        number = model.production.version
        if number is None or number == self._champion:
            return
        champion = self._registry.version(model.name, number)
        if _decision(champion) == DEPLOYING:
            self._note(champion, "deployed", "its promotion was finished after an interruption")
        self._champion = number

    def _note(
        self, version: ModelVersion, decision: str, reason: str, figures: Mapping[str, object] | None = None
    ) -> None:
        document = {
            "schema_version": 1,
            "decision": decision,
            "at": iso(self._clock.now()),
            "by": self._policy.owner,
            "reason": reason[:_REASON_LIMIT],
            "figures": dict(figures or {}),
        }
        text = json.dumps(document, sort_keys=True, ensure_ascii=False)
        self._registry.set_version_tag(version.name, version.version, tags.DEPLOYMENT, text)
        self._health.tell(decision, f"version {version.version}: {reason}")

    def _promoter(self, target: Target) -> Promoter:
        return Promoter(
            self._registry,
            self._servers[target],
            owner=self._policy.owner,
            progress=self._health.tell,
            target=target,
            deadlines=self._deadlines,
            clock=self._clock,
        )

    def _rest(self, seconds: float) -> None:
        self._health.beat()
        self._clock.sleep(seconds)


def _decision(version: ModelVersion) -> str | None:
    """Return what the deployer decided about a version, or None; a tag that is no decision of ours counts as one."""
    text = version.tags.get(tags.DEPLOYMENT)
    if text is None:
        return None
    try:
        return str(json.loads(text)["decision"])
    except (ValueError, KeyError, TypeError):
        return "unknown"


def main(_arguments: Sequence[str] = ()) -> int:
    """Run until SIGTERM or SIGINT; return the exit status."""
    health = Health()
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        stack = Stack.from_env()
        host, port = (
            os.environ.get("STACKCTL_DEPLOYER_HOST", "127.0.0.1"),
            os.environ.get("STACKCTL_DEPLOYER_PORT", "8890"),
        )
        policy = Policy.of(stack)
        with Registry.of(stack) as registry, serve_health(health, host, int(port)):
            health.tell("watching", f"{policy.model}, {policy.gate}")
            Deployer(registry, policy, health).run()
    except KeyboardInterrupt:  # a promotion that was not decided was undone on its way up
        return 0
    except StackctlError as error:
        health.tell("failed", f"{error.message} {error.hint or ''}".strip())
        return error.code
    except OSError as error:
        health.tell("failed", f"{host}:{port} cannot be listened on: {error.strerror}")
        return StackctlError.code
    return 0


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
