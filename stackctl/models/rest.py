"""MLflow's REST API over HTTP: one call, one JSON document; what goes wrong becomes an error a person can act on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stackctl.errors import StackctlError, Unhealthy

if TYPE_CHECKING:
    import httpx

API = "/api/2.0/mlflow/"
TIMEOUT = 10.0
UPLOAD_TIMEOUT = 120.0
NOT_FOUND = "RESOURCE_DOES_NOT_EXIST"
_UP_HINT = "See what runs with `stackctl status`; start the stack with `stackctl up`."


class RestError(StackctlError):
    """MLflow answered with an error of its own; ``error_code`` is its word for it."""

    def __init__(self, message: str, error_code: str, hint: str | None = None) -> None:
        super().__init__(message, hint)
        self.error_code = error_code


class Rest:
    """Calls to one MLflow server.

    Args:
        uri: the server's URL.
        token: bearer token, or None.
        timeout: seconds for one call.
        transport: how requests travel (tests put their own here).
    """

    def __init__(
        self,
        uri: str,
        token: str | None = None,
        *,
        timeout: float = TIMEOUT,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self.uri = uri.rstrip("/")
        self._token = token
        self._timeout = timeout
        self._transport = transport
        self._client: httpx.Client | None = None

    def get(self, endpoint: str, params: Mapping[str, str | int] | None = None) -> dict[str, Any]:
        """Return what a reading endpoint answers, for instance ``registered-models/get``."""
        return self.call("GET", endpoint, params=params)

    def call(
        self,
        method: str,
        endpoint: str,
        *,
        params: Mapping[str, str | int] | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Call one endpoint and return its JSON document.

        Raises:
            Unhealthy: the server does not answer, fails, or is no MLflow server.
            RestError: MLflow refused the call.
        """
        return self._document(self._send(method, f"{self.uri}{API}{endpoint}", params=params, json=body))

    def upload(self, url: str, file: Path) -> None:
        """Put a file to a URL of the server's artifact proxy; raises as ``call`` does."""
        with file.open("rb") as stream:
            headers = {"Content-Type": "application/octet-stream"}
            answer = self._send("PUT", url, content=stream, headers=headers, timeout=UPLOAD_TIMEOUT)
        if not answer.is_success:  # a success says nothing
            self._document(answer)

    def _send(self, method: str, url: str, **what: Any) -> httpx.Response:
        import httpx

        try:
            return self._http().request(method, url, **what)
        except httpx.TimeoutException as error:
            message = f"MLflow at {self.uri} did not answer within {self._timeout:.0f} s."
            raise Unhealthy(message, _UP_HINT) from error
        except (httpx.TransportError, httpx.InvalidURL) as error:
            raise Unhealthy(f"MLflow cannot be reached at {self.uri}: {error}.", _UP_HINT) from error

    def close(self) -> None:
        """Close its connections."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def _http(self) -> httpx.Client:
        if self._client is None:
            import httpx

            headers = {"Authorization": f"Bearer {self._token}"} if self._token else {}
            self._client = httpx.Client(headers=headers, timeout=self._timeout, transport=self._transport)
        return self._client

    def _document(self, answer: httpx.Response) -> dict[str, Any]:
        try:
            document = answer.json()
        except ValueError:
            document = None
        if answer.is_success and isinstance(document, dict):
            return document
        if answer.status_code in {401, 403}:
            raise StackctlError(
                f"MLflow at {self.uri} refused access (HTTP {answer.status_code}).",
                "Check the token in secrets/mlflow_token (or MLFLOW_TRACKING_TOKEN), and the server's allowed hosts.",
            )
        if isinstance(document, dict) and answer.is_client_error and "error_code" in document:
            raise RestError(str(document.get("message") or document["error_code"]), str(document["error_code"]))
        if answer.is_server_error:
            raise Unhealthy(f"MLflow at {self.uri} failed (HTTP {answer.status_code}).", "See `stackctl logs mlflow`.")
        raise Unhealthy(
            f"What answers at {self.uri} is not an MLflow server (HTTP {answer.status_code}).",
            "Check the port or tracking_uri in stack.yaml.",
        )
