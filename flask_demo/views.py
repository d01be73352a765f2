"""The pages and the few calls behind them."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

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
from werkzeug.utils import secure_filename

from flask_demo import errors
from flask_demo.config import DemoConfig
from flask_demo.formats import Accepted, sniff
from flask_demo.model_server import ModelServer, Upscaled
from flask_demo.panel import mlflow_links, read_panel

SAMPLE_SUFFIXES = {".png", ".jpg", ".jpeg", ".webp"}
META_KEYS = ("width", "height", "out_width", "out_height", "backend", "precision", "seconds")


@dataclass(frozen=True)
class DemoState:
    """What the views work with."""

    config: DemoConfig
    server: ModelServer

    def samples(self) -> dict[str, Path]:
        """Return the sample photos, file name -> path, in the order of their names."""
        if not self.config.samples.is_dir():
            return {}
        files = sorted(path for path in self.config.samples.iterdir() if path.suffix.lower() in SAMPLE_SUFFIXES)
        return {path.name: path for path in files}

    def page(self) -> dict[str, Any]:
        """Return what every page needs beside the panel."""
        return {
            "stack": self.config.name,
            "limit": self.config.max_upload_bytes,
            "limit_text": errors.megabytes(self.config.max_upload_bytes),
            "formats": errors.FORMATS,
            "poll_ms": int(self.config.poll_seconds * 1000),
            "samples": [(name, spoken_name(name)) for name in self.samples()],
        }


@dataclass(frozen=True)
class Photo:
    """What was sent: encoded bytes, what they are, and the stem of the file's name for the download."""

    content: bytes
    accepted: Accepted
    stem: str


def make_blueprint(state: DemoState, limiter: Limiter) -> Blueprint:
    """Return the demo's routes, bound to `state`."""
    blueprint = Blueprint("demo", "flask_demo")

    @blueprint.get("/")
    def index() -> str:
        panel = read_panel(state.server, state.config.mlflow_url)
        return render_template("index.html", panel=panel, alert=None, **state.page())

    @blueprint.get("/healthz")
    def healthz() -> Response:
        return Response('{"status":"ok"}', mimetype="application/json")

    @blueprint.get("/api/model")
    def model() -> Response:
        panel = read_panel(state.server, state.config.mlflow_url)
        response = Response(json.dumps(panel.to_dict()), mimetype="application/json")
        response.headers["Cache-Control"] = "no-cache"
        response.add_etag()
        response.make_conditional(request)
        return response

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
        photo = read_photo(state)
        result = state.server.upscale(photo.content, encoding=photo.accepted.ask)
        g.version = result.version
        return result_page(state, photo, result) if wants_page() else result_bytes(state, photo, result)

    return blueprint


def wants_page() -> bool:
    """Say whether the client is a browser posting the plain form (a script asks for JSON or an image)."""
    return request.accept_mimetypes.best_match(["application/json", "text/html"]) == "text/html"


def remember_error(error: errors.DemoError) -> None:
    """Keep the error's code for the access log."""
    g.error = error.code


def read_photo(state: DemoState) -> Photo:
    """Return the photo of the form: the file, or the sample it names; raises DemoError with the reason."""
    sample = request.form.get("sample")
    upload = request.files.get("photo")
    if sample:
        path = state.samples().get(sample)
        if path is None:
            raise errors.no_photo()
        content, name = path.read_bytes(), sample
    elif upload and upload.filename:
        content, name = upload.read(), upload.filename
    else:
        raise errors.no_photo()
    if not content:
        raise errors.empty_photo()
    if len(content) > state.config.max_upload_bytes:
        raise errors.too_many_bytes(state.config.max_upload_bytes)
    accepted = sniff(content)
    if accepted is None:
        raise errors.wrong_format(content)
    return Photo(content, accepted, PurePath(secure_filename(name)).stem or "photo")


def result_bytes(state: DemoState, photo: Photo, result: Upscaled) -> Response:
    """Return the result itself; the headers say which version and run made it."""
    links = mlflow_links(state.config.mlflow_url, result.model, result.version, result.run_id)
    response = Response(result.content, content_type=result.content_type)
    response.headers["X-Stackctl-Model"] = result.model
    response.headers["X-Stackctl-Model-Version"] = result.version
    response.headers["X-Stackctl-Run"] = result.run_id
    response.headers["X-Stackctl-Meta"] = json.dumps(shown_meta(result), separators=(",", ":"))
    response.headers["X-Demo-Version-Url"] = links.version
    response.headers["X-Demo-Run-Url"] = links.run
    response.headers["Content-Disposition"] = f'inline; filename="{download_name(photo, result)}"'
    return response


def result_page(state: DemoState, photo: Photo, result: Upscaled) -> Response:
    """Return the result as a page of its own, for a browser without JavaScript; nothing is kept on the server."""
    return make_response(
        render_template(
            "result.html",
            panel=read_panel(state.server, state.config.mlflow_url),
            before=data_url(photo.content, photo.accepted.content_type),
            after=data_url(result.content, result.content_type),
            result=result,
            meta=shown_meta(result),
            links=mlflow_links(state.config.mlflow_url, result.model, result.version, result.run_id),
            download=download_name(photo, result),
            home=url_for("demo.index"),
            **state.page(),
        )
    )


def download_name(photo: Photo, result: Upscaled) -> str:
    """Return a file name that tells what was done: NAME_x4_v2.png."""
    meta = shown_meta(result)
    scale = f"_x{meta['out_width'] / meta['width']:g}" if meta.get("width") and meta.get("out_width") else "_upscaled"
    version = secure_filename(result.version)
    suffix = secure_filename(result.content_type.partition(";")[0].removeprefix("image/")).replace("jpeg", "jpg")
    return f"{photo.stem}{scale}{f'_v{version}' if version else ''}.{suffix}"


def shown_meta(result: Upscaled) -> dict[str, Any]:
    """Return the parts of the server's report that the page shows."""
    return {key: result.meta[key] for key in META_KEYS if key in result.meta}


def data_url(content: bytes, content_type: str) -> str:
    """Return `content` as a data URL."""
    return f"data:{content_type};base64,{base64.b64encode(content).decode('ascii')}"


def spoken_name(file_name: str) -> str:
    """Return what to call a sample photo: "city_street-2.jpg" is "City street 2"."""
    return PurePath(file_name).stem.replace("_", " ").replace("-", " ").capitalize()
