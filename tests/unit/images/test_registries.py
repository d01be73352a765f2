"""Registries are asked with a deadline, and named in one form."""

from __future__ import annotations

import http.server
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.image_stacks import stack_with

from stackctl.errors import Unhealthy, UsageError
from stackctl.images import registry


class Refusing(http.server.BaseHTTPRequestHandler):
    """A registry that wants a login first."""

    def do_GET(self) -> None:
        self.send_response(401 if self.path == "/v2/" else 404)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Keep quiet."""


@pytest.fixture
def refusing() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Refusing)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def silent() -> Iterator[str]:
    """Return an address that accepts connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


def test_a_registry_that_wants_a_login_answers(refusing: str) -> None:
    assert registry.answers(refusing)


def test_a_silent_registry_is_given_up(silent: str) -> None:
    assert not registry.answers(silent, seconds=0.5)


def test_nothing_there_is_no_answer() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    assert not registry.answers(f"127.0.0.1:{port}")


def test_the_default_deadline_is_short() -> None:
    assert registry.PROBE_SECONDS <= 5


@pytest.mark.parametrize(
    ("reference", "host"),
    [
        ("debian:bookworm", "registry-1.docker.io"),
        ("library/debian", "registry-1.docker.io"),
        ("registry.example.org/team/base:1", "registry.example.org"),
        ("localhost/base", "localhost"),
        ("127.0.0.1:5000/stackctl/base:bookworm", "127.0.0.1:5000"),
    ],
)
def test_the_host_is_read_from_an_images_name(reference: str, host: str) -> None:
    assert registry.host_of(reference) == host


def test_the_environment_overrides_the_stacks_registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stack = stack_with(tmp_path, images={"registry": "registry.example.org/team/"})
    assert registry.registry_of(stack) == "registry.example.org/team"
    monkeypatch.setenv("STACKCTL_REGISTRY", "other.example.org")
    assert registry.registry_of(stack) == "other.example.org"
    assert registry.registry_of(None) == "other.example.org"


@pytest.mark.parametrize("address", ["https://registry.example.org", "", " a", "a b"])
def test_an_address_in_another_form_is_refused(address: str) -> None:
    with pytest.raises(UsageError):
        registry.checked(address)


def test_pushing_to_nobody_is_unhealthy() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(Unhealthy, match="No registry answers"):
        registry.push(["stackctl/demo:1"], f"127.0.0.1:{port}", lambda _subject, _what: None)
