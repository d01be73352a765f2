"""What a model server says of itself at ``GET /model``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, cast

from stackctl.errors import Unhealthy

if TYPE_CHECKING:
    import httpx

CandidateState = Literal["loading", "prepared", "refused"]
TIMEOUT = 5.0


@dataclass(frozen=True)
class Candidate:
    """The version a server prepares beside the one it serves."""

    version: str
    state: CandidateState
    reason: str | None = None
    digest: str | None = None


@dataclass(frozen=True)
class ServerView:
    """One model server, as it describes itself.

    Attributes:
        url: its address.
        name: the registered model it follows.
        version: the version it serves, or None.
        digest: the digest it computed over that version's files, or None.
        error: why it could not do what the registry asks for, or None.
        candidate: the version it prepares, or None.
        taken_back: the version that it went back from because it failed, and why; or None.
        document: all that it said.
    """

    url: str
    name: str
    version: str | None
    digest: str | None
    error: str | None
    candidate: Candidate | None
    document: Mapping[str, Any]
    taken_back: tuple[str, str] | None = None

    @classmethod
    def parse(cls, url: str, document: Mapping[str, Any]) -> ServerView:
        """Read the document of ``GET /model``."""
        entry = document.get("candidate")
        candidate = (
            Candidate(
                version=str(entry["version"]),
                state=cast("CandidateState", entry["state"]),
                reason=entry.get("reason"),
                digest=entry.get("digest"),
            )
            if entry
            else None
        )
        version, back = document.get("version"), document.get("taken_back")
        return cls(
            url=url,
            name=str(document.get("name") or ""),
            version=None if version is None else str(version),
            digest=document.get("digest"),
            error=document.get("error"),
            candidate=candidate,
            document=document,
            taken_back=(str(back["version"]), str(back.get("reason") or "it gave no reason")) if back else None,
        )


class ModelServer:
    """A model server, asked over HTTP.

    Args:
        url: its address.
        timeout: seconds for one question.
        transport: how requests travel (tests put their own here).
    """

    def __init__(self, url: str, *, timeout: float = TIMEOUT, transport: httpx.BaseTransport | None = None) -> None:
        self.url = url.rstrip("/")
        self._timeout = timeout
        self._transport = transport
        self._client: httpx.Client | None = None
        self._etag: str | None = None
        self._last: ServerView | None = None

    def view(self) -> ServerView:
        """Ask the server what it serves; an unchanged answer costs it nothing (ETag).

        Raises:
            Unhealthy: it cannot be reached, or what answers is no model server.
        """
        import httpx

        if self._client is None:
            self._client = httpx.Client(timeout=self._timeout, transport=self._transport)
        headers = {"If-None-Match": self._etag} if self._etag and self._last else {}
        try:
            answer = self._client.get(f"{self.url}/model", headers=headers)
        except (httpx.TransportError, httpx.InvalidURL) as error:
            raise Unhealthy(
                f"The model server at {self.url} cannot be reached: {error}.",
                "See `stackctl status` and `stackctl logs serving`; start the stack with `stackctl up`.",
            ) from error
        if answer.status_code == httpx.codes.NOT_MODIFIED and self._last is not None:
            return self._last
        try:
            document = answer.raise_for_status().json()
            self._last = ServerView.parse(self.url, document)
        except (httpx.HTTPStatusError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise Unhealthy(
                f"What answers at {self.url} is not a model server (HTTP {answer.status_code} at /model).",
                "Check the port serving in stack.yaml, and `stackctl logs serving`.",
            ) from error
        self._etag = answer.headers.get("ETag")
        return self._last

    def close(self) -> None:
        """Close its connections."""
        if self._client is not None:
            self._client.close()
            self._client = None
