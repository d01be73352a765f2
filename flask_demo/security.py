"""Headers, the in-memory request, CSRF and the rate limit."""

from __future__ import annotations

from io import BytesIO
from typing import IO

from flask import Flask, Request, Response
from flask_limiter import Limiter
from flask_limiter.util import get_remote_address
from flask_wtf.csrf import CSRFProtect

REST = "object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
# blob: the script shows the chosen photo and the result from memory.
POLICY = f"default-src 'self'; img-src 'self' blob:; {REST}"
# data: without a script the photos are inside the page itself, since nothing is kept to link to.
INLINE_POLICY = f"default-src 'self'; script-src 'none'; img-src 'self' data:; {REST}"
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class MemoryRequest(Request):
    """A request whose uploaded files stay in memory; werkzeug's own spools them to disk from 500 kB."""

    def _get_file_stream(self, *_: object, **__: object) -> IO[bytes]:
        return BytesIO()


def protect(app: Flask) -> Limiter:
    """Add headers, CSRF and a rate limiter to `app`; returns the limiter for the views that need it."""
    limiter = Limiter(get_remote_address, app=app, storage_uri="memory://", strategy="moving-window")
    CSRFProtect(app)
    app.after_request(_add_headers)
    return limiter


def _add_headers(response: Response) -> Response:
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    # Static files bring their own; a photo or a page must not stay in a cache.
    response.headers.setdefault("Cache-Control", "no-store")
    return response
