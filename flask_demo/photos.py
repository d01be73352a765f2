"""The photo of a form, and the result as bytes with headers or as a page."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from flask import Response, json, make_response, render_template, request, url_for
from werkzeug.utils import secure_filename

from flask_demo import errors
from flask_demo.formats import Accepted, sniff
from flask_demo.model_server import Upscaled
from flask_demo.panel import Links, mlflow_links
from flask_demo.security import INLINE_POLICY
from flask_demo.state import DemoState

META_KEYS = ("width", "height", "out_width", "out_height", "backend", "precision", "seconds")


@dataclass(frozen=True)
class Photo:
    """What was sent: encoded bytes, what they are, and the stem of the file's name for the download."""

    content: bytes
    accepted: Accepted
    stem: str


@dataclass(frozen=True)
class Shown:
    """One result on a page without JavaScript: an image as a data URL, and who made it."""

    stage: str
    result: Upscaled
    url: str
    download: str
    links: Links
    meta: dict[str, Any]


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


def result_page(
    state: DemoState, photo: Photo, results: Sequence[tuple[str, Upscaled]], alert: errors.DemoError | None
) -> Response:
    """Return results (stage, result) as a page, for a browser without JavaScript; nothing is kept on the server."""
    shown = [
        Shown(
            stage,
            result,
            data_url(result.content, result.content_type),
            download_name(photo, result),
            mlflow_links(state.config.mlflow_url, result.model, result.version, result.run_id),
            shown_meta(result),
        )
        for stage, result in results
    ]
    before = data_url(photo.content, photo.accepted.content_type)
    page = render_template(
        "result.html", before=before, shown=shown, alert=alert, home=url_for("demo.index"), **state.page()
    )
    response = make_response(page)
    response.headers["Content-Security-Policy"] = INLINE_POLICY
    return response


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
