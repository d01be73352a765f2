"""A model server without a model: the same HTTP interface, real sockets, answers that a test chooses."""

from __future__ import annotations

import hashlib
import io
import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

from support.waiting import PATIENCE

SCALE = 4


@dataclass(frozen=True)
class Refusal:
    """An error answer of `POST /v1/image`; `raw` replaces the JSON body."""

    status: int
    code: str
    message: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    raw: bytes | None = None


@dataclass(frozen=True)
class Received:
    """What one `POST /v1/image` brought."""

    body: bytes
    query: dict[str, str]


class _QuietServer(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object, **__: object) -> None:
        """Say nothing of clients that went away."""


class FakeModelServer:
    """Serves `GET /model` and `POST /v1/image` on a port of the system's choice, from `start` (or `with`) to `stop`.

    `promote("2")` changes what serves, `refuse(Refusal(...))` what uploads get, `hold` is an event uploads wait for,
    `away` closes every connection without an answer.
    """

    def __init__(self, version: str | None = "1") -> None:
        self.name = "super-resolution"
        self.version = version
        self.error: str | None = None
        self.stale_since: str | None = None
        self.backup: dict[str, Any] | None = None
        self.contract = "image"
        self.measured = True
        self.evaluation: str | None = None
        self.taken_back: dict[str, Any] | None = None
        self.away = False
        self.candidate: dict[str, Any] | None = None
        self.refusal: Refusal | None = None
        self.hold = threading.Event()
        self.hold.set()
        self.received: list[Received] = []
        self._http = _QuietServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_address[1]}"

    @property
    def run_id(self) -> str | None:
        return None if self.version is None else hashlib.md5(self.version.encode(), usedforsecurity=False).hexdigest()

    def promote(self, version: str | None) -> None:
        self.version = version
        self.candidate = None

    def refuse(self, refusal: Refusal | None) -> None:
        self.refusal = refusal

    def start(self) -> Self:
        self._thread.start()
        return self

    def stop(self) -> None:
        self.hold.set()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join(5)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    def model(self) -> dict[str, Any]:
        served = self.version is not None
        better = 0.4 * (int(self.version or 1) - 1)
        return {
            "schema_version": 1,
            "name": self.name,
            "version": self.version,
            "run_id": self.run_id,
            "digest": "sha256:" + "0" * 64 if served else None,
            "metrics": {
                "psnr_y": 27.41 + better,
                "psnr_y_bicubic": 26.83,
                "ssim_y": 0.8127 + better / 50,
                "ssim_y_bicubic": 0.7904,
            }
            if served and self.measured
            else {},
            "evaluation_digest": self.evaluation if served else None,
            "taken_back": self.taken_back,
            "params": {},
            "promoted_at": "2026-11-20T14:03:00Z" if served else None,
            "since": "2026-11-20T14:03:02Z" if served else None,
            "error": self.error,
            "stale_registry_since": self.stale_since,
            "backup": self.backup,
            "contract": self.contract if served else None,
            "candidate": self.candidate,
            "image": {
                "scale": SCALE,
                "formats": ["png", "jpeg", "webp", "tiff", "bmp"],
                "max_input_pixels": 16_000_000,
                "max_bytes": 33_554_432,
            }
            if served
            else None,
        }

    def upscale(self, data: bytes, wanted: str) -> tuple[bytes, str, dict[str, Any]]:
        """Return `data` four times larger, its content type, and the report."""
        from PIL import Image

        with Image.open(io.BytesIO(data)) as photo:
            encoding = (photo.format or "PNG") if wanted == "auto" else wanted.upper()
            larger = photo.convert("RGB").resize((photo.width * SCALE, photo.height * SCALE), Image.Resampling.LANCZOS)
            out = io.BytesIO()
            larger.save(out, encoding)
            report = {
                "width": photo.width,
                "height": photo.height,
                "out_width": larger.width,
                "out_height": larger.height,
                "backend": "openvino",
                "precision": "fp32",
                "seconds": {"decode": 0.004, "infer": 0.21, "encode": 0.03},
            }
        return out.getvalue(), f"image/{encoding.lower()}", report

    def _handler(fake) -> type[BaseHTTPRequestHandler]:  # noqa: C901, N805 - the handler below has a `self` of its own
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one_request(self) -> None:
                self.close_connection = True
                if not fake.away:
                    super().handle_one_request()

            def do_GET(self) -> None:
                if urlsplit(self.path).path == "/ready":
                    self._answer(200 if fake.version else 503, b"{}", "application/json")
                    return
                if urlsplit(self.path).path != "/model":
                    self._answer(404, b"", "text/plain")
                    return
                self._answer(200, json.dumps(fake.model()).encode(), "application/json")

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
                query = {key: values[0] for key, values in parse_qs(urlsplit(self.path).query).items()}
                fake.received.append(Received(body, query))
                fake.hold.wait(PATIENCE)
                if fake.refusal:
                    self._refuse(fake.refusal)
                elif fake.version is None:
                    self._refuse(Refusal(503, "no_model", "no version in Production"))
                else:
                    content, content_type, report = fake.upscale(body, query.get("format", "auto"))
                    headers = {
                        "X-Stackctl-Model": fake.name,
                        "X-Stackctl-Model-Version": fake.version,
                        "X-Stackctl-Run": fake.run_id or "",
                        "X-Stackctl-Meta": json.dumps(report, separators=(",", ":")),
                    }
                    self._answer(200, content, content_type, headers)

            def _refuse(self, refusal: Refusal) -> None:
                body = json.dumps({"error": {"code": refusal.code, "message": refusal.message}}).encode()
                self._answer(refusal.status, refusal.raw or body, "application/json", refusal.headers)

            def _answer(self, status: int, body: bytes, kind: str, headers: dict[str, str] | None = None) -> None:
                self.send_response(status)
                for name, value in {"Content-Type": kind, "Content-Length": str(len(body)), **(headers or {})}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object, **__: object) -> None:
                pass

        return Handler
