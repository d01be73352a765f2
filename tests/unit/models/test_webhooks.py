"""Webhooks against a real MLflow server: made once, kept right, signed, and there after a restart."""

from __future__ import annotations

import json
import queue
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from support.mlflow_server import MlflowServer, await_health
from support.ports import free_port
from support.waiting import PATIENCE

from stackctl import process
from stackctl.models.mlflow_server import KEY, server_environment
from stackctl.models.rest import Rest
from stackctl.models.webhooks import ensure_webhook, remove_webhooks
from stackctl.scaffold.secret_files import add_missing
from stackctl.serving.webhook import signed_by

MODEL = "woken"


@dataclass(frozen=True)
class Call:
    """One request that the receiver got."""

    headers: dict[str, str]
    body: str

    def signed_with(self, secret: str) -> bool:
        """Return whether a model server with ``secret`` would take it."""
        return signed_by(secret, self.headers, self.body.encode(), now=time.time())


class Receiver:
    """Listens on loopback and keeps what is posted to it."""

    def __init__(self) -> None:
        self.calls: queue.Queue[Call] = queue.Queue()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                receiver.calls.put(Call({name.lower(): value for name, value in self.headers.items()}, body))
                self.send_response(204)
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
                """Keep the tests' output clean."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/webhook"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    listening = Receiver()
    yield listening
    listening.stop()


@contextmanager
def mlflow_with_key(folder: Path, port: int) -> Iterator[MlflowServer]:
    """Run MLflow as both engines do, with the key from its file."""
    started = process.start(
        [
            *(sys.executable, "-m", "stackctl.models.mlflow_server", "--host", "127.0.0.1", "--port", str(port)),
            *("--workers", "1", "--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}"),
            *("--artifacts-destination", str(folder / "artifacts"), "--serve-artifacts"),
        ],
        cwd=folder,
        env={
            "STACKCTL_WEBHOOK_KEY_FILE": str(folder / "secrets" / "webhook_key"),
            "MLFLOW_WEBHOOK_ALLOWED_SCHEMES": "http,https",
            "MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS": "true",
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "MLFLOW_MODEL_CATALOG_URI": "",
        },
        log=folder / "server.log",
    )
    try:
        url = f"http://127.0.0.1:{port}"
        await_health(url, folder / "server.log", started)
        yield MlflowServer(url, folder)
    finally:
        process.stop(started)


@pytest.mark.slow
def test_a_changed_alias_is_posted_with_our_signature_and_still_is_after_a_restart(
    tmp_path: Path, receiver: Receiver
) -> None:
    (tmp_path / "secrets").mkdir()
    assert sorted(add_missing(tmp_path / "secrets")) == ["batch_tls", "webhook_key", "webhook_secret"]
    secret = (tmp_path / "secrets" / "webhook_secret").read_text()
    port = free_port()
    with mlflow_with_key(tmp_path, port) as server:
        server.make_versions(MODEL, 2)
        rest = Rest(server.url)
        assert ensure_webhook(rest, "stackctl-serving", receiver.url, secret) == "created"
        assert ensure_webhook(rest, "stackctl-serving", receiver.url, secret) == "unchanged"
        server.call("POST", "registered-models/alias", {"name": MODEL, "alias": "candidate", "version": "1"})
        first = receiver.calls.get(timeout=PATIENCE)
        assert first.signed_with(secret)
        assert json.loads(first.body)["data"]["alias"] == "candidate"
    with mlflow_with_key(tmp_path, port) as server:
        rest = Rest(server.url)
        server.call("POST", "registered-models/alias", {"name": MODEL, "alias": "production", "version": "2"})
        second = receiver.calls.get(timeout=PATIENCE)
        assert second.signed_with(secret)
        assert not second.signed_with("another secret")
        assert ensure_webhook(rest, "stackctl-serving", receiver.url, secret) == "unchanged"
        assert ensure_webhook(rest, "stackctl-serving", receiver.url, "changed-secret") == "updated"
        assert ensure_webhook(rest, "stackctl-serving", f"{receiver.url}/2", "changed-secret") == "updated"
        ensure_webhook(rest, "stackctl-serving-staging", receiver.url, secret)
        assert remove_webhooks(rest, "stackctl-", but=frozenset({"stackctl-serving"})) == ["stackctl-serving-staging"]
    assert secret not in (tmp_path / "server.log").read_text()


def test_the_key_reaches_mlflows_environment_from_its_file_only(tmp_path: Path) -> None:
    (tmp_path / "webhook_key").write_text("key\n")
    environ = {"STACKCTL_WEBHOOK_KEY_FILE": str(tmp_path / "webhook_key"), "PATH": "/bin"}
    assert server_environment(environ) == {**environ, KEY: "key"}
    missing = {"STACKCTL_WEBHOOK_KEY_FILE": str(tmp_path / "nowhere")}
    assert server_environment(missing) == missing
