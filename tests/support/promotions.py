"""What tests of promotions need: a stack around a model of their own, and a process that dies between two calls."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from support.following_server import FollowingServer
from support.mlflow_server import MlflowServer

from stackctl.lifecycle.promote import promote
from stackctl.models import Registry
from stackctl.models.promotion import Deadlines, Promotion
from stackctl.models.targets import PRODUCTION, Target
from stackctl.stack import Endpoints, Settings, Stack

QUICK = Deadlines(reach=0.3, prepare=20.0, live=20.0, forget=2.0, lease=900.0, poll=0.02)


@dataclass
class Scene:
    """One model with versions, the stack that serves it, and a model server that follows it."""

    model: str
    stack: Stack
    registry: Registry
    server: FollowingServer
    told: list[tuple[str, str]] = field(default_factory=list)

    def promote(
        self,
        version: str,
        target: Target = PRODUCTION,
        *,
        registry: Registry | None = None,
        deadlines: Deadlines = QUICK,
        wait: bool = True,
    ) -> Promotion:
        """Promote a version as the command does."""
        return promote(
            self.stack,
            self.model,
            version,
            target=target,
            wait=wait,
            progress=lambda subject, what: self.told.append((subject, what)),
            registry=registry,
            deadlines=deadlines,
        )

    def state(self) -> tuple[str | None, str | None, str | None, bool]:
        """Return the versions under stage, alias and candidate, and whether a journal is open."""
        model = self.registry.model(self.model)
        production = model.production
        return (production.stage, production.alias, model.aliases.get("candidate"), "stackctl.promotion" in model.tags)


@contextmanager
def scene(mlflow: MlflowServer, folder: Path, model: str, versions: int = 2) -> Iterator[Scene]:
    """Set the scene; the model server stops at the end."""
    mlflow.make_versions(model, versions)
    folder.mkdir(parents=True, exist_ok=True)
    with FollowingServer(mlflow.url, model) as server, Registry(mlflow.url) as registry:
        settings = Settings.parse({"name": "test-stack", "model": model})
        endpoints = Endpoints(mlflow.url, mlflow.url, None, server.url, "http://127.0.0.1:9")
        yield Scene(model, Stack(settings, endpoints, folder), registry, server)


class Killed(BaseException):
    """Stands for SIGKILL: nothing but the operating system's own clean-up happens after it."""


class DyingTransport(httpx.BaseTransport):
    """Carries requests until the process "dies" at its n-th change to the registry; then it carries nothing any more.

    Args:
        at: the number of the change, from 1.
        answered: whether that change still reaches the registry (its answer is lost) or not.
        inner: what carries the requests until then.
    """

    def __init__(self, at: int, *, answered: bool, inner: httpx.BaseTransport | None = None) -> None:
        self._inner = inner or httpx.HTTPTransport()
        self._at = at
        self._answered = answered
        self._dead = False
        self.changes: list[str] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if self._dead:
            raise Killed
        if request.method != "GET":
            self.changes.append(f"{request.method} {request.url.path.rsplit('/mlflow/', 1)[-1]}")
            if len(self.changes) == self._at:
                self._dead = True
                if self._answered:
                    self._inner.handle_request(request).read()
                raise Killed
        return self._inner.handle_request(request)

    def close(self) -> None:
        self._inner.close()
