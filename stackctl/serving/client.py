"""A model server, as commands see it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from stackctl.errors import StackctlError, Unhealthy

if TYPE_CHECKING:
    from types import TracebackType

    import httpx

CONNECT_SECONDS = 3.0
LOOK_SECONDS = 5.0
ANSWER_SECONDS = 120.0
OK, LOWEST_SERVER_ERROR = 200, 500
_LOGS_HINT = "See `stackctl status` and `stackctl logs serving`."


@dataclass(frozen=True)
class Served:
    """An upscaled image (encoded bytes), which version and run made it, and the server's report of how."""

    data: bytes
    content_type: str
    model: str
    version: str
    run_id: str
    digest: str
    meta: dict[str, Any] = field(default_factory=dict)


class ModelServerRefusal(StackctlError):
    """The server refused a request; ``error_code`` is its word for why (``too_large``, ``corrupt_image``, ...)."""

    def __init__(self, message: str, error_code: str) -> None:
        super().__init__(message)
        self.error_code = error_code


class ModelServerClient:
    """Calls to the model server at ``url``; safe to share between threads.

    Every call raises ``Unhealthy`` when the server cannot be reached or is not able to serve.
    """

    def __init__(
        self, url: str, *, timeout: float = ANSWER_SECONDS, transport: httpx.BaseTransport | None = None
    ) -> None:
        import httpx

        self.url = url.rstrip("/")
        self._http = httpx.Client(
            base_url=self.url,
            timeout=httpx.Timeout(timeout, connect=CONNECT_SECONDS),
            trust_env=False,
            transport=transport or httpx.HTTPTransport(retries=1),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close its connections."""
        self._http.close()

    def model(self) -> dict[str, Any]:
        """Return the document of ``/model``: which version serves, since when, the candidate, the last error."""
        answer = self._request("GET", "/model", timeout=LOOK_SECONDS)
        document = self._document(answer)
        if answer.status_code != OK or "version" not in document:
            raise Unhealthy(f"What answers at {self.url} is not a model server.", "Check the port in stack.yaml.")
        return document

    def ready(self) -> bool:
        """Return whether the server can answer requests for its model; False also when it cannot be reached."""
        try:
            return self._request("GET", "/ready", timeout=LOOK_SECONDS).status_code == OK
        except Unhealthy:
            return False

    def upscale(
        self,
        data: bytes,
        *,
        outscale: float = 0.0,
        format: str = "auto",  # noqa: A002 - the contract's word
        tile: int = 0,
        precision: str = "auto",
    ) -> Served:
        """Return ``data`` (an encoded image) upscaled.

        Args:
            data: the image.
            outscale: size of the result over the size of ``data``; 0 is the network's own scale.
            format: encoding of the result; ``auto`` keeps that of ``data``.
            tile: side of a tile in pixels; 0 leaves it to the server.
            precision: ``auto``, ``fp32`` or ``bf16``.

        Raises:
            ModelServerRefusal: the server refuses the image or an option.
        """
        params = {"outscale": str(outscale), "format": format, "tile": str(tile), "precision": precision}
        answer = self._request(
            "POST", "/v1/image", params=params, content=data, headers={"Content-Type": "application/octet-stream"}
        )
        if answer.status_code != OK:
            raise self._refusal(answer)
        said = answer.headers
        return Served(
            data=answer.content,
            content_type=said.get("Content-Type", ""),
            model=said.get("X-Stackctl-Model", ""),
            version=said.get("X-Stackctl-Model-Version", ""),
            run_id=said.get("X-Stackctl-Run", ""),
            digest=said.get("X-Stackctl-Digest", ""),
            meta=json.loads(said.get("X-Stackctl-Meta") or "{}"),
        )

    def _request(self, method: str, path: str, **options: Any) -> httpx.Response:
        import httpx

        try:
            return self._http.request(method, path, **options)
        except httpx.TimeoutException as error:
            raise Unhealthy(f"The model server at {self.url} did not answer {path} in time.", _LOGS_HINT) from error
        except httpx.TransportError as error:
            raise Unhealthy(f"The model server cannot be reached at {self.url}: {error}.", _LOGS_HINT) from error

    def _refusal(self, answer: httpx.Response) -> StackctlError:
        error = self._document(answer).get("error") or {}
        message = str(error.get("message") or f"The model server answered HTTP {answer.status_code}.")
        if answer.status_code >= LOWEST_SERVER_ERROR:
            return Unhealthy(message, _LOGS_HINT)
        return ModelServerRefusal(message, str(error.get("code") or "internal"))

    def _document(self, answer: httpx.Response) -> dict[str, Any]:
        try:
            document = answer.json()
        except ValueError:
            return {}
        return document if isinstance(document, dict) else {}
