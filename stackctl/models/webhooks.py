"""The webhooks by which MLflow wakes the model servers: made and kept right over its REST API.

Polling stays the truth: MLflow queues its calls in memory, tries three times, and sees a new webhook up to a minute
late. A webhook only shortens the wait after a change of an alias.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, Literal

from stackctl.models.rest import Rest

EVENTS = (("MODEL_VERSION_ALIAS", "CREATED"), ("MODEL_VERSION_ALIAS", "DELETED"))
Outcome = Literal["created", "updated", "unchanged"]
_PAGE = 100
_MADE_BY = "Made by stackctl; it wakes a model server."


def ensure_webhook(rest: Rest, name: str, url: str, secret: str) -> Outcome:
    """Make sure that MLflow has exactly one webhook of this name, active, with this URL, secret and events.

    MLflow never tells a secret; a fingerprint of it in the description says whether it is still the one to use.

    Raises:
        Unhealthy: MLflow does not answer, or cannot read its webhooks.
        StackctlError: MLflow refused the webhook.
    """
    wanted = {
        "name": name,
        "url": url,
        "description": f"{_MADE_BY} Secret {hashlib.sha256(secret.encode()).hexdigest()[:12]}.",
        "events": [{"entity": entity, "action": action} for entity, action in EVENTS],
        "status": "ACTIVE",
    }
    found = [entry for entry in _webhooks(rest) if entry.get("name") == name]
    for surplus in found[1:]:
        rest.call("DELETE", f"webhooks/{surplus['webhook_id']}", body={})
    if not found:
        rest.call("POST", "webhooks", body={**wanted, "secret": secret})
        return "created"
    if _shown(found[0]) == _shown(wanted):
        return "unchanged"
    rest.call("PATCH", f"webhooks/{found[0]['webhook_id']}", body={**wanted, "secret": secret})
    return "updated"


def remove_webhooks(rest: Rest, prefix: str, *, but: frozenset[str] = frozenset()) -> list[str]:
    """Delete the webhooks whose names begin with ``prefix``, but those named; return the names of the deleted ones."""
    gone = []
    for entry in _webhooks(rest):
        name = str(entry.get("name"))
        if name.startswith(prefix) and name not in but:
            rest.call("DELETE", f"webhooks/{entry['webhook_id']}", body={})
            gone.append(name)
    return gone


def _webhooks(rest: Rest) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    token = ""
    while True:
        page: dict[str, str | int] = {"max_results": _PAGE, **({"page_token": token} if token else {})}
        answer = rest.get("webhooks", page)
        found += answer.get("webhooks", [])
        token = answer.get("next_page_token") or ""
        if not token:
            return found


def _shown(webhook: Mapping[str, Any]) -> tuple[Any, ...]:
    events = {(entry["entity"], entry["action"]) for entry in webhook.get("events") or ()}
    return webhook.get("url"), webhook.get("description"), webhook.get("status"), events
