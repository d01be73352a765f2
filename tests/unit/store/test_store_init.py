"""Making buckets: what a refusing or a silent endpoint leads to."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from stackctl.errors import MissingPrerequisite
from stackctl.store import init
from stackctl.store.minio import build_minio, built_path, find_minio

SECRET = "a-secret-key-that-must-not-be-seen"


class RefusingEndpoint(BaseHTTPRequestHandler):
    """An S3 endpoint that knows no credentials."""

    def do_HEAD(self) -> None:
        self.send_response(403)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
        """Say nothing."""


@pytest.fixture
def refusing() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), RefusingEndpoint)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.fixture
def credentials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "s3_credentials"
    file.write_text(f"[default]\naws_access_key_id = someone\naws_secret_access_key = {SECRET}\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))


@pytest.mark.usefixtures("credentials")
def test_wrong_credentials_end_with_one_sentence_that_names_the_endpoint_and_no_key(
    refusing: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert init.main({"STACKCTL_STORE_ENDPOINT": refusing, "STACKCTL_BUCKETS": "mlflow,inbound"}) == 1
    said = capsys.readouterr().err
    assert f"The object store at {refusing} refuses the credentials" in said
    assert SECRET not in said
    assert "Traceback" not in said


@pytest.mark.usefixtures("credentials")
def test_an_endpoint_that_never_answers_is_given_up_after_the_deadline(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(init, "DEADLINE", 0.5)
    assert init.main({"STACKCTL_STORE_ENDPOINT": "http://127.0.0.1:9", "STACKCTL_BUCKETS": "mlflow"}) == 3
    assert "did not answer" in capsys.readouterr().err


def test_a_missing_variable_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert init.main({}) == 1
    assert "STACKCTL_STORE_ENDPOINT" in capsys.readouterr().err


def test_minio_is_found_on_the_path_first_and_then_in_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STACKCTL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert find_minio() is None
    for program in (built_path(), tmp_path / "bin" / "minio"):
        program.parent.mkdir(parents=True)
        program.touch(mode=0o755)
        assert find_minio() == program


def test_without_go_the_build_names_the_command_that_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STACKCTL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingPrerequisite) as caught:
        build_minio(lambda _subject, _what: None)
    assert caught.value.hint == "sudo apt-get install golang"
