"""A model server without a model that follows the registry as a real one does: candidate, then Production."""

from __future__ import annotations

import threading
from typing import Any, Self

from support.fake_model_server import FakeModelServer

from stackctl.errors import StackctlError
from stackctl.models import Registry
from stackctl.models.alignment import align
from stackctl.models.targets import PRODUCTION, Target

POLL = 0.15


def digest_of(version: str | None) -> str | None:
    """Return the digest that the server reports for a version."""
    return None if version is None else f"sha256:{int(version):064x}"


class FollowingServer(FakeModelServer):
    """Follows one model of one registry over REST.

    ``refuses`` maps versions to the reason for refusing them; ``never_prepares`` leaves candidates loading;
    ``never_flips`` stays at the version it serves. With ``aligns`` it also follows promotions that were made elsewhere,
    and brings stage and alias together.
    """

    def __init__(self, registry_url: str, model: str, target: Target = PRODUCTION) -> None:
        super().__init__(version=None)
        self.name = model
        self.target = target
        self.refuses: dict[str, str] = {}
        self.never_prepares = False
        self.never_flips = False
        self.aligns = False
        self.agreed: str | None = None
        self.candidates_seen: list[str] = []
        self.digests: dict[str, str] = {}
        self._registry = Registry(registry_url)
        self._stopping = threading.Event()
        self._follower = threading.Thread(target=self._follow, daemon=True)

    def start(self) -> Self:
        super().start()
        self._follower.start()
        return self

    def stop(self) -> None:
        self._stopping.set()
        self._follower.join(10)
        self._registry.close()
        super().stop()

    def model(self) -> dict[str, Any]:
        return {**super().model(), "digest": self._digest(self.version)}

    def _digest(self, version: str | None) -> str | None:
        return self.digests.get(version or "") or digest_of(version)

    def _follow(self) -> None:
        while not self._stopping.wait(POLL):
            try:
                self._step()
            except StackctlError:
                continue

    def _step(self) -> None:
        model = self._registry.find_model(self.name)
        if model is None:
            return
        candidate = model.aliases.get(self.target.candidate_alias)
        pair, promoting = model.pair(self.target), self.target.journal_tag in model.tags
        if pair.agrees:
            self.agreed = pair.alias
        production = pair.winner(self.agreed) if self.aligns and not promoting else pair.alias
        if production and production not in self.refuses and not self.never_flips:
            self.version = production
            if self.aligns and not pair.agrees:
                align(self._registry, self.name, self.target, self.agreed, "serving@test")
        self.candidate = self._candidate(candidate) if candidate else None

    def _candidate(self, version: str) -> dict[str, Any]:
        if version not in self.candidates_seen:
            self.candidates_seen.append(version)
        if self.never_prepares:
            return {"version": version, "state": "loading", "reason": None, "digest": None}
        if version in self.refuses:
            return {"version": version, "state": "refused", "reason": self.refuses[version], "digest": None}
        return {"version": version, "state": "prepared", "reason": None, "digest": self._digest(version)}
