"""The HTTP application of a child: MLflow's own scoring app, with ``POST /v1/image`` beside it."""

from __future__ import annotations

import asyncio
import json
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from starlette.applications import Starlette
from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from stackctl.serving.errors import STATUS, ServingError
from stackctl.serving.events import event
from stackctl.serving.golden import ImageModel
from stackctl.serving.spec import ChildSpec

LONGEST_WORD = 40
MAGIC = (
    (b"\x89PNG", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"II*\0", "image/tiff"),
    (b"MM\0*", "image/tiff"),
    (b"BM", "image/bmp"),
    (b"RIFF", "image/webp"),
)


def build(spec: ChildSpec, digest: str, scoring: Starlette, model: ImageModel | None) -> ASGIApp:
    """Return the application; ``model`` is None for a version that is no image model.

    Every answer names the version, the run and the digest of the process that made it.
    """
    pool = ThreadPoolExecutor(spec.concurrency, thread_name_prefix="image")

    async def answer(data: bytes, query: QueryParams) -> tuple[bytes, dict[str, Any]]:
        if model is None:
            raise ServingError(
                "not_an_image_model",
                f"{spec.name} version {spec.version} is not an image model; it answers /invocations only.",
            )
        if len(data) > spec.max_bytes:
            raise ServingError("too_large", f"The image has {len(data)} bytes; at most {spec.max_bytes} are accepted.")
        options = _options(query)
        return await asyncio.get_running_loop().run_in_executor(pool, lambda: _upscaled(model, data, options))

    async def image(request: Request) -> Response:
        try:
            content, report = await answer(await request.body(), request.query_params)
        except ServingError as error:
            return Response(error.body, error.status, error.headers)
        meta = json.dumps(report, separators=(",", ":"))
        return Response(content, headers={"X-Stackctl-Meta": meta}, media_type=_media_type(content))

    scoring.add_exception_handler(RecursionError, _nested_too_deeply)
    app = Starlette(routes=[Route("/v1/image", image, methods=["POST"]), Mount("/", scoring)])
    return _Named(app, spec, digest)


async def _nested_too_deeply(_: Request, __: Exception) -> Response:
    """Answer JSON that Python's parser gives up on, which MLflow's app would take for an error of its own."""
    error = ServingError("bad_option", "The request's JSON is nested too deeply.")
    return Response(error.body, error.status, error.headers)


class _Named:
    """Adds the version's name to every answer."""

    def __init__(self, app: ASGIApp, spec: ChildSpec, digest: str) -> None:
        self._app = app
        self._headers = [
            (b"x-stackctl-model", spec.name.encode()),
            (b"x-stackctl-model-version", spec.version.encode()),
            (b"x-stackctl-run", (spec.run_id or "").encode()),
            (b"x-stackctl-digest", digest.encode()),
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def named(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *self._headers]
            await send(message)

        await self._app(scope, receive, named)


def _options(query: QueryParams) -> dict[str, Any]:
    def word(name: str) -> str:
        return (query.get(name) or "auto")[:LONGEST_WORD]  # the model says it again where it does not know it

    def number(name: str, kind: Callable[[str], float], what: str) -> Any:
        text = query.get(name) or "0"
        try:
            return kind(text)
        except ValueError:
            raise ServingError("bad_option", f"{name} must be {what}, not {text[:LONGEST_WORD]!r}.") from None

    return {
        "outscale": number("outscale", float, "a number"),
        "format": word("format"),
        "tile": number("tile", int, "a whole number"),
        "precision": word("precision"),
    }


def _upscaled(model: ImageModel, data: bytes, options: dict[str, Any]) -> tuple[bytes, dict[str, Any]]:
    """Upscale one image; the imaging errors of the model's own vendored code are known by their ``code``.

    Raises:
        ServingError: the image or an option cannot be used, or the model failed.
    """
    try:
        return model.upscale(data, **options)
    except Exception as error:  # whatever the model's code raises is answered, never passed on
        code = getattr(error, "code", None)
        if isinstance(code, str) and code in STATUS and code != "internal":
            raise ServingError(code, str(error)) from error
        event("request_failed", reason=f"{error.__class__.__name__}: {error}", trace=traceback.format_exc())
        raise ServingError("internal", f"The model failed: {error.__class__.__name__}: {error}") from error


def _media_type(content: bytes) -> str:
    return next((kind for magic, kind in MAGIC if content.startswith(magic)), "application/octet-stream")
