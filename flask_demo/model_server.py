"""The model server as the demo sees it: two HTTP calls, their answers as data."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx

from flask_demo import errors
from flask_demo.targets import PRODUCTION, Target

DEFAULT_MODEL = "super-resolution"
LONGEST_META = 4096


@dataclass(frozen=True)
class Candidate:
    """A version the server prepares beside the one that serves; `state` is loading, prepared or refused."""

    version: str
    state: str
    reason: str | None


@dataclass(frozen=True)
class TakenBack:
    """A version that failed while it served, and why; the one before it serves again."""

    version: str
    reason: str


@dataclass(frozen=True)
class Backup:
    """What the server says of backups: `problem` is why their age is an alarm (None: it is none)."""

    problem: str | None
    newest_verified: str | None


@dataclass(frozen=True)
class ServedModel:
    """What `GET /model` says: the version that serves (None: none does) and what is known of it."""

    name: str
    version: str | None = None
    run_id: str | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    promoted_at: str | None = None
    since: str | None = None
    error: str | None = None
    contract: str | None = None
    candidate: Candidate | None = None
    scale: int | None = None
    max_input_pixels: int | None = None
    stale_since: str | None = None
    evaluation: str | None = None
    taken_back: TakenBack | None = None
    backup: Backup | None = None

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> ServedModel:
        """Return the model of a `GET /model` document; what is missing there is None here."""
        candidate = document.get("candidate")
        taken_back = document.get("taken_back")
        backup = document.get("backup")
        image = document.get("image") or {}
        metrics = document.get("metrics") or {}
        return cls(
            name=str(document.get("name") or DEFAULT_MODEL),
            version=_text(document.get("version")),
            run_id=_text(document.get("run_id")),
            metrics={str(key): float(value) for key, value in metrics.items() if isinstance(value, int | float)},
            promoted_at=_text(document.get("promoted_at")),
            since=_text(document.get("since")),
            error=_text(document.get("error")),
            contract=_text(document.get("contract")),
            candidate=Candidate(
                str(candidate.get("version")), str(candidate.get("state")), _text(candidate.get("reason"))
            )
            if candidate
            else None,
            scale=image.get("scale"),
            max_input_pixels=image.get("max_input_pixels"),
            stale_since=_text(document.get("stale_registry_since")),
            evaluation=_text(document.get("evaluation_digest")),
            taken_back=TakenBack(str(taken_back.get("version")), str(taken_back.get("reason"))) if taken_back else None,
            backup=Backup(_text(backup.get("problem")), _text(backup.get("newest_verified"))) if backup else None,
        )


@dataclass(frozen=True)
class Upscaled:
    """A result and who made it; `meta` is the server's report (sizes in pixels, seconds, backend)."""

    content: bytes
    content_type: str
    model: str
    version: str
    run_id: str
    meta: Mapping[str, Any]


class ModelServer:
    """Speaks to the model server of one `target` at `base_url`; safe to share between threads.

    Every call raises `DemoError` with a sentence when the server is away or refuses.
    """

    def __init__(
        self, base_url: str, *, timeout: float, connect_timeout: float = 3.0, target: Target = PRODUCTION
    ) -> None:
        """Wait at most `timeout` seconds for a result and `connect_timeout` seconds for a connection."""
        self.target = target
        self._short = httpx.Timeout(connect_timeout)
        # No connection is kept: one from before may be closed by a server that restarted meanwhile.
        self._http = httpx.Client(
            base_url=base_url,
            timeout=httpx.Timeout(timeout, connect=connect_timeout),
            limits=httpx.Limits(max_keepalive_connections=0),
            trust_env=False,
        )

    def model(self) -> ServedModel:
        """Return what serves now; a server that answers something else counts as away."""
        try:
            answer = self._http.get("/model", timeout=self._short)
            document = answer.json() if answer.status_code == httpx.codes.OK else None
        except (httpx.TransportError, ValueError):
            document = None
        if not isinstance(document, dict):
            raise errors.unreachable(self.target)
        return ServedModel.from_json(document)

    def upscale(self, data: bytes, *, encoding: str = "auto") -> Upscaled:
        """Return `data` (an encoded image) upscaled, encoded as `encoding` ("auto": as it came)."""
        try:
            answer = self._http.post(
                "/v1/image",
                params={"format": encoding},
                content=data,
                headers={"Content-Type": "application/octet-stream"},
            )
        except httpx.ReadTimeout as error:
            raise errors.timeout() from error
        except httpx.TransportError as error:
            raise errors.unreachable(self.target) from error
        content_type = answer.headers.get("Content-Type", "")
        if answer.status_code != httpx.codes.OK or not content_type.startswith("image/"):
            raise self._refusal(answer)
        return Upscaled(
            content=answer.content,
            content_type=content_type,
            model=answer.headers.get("X-Stackctl-Model", DEFAULT_MODEL),
            version=answer.headers.get("X-Stackctl-Model-Version", ""),
            run_id=answer.headers.get("X-Stackctl-Run", ""),
            meta=_meta(answer.headers.get("X-Stackctl-Meta", "")),
        )

    def _refusal(self, answer: httpx.Response) -> errors.DemoError:
        try:
            told = answer.json()["error"]
            code, message = str(told["code"]), str(told["message"])
        except (ValueError, KeyError, TypeError):
            code, message = "internal", ""
        wait = answer.headers.get("Retry-After", "")
        try:
            served = self.model()
        except errors.DemoError:
            served = ServedModel(name=DEFAULT_MODEL)
        return errors.from_server(
            answer.status_code,
            code,
            message,
            model=served.name,
            serves=served.version is not None,
            retry_after=int(wait) if wait.isdecimal() else None,
            target=self.target,
        )


def _text(value: object) -> str | None:
    return None if value is None or value == "" else str(value)


def _meta(text: str) -> Mapping[str, Any]:
    if not text or len(text) > LONGEST_META:
        return {}
    try:
        document = json.loads(text)
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}
