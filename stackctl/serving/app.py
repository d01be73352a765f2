"""The model server's HTTP interface."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
from collections.abc import AsyncIterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from stackctl.serving.backup_age import BackupAge
from stackctl.serving.cache import VersionCache
from stackctl.serving.events import event
from stackctl.serving.follower import Follower
from stackctl.serving.front import Front
from stackctl.serving.lineup import Lineup
from stackctl.serving.metrics import Metrics
from stackctl.serving.registry_view import MlflowView, RegistryView
from stackctl.serving.settings import ServingSettings
from stackctl.serving.slot import Workshop
from stackctl.serving.webhook import verified

SCHEMA_VERSION = 1
MEMORY_SECONDS = 0.1
ACCEPTED = 204


class ModelServer:
    """One model server: what it has loaded, what it follows, what it answers.

    Args:
        settings: how it runs.
        runtime: private folder for the children's sockets.
        view: the registry; by default MLflow's, as the settings say.
    """

    def __init__(self, settings: ServingSettings, runtime: Path, view: RegistryView | None = None) -> None:
        self._settings = settings
        self._view = view or MlflowView(settings.stack, settings.model, settings.target)
        self._metrics = Metrics()
        self._backup = BackupAge(settings.stack, settings.stack.settings.backup.max_age)
        cache = VersionCache(settings.cache)
        self._lineup = Lineup(Workshop(settings, cache, runtime, self._changed, self._died), self._metrics)
        self._follower = Follower(self._view, self._lineup, settings, cache)
        self._front: Front | None = None
        self._last_death: dict[str, str] | None = None

    def application(self) -> Starlette:
        """Return the ASGI application; its lifespan starts and ends the children."""
        return Starlette(
            routes=[
                Route("/v1/image", self._forward, methods=["POST"]),
                Route("/invocations", self._forward, methods=["POST"]),
                Route("/webhook", self._webhook, methods=["POST"]),
                Route("/model", self._model),
                Route("/ready", self._ready),
                Route("/ping", self._ping),
                Route("/health", self._ping),
                Route("/version", self._version),
                Route("/metrics", self._prometheus),
            ],
            lifespan=self._lifespan,
        )

    def document(self) -> dict[str, Any]:
        """Return what ``/model`` answers."""
        serving, upcoming = self._lineup.serving, self._lineup.upcoming
        version = serving.version if serving else None
        report = serving.report if serving else None
        return {
            "schema_version": SCHEMA_VERSION,
            "name": self._settings.model,
            "role": self._settings.target.name,
            "version": version.version if version else None,
            "run_id": version.run_id if version else None,
            "digest": serving.digest if serving else None,
            "metrics": dict(version.metrics) if version else {},
            "evaluation_digest": version.evaluation if version else None,
            "params": dict(version.params) if version else {},
            "promoted_at": version.promoted_at if version else None,
            "since": self._lineup.since,
            "error": self._lineup.error or self._follower.problem,
            "contract": report.contract if report else None,
            "candidate": {
                "version": upcoming.version.version,
                "state": upcoming.state,
                "reason": upcoming.reason,
                "digest": upcoming.digest,
            }
            if upcoming
            else None,
            "image": self._image(report.image) if report and report.image else None,
            "last_death": self._last_death,
            "taken_back": asdict(self._lineup.ban) if self._lineup.ban else None,
            "memory_limit": self._settings.memory.limit,
            "stale_registry_since": self._follower.stale_since,
            "backup": self._backup.document(),
        }

    def _image(self, info: dict[str, Any]) -> dict[str, Any]:
        return {
            **info,
            "max_bytes": min(int(info.get("max_bytes", self._settings.max_bytes)), self._settings.max_bytes),
        }

    def _reason(self) -> str | None:
        """Return why no request can be answered, or None when one can."""
        serving = self._lineup.serving
        if serving is not None:
            return None if serving.ready else self._lineup.error
        if self._lineup.error or self._follower.problem:
            return self._lineup.error or self._follower.problem
        upcoming = self._lineup.upcoming
        if upcoming is not None and upcoming.version.version == self._lineup.wish.production:
            return f"Version {upcoming.version.version} is being loaded."
        if self._follower.stale_since is not None:
            return self._follower.stale_reason
        return f"No version of {self._settings.model} is in {self._settings.target.stage}."

    @contextlib.asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncIterator[None]:
        self._front = Front(self._settings, self._lineup, self._metrics)
        tasks = [
            asyncio.create_task(self._follower.run(), name="follower"),
            asyncio.create_task(self._backup.run(), name="backup age"),
        ]
        if self._settings.memory.limit is not None:
            tasks.append(asyncio.create_task(self._watch_memory(), name="memory"))
        event(
            "started",
            model=self._settings.model,
            role=self._settings.target.name,
            port=self._settings.port,
            memory_limit=self._settings.memory.limit,
        )
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._lineup.close()
            self._view.close()
            event("stopped")

    async def _watch_memory(self) -> None:
        while True:
            await asyncio.sleep(MEMORY_SECONDS)
            self._lineup.relieve()

    def _changed(self) -> None:
        self._follower.wake()

    def _died(self, death: dict[str, str]) -> None:
        self._last_death = death
        self._metrics.deaths.labels(death["cause"]).inc()

    async def _webhook(self, request: Request) -> Response:
        answer = await verified(request, self._settings.webhook_secret)
        if answer.status_code == ACCEPTED:
            self._follower.wake()
        return answer

    async def _forward(self, request: Request) -> Response:
        if self._front is None:
            raise RuntimeError("the application was not started")
        return await self._front.forward(request)

    async def _model(self, request: Request) -> Response:
        body = json.dumps(self.document(), separators=(",", ":")).encode()
        etag = f'"{hashlib.sha256(body).hexdigest()[:20]}"'
        headers = {"ETag": etag, "Cache-Control": "no-cache"}
        if etag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        return Response(body, headers=headers, media_type="application/json")

    async def _ready(self, _: Request) -> Response:
        reason = self._reason()
        since = self._follower.stale_since
        note = f"stale registry since {since}: {self._follower.stale_reason}"
        stale = {"stale_registry_since": since, "note": note} if since else {}
        if reason is not None:
            return JSONResponse({"ready": False, "reason": reason, **stale}, 503)
        return JSONResponse({"ready": True, **stale})

    async def _ping(self, _: Request) -> Response:
        return Response("\n", 200 if self._reason() is None else 503, media_type="application/json")

    async def _version(self, _: Request) -> Response:
        serving = self._lineup.serving
        report = serving.report if serving else None
        return Response((report.mlflow if report else "") or "", 200 if report else 503, media_type="text/plain")

    async def _prometheus(self, _: Request) -> Response:
        serving = self._lineup.serving
        version = serving.version.version if serving else None
        restarts = serving.restarts if serving else 0
        text = self._metrics.text(self._settings.model, version, restarts, self._backup.figures())
        return Response(text, headers={"Content-Type": self._metrics.content_type})
