"""The application factory: one Flask app from one configuration."""

from __future__ import annotations

import math
import time
from http import HTTPStatus
from typing import Any

from flask import Flask, Response, json, make_response, render_template, request
from flask_limiter import Limiter, RateLimitExceeded
from flask_wtf.csrf import CSRFError
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge
from werkzeug.middleware.proxy_fix import ProxyFix

from flask_demo import errors
from flask_demo.access_log import add_access_log, stderr_logger
from flask_demo.config import DemoConfig
from flask_demo.errors import DemoError
from flask_demo.panel import comparable, labels, say_when
from flask_demo.security import MemoryRequest, protect
from flask_demo.state import DemoState
from flask_demo.views import make_blueprint, remember_error, wants_page

# What a multipart form adds to the file itself: boundaries, headers, the CSRF token.
FORM_OVERHEAD = 64 * 1024


def create_app(config: DemoConfig) -> Flask:
    """Return the demo as a WSGI application; it connects to nothing until a request comes."""
    app = Flask("flask_demo")
    app.request_class = MemoryRequest
    app.config.update(
        SECRET_KEY=config.secret_key,
        MAX_CONTENT_LENGTH=config.max_upload_bytes + FORM_OVERHEAD,
        # Cookies know no ports: two stacks on one host must not overwrite each other's session.
        SESSION_COOKIE_NAME=f"{config.name}_{config.port}_demo",
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Lax",
        WTF_CSRF_TIME_LIMIT=None,
    )
    if config.trusted_proxies:
        hops = config.trusted_proxies
        app.wsgi_app = ProxyFix(  # type: ignore[method-assign]
            app.wsgi_app, x_for=hops, x_proto=hops, x_host=hops, x_prefix=hops
        )
    add_access_log(app, stderr_logger())
    state = DemoState.of(config)
    limiter = protect(app)
    app.register_blueprint(make_blueprint(state, limiter))
    app.add_template_filter(say_when, "when")
    app.add_template_global(labels, "labels")
    app.add_template_global(comparable, "comparable")
    _answer_errors(app, state, limiter)
    return app


def _answer_errors(app: Flask, state: DemoState, limiter: Limiter) -> None:
    def answer(error: DemoError) -> Response:
        remember_error(error)
        if wants_page():
            response = make_response(render_template("index.html", alert=error, **state.page()))
        else:
            response = Response(json.dumps({"error": error.to_dict()}), mimetype="application/json")
        response.status_code = error.status
        if error.retry_after is not None:
            response.headers["Retry-After"] = str(error.retry_after)
        return response

    def too_large(_: RequestEntityTooLarge) -> Response:
        return answer(errors.too_many_bytes(state.config.max_upload_bytes))

    def too_often(_: RateLimitExceeded) -> Response:
        # The window moves: the next photo may go as soon as the oldest one falls out of it.
        free_at = limiter.current_limit.reset_at if limiter.current_limit else time.time() + 60
        return answer(errors.too_often(max(1, math.ceil(free_at - time.time()))))

    def stale(_: CSRFError) -> Response:
        return answer(errors.stale_page())

    def other(error: HTTPException) -> Any:
        if request.path.startswith("/static/"):
            return error
        status = error.code or 500
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            message = "The demo itself failed. Its log says why."
            return answer(DemoError(status, "internal", message, hint="Run:", command="stackctl logs demo"))
        return answer(DemoError(status, "http", f"{error.name}.", hint="The demo lives at the start page."))

    app.register_error_handler(DemoError, answer)
    app.register_error_handler(RequestEntityTooLarge, too_large)
    app.register_error_handler(RateLimitExceeded, too_often)
    app.register_error_handler(CSRFError, stale)
    app.register_error_handler(HTTPException, other)
