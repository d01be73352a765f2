"""The demo under its real server: nothing reaches the disk, logs are lines, stopping is quick."""

from __future__ import annotations

import io
import json
import re
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from support.fake_model_server import FakeModelServer
from support.live_demo import SECRET, LiveDemo, demo_config, photo
from support.waiting import PATIENCE, eventually

from stackctl.process import start, stop

URL = re.compile(r"http://127\.0\.0\.1:\d+")
WRITING = 0o3  # O_WRONLY | O_RDWR


class Writes:
    """Files opened for writing anywhere in this process while `watch` runs (audit hooks cannot be removed)."""

    def __init__(self) -> None:
        self.active = False
        self.paths: list[str] = []
        sys.addaudithook(self._hook)

    def _hook(self, event: str, args: tuple[object, ...]) -> None:
        if self.active and event == "open" and isinstance(args[2], int) and args[2] & WRITING:
            self.paths.append(str(args[0]))

    @contextmanager
    def watch(self) -> Iterator[None]:
        self.active = True
        try:
            yield
        finally:
            self.active = False


@pytest.fixture(scope="module")
def writes() -> Writes:
    return Writes()


def upload(client: httpx.Client, content: bytes) -> httpx.Response:
    token = re.search(r'name="csrf_token" value="([^"]+)"', client.get("/").text)
    assert token
    return client.post(
        "/upscale",
        data={"csrf_token": token[1]},
        files={"photo": ("photo.png", io.BytesIO(content))},
        headers={"Accept": "image/*, application/json"},
        timeout=PATIENCE,
    )


def test_large_photos_and_results_never_touch_the_disk(model_server: FakeModelServer, writes: Writes) -> None:
    large_in, large_out = photo().ljust(4_500_000, b"\0"), photo(240, 240, noise=True)

    with LiveDemo(demo_config(model_server.url)) as demo, httpx.Client(base_url=demo.url) as client, writes.watch():
        first, second = upload(client, large_in), upload(client, large_out)

    assert (first.status_code, second.status_code) == (200, 200)
    assert len(large_in) > 4_000_000
    assert len(second.content) > 1_100_000
    assert writes.paths == []


def test_a_body_far_above_the_limit_is_refused_before_it_is_read(model_server: FakeModelServer) -> None:
    config = demo_config(model_server.url, max_upload_bytes=200_000)

    with LiveDemo(config) as demo, socket.create_connection(("127.0.0.1", demo.port), timeout=PATIENCE) as connection:
        connection.sendall(b"POST /upscale HTTP/1.1\r\nHost: localhost\r\nContent-Length: 900000000\r\n\r\nbegin")
        answer = connection.recv(100)

    assert answer.startswith(b"HTTP/1.1 413 ")


@contextmanager
def demo_process(model_server: str, folder: Path) -> Iterator[tuple[str, Path]]:
    """Yield the URL and the log of `python -m flask_demo`."""
    secret = folder / "secret"
    secret.write_text(SECRET)
    log = folder / "demo.log"
    env = {
        "STACKCTL_DEMO_SECRET_KEY_FILE": str(secret),
        "STACKCTL_DEMO_PORT": "0",
        "STACKCTL_DEMO_MODEL_SERVER": model_server,
    }
    process = start([sys.executable, "-m", "flask_demo"], env=env, log=log, cwd=Path(__file__).parents[3])
    try:
        eventually(lambda: URL.search(log.read_text()), "its address", log=log.read_text, running=process)
        yield URL.findall(log.read_text())[0], log
    finally:
        stop(process, grace=60)
    assert process.returncode == 0, "SIGTERM was not obeyed"


def test_the_process_serves_logs_one_json_line_per_request_and_stops_on_sigterm(
    model_server: FakeModelServer, tmp_path: Path
) -> None:
    with demo_process(model_server.url, tmp_path) as (url, log), httpx.Client(base_url=url) as client:
        assert client.get("/healthz").status_code == 200
        assert upload(client, photo()).status_code == 200
        assert upload(client, b"words").status_code == 415
        client.get("/model?token=private")
        text = log.read_text()

    lines = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    assert [(line["method"], line["path"], line["status"]) for line in lines] == [
        ("GET", "/", 200),
        ("POST", "/upscale", 200),
        ("GET", "/", 200),
        ("POST", "/upscale", 415),
        ("GET", "/model", 200),
    ]
    assert lines[1]["version"] == "1"
    assert lines[3]["error"] == "unsupported_format"
    assert lines[1]["bytes_in"] > len(photo())
    assert SECRET not in text
    assert "private" not in text
    assert "Traceback" not in text


def test_a_wrong_setting_ends_the_process_with_one_sentence(tmp_path: Path) -> None:
    log = tmp_path / "log"
    process = start([sys.executable, "-m", "flask_demo"], log=log, cwd=Path(__file__).parents[3])

    assert process.wait(PATIENCE) == 2
    assert log.read_text().startswith("flask_demo: STACKCTL_DEMO_SECRET_KEY_FILE is not set.")
    assert "Traceback" not in log.read_text()
