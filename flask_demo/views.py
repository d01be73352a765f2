"""The pages and the few calls behind them."""

from __future__ import annotations

from flask import (
    Blueprint,
    Response,
    abort,
    g,
    json,
    make_response,
    redirect,
    render_template,
    request,
    send_file,
    url_for,
)
from flask_limiter import Limiter

from flask_demo import errors
from flask_demo.photos import read_photo, result_bytes, result_page
from flask_demo.state import DemoState


def make_blueprint(state: DemoState, limiter: Limiter) -> Blueprint:
    """Return the demo's routes, bound to `state`."""
    blueprint = Blueprint("demo", "flask_demo")

    @blueprint.get("/")
    def index() -> str:
        return render_template("index.html", alert=None, **state.page())

    @blueprint.get("/healthz")
    def healthz() -> Response:
        return Response('{"status":"ok"}', mimetype="application/json")

    @blueprint.get("/model")
    def model() -> Response:
        panels = {name: panel and panel.to_dict() for name, panel in state.panels().items()}
        response = Response(json.dumps({"schema_version": 1, **panels}), mimetype="application/json")
        response.headers["Cache-Control"] = "no-cache"
        response.add_etag()
        response.make_conditional(request)
        return response

    @blueprint.get("/live")
    def live() -> str:
        # The parts of the page that tell what serves, for a page that is open while that changes.
        return render_template("live.html", **state.panels())

    @blueprint.get("/samples/<name>")
    def sample(name: str) -> Response:
        path = state.samples().get(name) or abort(404)
        return send_file(path, max_age=3600)

    @blueprint.get("/upscale")
    def upscale_again() -> Response:
        return make_response(redirect(url_for("demo.index")))

    @blueprint.post("/upscale")
    @limiter.limit(state.config.rate)
    def upscale() -> Response:
        return upscale_for_page(state) if wants_page() else upscale_for_script(state)

    return blueprint


def upscale_for_script(state: DemoState) -> Response:
    """Answer one photo with the bytes of one server's result: production's, or the one that `to` names."""
    server = state.server(request.form.get("to") or state.production.target.name)
    photo = read_photo(state)
    result = server.upscale(photo.content, encoding=photo.accepted.ask)
    g.version = result.version
    return result_bytes(state, photo, result)


def upscale_for_page(state: DemoState) -> Response:
    """Answer one photo with a page; with `compare`, both servers' results are on it."""
    photo = read_photo(state)
    result = state.production.upscale(photo.content, encoding=photo.accepted.ask)
    g.version = result.version
    results, alert = [(state.production.target.stage, result)], None
    if request.form.get("compare"):
        try:
            staging = state.server("staging")
            results.append((staging.target.stage, staging.upscale(photo.content, encoding=photo.accepted.ask)))
        except errors.DemoError as error:
            alert = error
    return result_page(state, photo, results, alert)


def wants_page() -> bool:
    """Say whether the client is a browser posting the plain form (a script asks for JSON or an image)."""
    return request.accept_mimetypes.best_match(["application/json", "text/html"]) == "text/html"


def remember_error(error: errors.DemoError) -> None:
    """Keep the error's code for the access log."""
    g.error = error.code
