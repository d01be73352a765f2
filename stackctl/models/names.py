"""Names of models and versions, and nothing else, as fast as they can be had: a shell waits for them.

It speaks HTTP through the standard library: importing the client that the rest of this room uses takes longer than the
whole answer may.
"""

from __future__ import annotations

import http.client
import json
from typing import Any, Self
from urllib.parse import urlencode, urlsplit

from stackctl.models.rest import API
from stackctl.stack import Stack

_PAGE = 200


def models(stack: Stack, *, timeout: float) -> list[str]:
    """Return the names of the registered models.

    Raises:
        OSError, ValueError, KeyError: the registry does not answer in time, or not as MLflow does.
    """
    with _Connection(stack, timeout) as registry:
        found = registry.get("registered-models/search", max_results=_PAGE)
    return sorted(entry["name"] for entry in found.get("registered_models", []))


def versions(stack: Stack, model: str, *, timeout: float) -> list[tuple[str, str]]:
    """Return the words that name a version of a model, each with what it is: numbers (newest first), latest, aliases.

    Raises:
        OSError, ValueError, KeyError: the registry does not answer in time, or not as MLflow does.
    """
    quote = '"' if "'" in model else "'"
    with _Connection(stack, timeout) as registry:
        listed = registry.get("model-versions/search", filter=f"name={quote}{model}{quote}", max_results=_PAGE)
        aliases = registry.get("registered-models/get", name=model)["registered_model"].get("aliases", [])
    stages = {int(entry["version"]): entry.get("current_stage", "None") for entry in listed.get("model_versions", [])}
    numbers = sorted(stages, reverse=True)
    words = [(str(number), stages[number] if stages[number] != "None" else "version") for number in numbers]
    words += [("latest", f"version {numbers[0]}")] if numbers else []
    return words + sorted((f"@{entry['alias']}", f"version {entry['version']}") for entry in aliases)


class _Connection:
    def __init__(self, stack: Stack, timeout: float) -> None:
        parts = urlsplit(stack.endpoints.registry)
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self._http = kind(parts.hostname or "", parts.port, timeout=timeout)
        self._base = parts.path.rstrip("/") + API
        token = stack.mlflow_token()
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def get(self, endpoint: str, **params: str | int) -> dict[str, Any]:
        self._http.request("GET", f"{self._base}{endpoint}?{urlencode(params)}", headers=self._headers)
        answer = self._http.getresponse()
        document = json.loads(answer.read())
        if answer.status != http.client.OK or not isinstance(document, dict):
            raise ValueError(f"HTTP {answer.status}")
        return document
