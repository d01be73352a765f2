"""What users of a running stack see: the answers of the model server and of the demo."""

from __future__ import annotations

import json
import re
import urllib.request
from dataclasses import dataclass
from typing import Any

import httpx
from support.cli import Cli
from support.waiting import PATIENCE

from stackctl.stack import Stack


@dataclass(frozen=True)
class Answer:
    """One answer of the model server: its bytes and the version that made them."""

    data: bytes
    version: str
    run_id: str


def url_of(cli: Cli, service: str) -> str:
    """Return the URL of a service that a stack runs itself, from its settings: no command takes time for it."""
    assert cli.folder is not None
    stack = Stack.from_folder(cli.folder)
    return f"http://127.0.0.1:{next(each.port for each in stack.services if each.name == service)}"


def shown_url(cli: Cli, service: str) -> str:
    """Return a service's URL as ``status`` tells it."""
    services: list[dict[str, Any]] = cli.json("status", codes=(0, 3))["services"]
    return next(str(each["url"]) for each in services if each["name"] == service)


def upscale(cli: Cli, image: bytes, **params: str) -> Answer:
    """Send an image to ``/v1/image``."""
    query = "&".join(f"{key}={value}" for key, value in params.items())
    request = urllib.request.Request(f"{url_of(cli, 'serving')}/v1/image?{query}", data=image, method="POST")
    with urllib.request.urlopen(request, timeout=PATIENCE) as response:
        return Answer(response.read(), response.headers["X-Stackctl-Model-Version"], response.headers["X-Stackctl-Run"])


def upload(cli: Cli, image: bytes) -> bytes:
    """Send an image to the demo as its page does, and return what the page would show."""
    with httpx.Client(base_url=url_of(cli, "demo"), timeout=PATIENCE) as client:
        token = re.search(r'name="csrf_token" value="([^"]+)"', client.get("/").text)
        assert token
        files = {"photo": ("photo.png", image)}
        answer = client.post(
            "/upscale", data={"csrf_token": token[1]}, files=files, headers={"Accept": "image/*, application/json"}
        )
    assert answer.is_success, answer.text
    return answer.content


def served_model(cli: Cli) -> dict[str, Any]:
    """Return the model server's ``/model`` document."""
    with urllib.request.urlopen(f"{url_of(cli, 'serving')}/model", timeout=PATIENCE) as response:
        document: dict[str, Any] = json.load(response)
        return document
