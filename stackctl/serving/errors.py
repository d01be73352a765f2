"""The errors of the model server: of its HTTP interface (one code, one status), and between its processes."""

from __future__ import annotations

import json
from typing import Final

STATUS: Final[dict[str, int]] = {
    "bad_option": 400,
    "corrupt_image": 400,
    "not_an_image_model": 409,
    "too_large": 413,
    "unsupported_format": 415,
    "busy": 429,
    "internal": 500,
    "no_model": 503,
    "timeout": 504,
}
RETRY_AFTER_SECONDS: Final = 1
_TRY_LATER: Final = frozenset({"busy", "no_model"})


class ServingError(Exception):
    """A request that is answered with an error: ``code`` is one of ``STATUS``, the message is for the caller."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code if code in STATUS else "internal"
        self.message = message

    @property
    def status(self) -> int:
        """The HTTP status that belongs to the code."""
        return STATUS[self.code]

    @property
    def body(self) -> bytes:
        """The JSON document that is answered."""
        return json.dumps({"error": {"code": self.code, "message": self.message}}).encode()

    @property
    def headers(self) -> dict[str, str]:
        """The HTTP headers that belong to the answer."""
        later = {"Retry-After": str(RETRY_AFTER_SECONDS)} if self.code in _TRY_LATER else {}
        return {"Content-Type": "application/json", **later}


class Refused(Exception):
    """A version cannot be served; the message is the reason as a person reads it.

    Attributes:
        digest: what the digest of its files is, where they could be read.
        transient: the same version may work later (a download that failed).
    """

    def __init__(self, reason: str, *, digest: str | None = None, transient: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.digest = digest
        self.transient = transient


class ChildGone(Exception):
    """The process of a version died, or closed the connection, before it answered."""
