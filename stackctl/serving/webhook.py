"""MLflow's webhook: a signed hint that the registry changed. It only shortens the pause between two looks."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import time
from collections.abc import Mapping
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response

from stackctl.serving.events import event

SIGNATURE = "x-mlflow-signature"
DELIVERY = "x-mlflow-delivery-id"
TIMESTAMP = "x-mlflow-timestamp"
SCHEME = "v1"
FRESH_SECONDS = 300
LONGEST_BODY = 256 * 1024


def signed_by(secret: str, headers: Mapping[str, str], body: bytes, *, now: float) -> bool:
    """Return whether a request bears a fresh signature made with ``secret``.

    MLflow signs ``base64(HMAC-SHA256(secret, "delivery id.timestamp.body"))``; its header may list several, as
    https://www.standardwebhooks.com has it.
    """
    delivery, timestamp = headers.get(DELIVERY, ""), headers.get(TIMESTAMP, "")
    if not timestamp.isascii() or not timestamp.isdecimal() or len(timestamp) > 20:
        return False
    if abs(now - int(timestamp)) > FRESH_SECONDS:
        return False
    content = f"{delivery}.{timestamp}.".encode() + body
    wanted = hmac.new(secret.encode(), content, hashlib.sha256).digest()
    good = False
    for word in headers.get(SIGNATURE, "").split():
        scheme, _, text = word.partition(",")
        try:
            given = base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            continue
        good |= hmac.compare_digest(given, wanted) and scheme == SCHEME
    return good


async def verified(request: Request, secret_file: Path | None) -> Response:
    """Return 204 for a signed webhook; 401 unsigned or stale, 404 where no secret is set, 503 where it cannot be read.

    The secret is read anew each time, so that it can be replaced while the server runs.
    """
    if secret_file is None:
        return Response("This server takes no webhooks.\n", 404, media_type="text/plain")
    secret = _secret(secret_file)
    if not secret:
        return Response("The webhook's secret cannot be read.\n", 503, media_type="text/plain")
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > LONGEST_BODY:
            return Response("The webhook's body is too large.\n", 413, media_type="text/plain")
    if not signed_by(secret, request.headers, body, now=time.time()):
        return Response("The signature is missing, wrong or old.\n", 401, media_type="text/plain")
    return Response(status_code=204)


def _secret(file: Path) -> str:
    try:
        return file.read_text().strip()
    except OSError as error:
        event("webhook_secret_unreadable", reason=str(error))
        return ""
