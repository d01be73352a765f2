"""Tells a Healthchecks-style address that a backup started, succeeded or failed; its silence is an alarm elsewhere."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import httpx

Signal = Literal["start", "success", "failure"]

_PATHS: dict[Signal, str] = {"start": "/start", "success": "", "failure": "/fail"}
_TIMEOUT = 5.0
_TRIES = 3
_PAUSE = 1.0
_LONGEST_BODY = 10_000


def ping(
    url: str | None, signal: Signal, text: str = "", *, transport: httpx.BaseTransport | None = None
) -> str | None:
    """Send one signal and return why it could not be sent, or None.

    Args:
        url: the check's address; None: nobody wants to know.
        signal: what happened.
        text: what the receiver keeps with it.
        transport: how the request travels (tests put their own here).
    """
    if url is None:
        return None
    import httpx

    problem = ""
    with httpx.Client(timeout=_TIMEOUT, transport=transport) as client:
        for attempt in range(_TRIES):
            if attempt:
                time.sleep(_PAUSE)
            try:
                answer = client.post(f"{url.rstrip('/')}{_PATHS[signal]}", content=text[-_LONGEST_BODY:].encode())
            except (httpx.HTTPError, httpx.InvalidURL) as error:
                problem = str(error) or type(error).__name__
                continue
            if answer.is_success:
                return None
            problem = f"HTTP {answer.status_code}"
    return f"The ping of {signal} did not arrive: {problem}."
