"""The demo under its real server, in a thread of the test."""

from __future__ import annotations

import dataclasses
import io
import re
import threading
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from flask_demo import DemoConfig
from flask_demo.__main__ import make_server

SECRET = "a secret that only the tests know"


def demo_config(model_server: str, **changes: object) -> DemoConfig:
    """Return a configuration on a port of the system's choice, with `changes` to its fields."""
    config = DemoConfig(secret_key=SECRET, port=0, model_server=model_server, name="a-stack", poll_seconds=0.2)
    return dataclasses.replace(config, **changes)  # type: ignore[arg-type]


class LiveDemo:
    """Serves the demo from `with` on; `url` is where."""

    def __init__(self, config: DemoConfig) -> None:
        self._server = make_server(config)
        self._thread = threading.Thread(target=self._server.run, daemon=True)

    @property
    def port(self) -> int:
        return int(self._server.effective_port)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        from waitress.wasyncore import close_all

        self._server.task_dispatcher.shutdown(timeout=1)
        # Its loop ends when nothing is left to watch; closing is the loop's own thread's work.
        self._server.trigger.pull_trigger(lambda: close_all(self._server._map))
        self._thread.join(5)


@dataclass
class Visitor:
    """A browser without JavaScript, or a script where `accept` says so."""

    client: FlaskClient
    accept: str = "application/json, image/*"

    def token(self) -> str:
        page = self.client.get("/").get_data(as_text=True)
        found = re.search(r'name="csrf_token" value="([^"]+)"', page)
        assert found
        return found[1]

    def send(self, content: bytes, name: str = "a photo.png", **fields: str) -> TestResponse:
        data: dict[str, Any] = {"csrf_token": self.token(), "photo": (io.BytesIO(content), name), **fields}
        return self.client.post("/upscale", data=data, headers={"Accept": self.accept})

    def send_sample(self, name: str) -> TestResponse:
        data = {"csrf_token": self.token(), "sample": name}
        return self.client.post("/upscale", data=data, headers={"Accept": self.accept})


def photo(width: int = 32, height: int = 24, encoding: str = "PNG", *, noise: bool = False) -> bytes:
    """Return an encoded photo: a gradient that compresses well, or noise that does not."""
    from PIL import Image

    picture = (
        Image.merge("RGB", [Image.effect_noise((width, height), 90) for _ in range(3)])
        if noise
        else Image.linear_gradient("L").resize((width, height)).convert("RGB")
    )
    out = io.BytesIO()
    picture.save(out, encoding)
    return out.getvalue()
