"""How secrets are written."""

from __future__ import annotations

import base64
import configparser
import contextlib
import ssl
import stat
from pathlib import Path

import pytest

from stackctl.scaffold import Credentials
from stackctl.scaffold.secret_files import add_missing, missing, write_secrets


def test_secrets_are_readable_files_in_a_folder_only_the_owner_enters(tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    names = write_secrets(folder, Credentials())
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {file.name for file in folder.iterdir()} == set(names)
    assert all(stat.S_IMODE(file.stat().st_mode) == 0o444 for file in folder.iterdir())


def test_two_stacks_share_no_secret(tmp_path: Path) -> None:
    write_secrets(tmp_path / "a", Credentials())
    write_secrets(tmp_path / "b", Credentials())
    for file in (tmp_path / "a").iterdir():
        assert file.read_text() != (tmp_path / "b" / file.name).read_text()


def test_a_second_run_changes_no_secret_and_adds_only_what_is_missing(tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    write_secrets(folder, Credentials())
    before = {file.name: (file.read_text(), file.stat().st_mtime_ns) for file in folder.iterdir()}
    assert write_secrets(folder, Credentials(mlflow_token="token-of-mine")) == ["mlflow_token"]
    after = {file.name: (file.read_text(), file.stat().st_mtime_ns) for file in folder.iterdir()}
    assert after.pop("mlflow_token")[0] == "token-of-mine"
    assert after == before


def test_a_stack_of_an_earlier_version_gets_what_it_lacks_and_keeps_what_it_has(tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    write_secrets(folder, Credentials())
    before = {file.name: file.read_text() for file in folder.iterdir()}
    assert missing(folder) == add_missing(folder) == []
    for name in ("webhook_secret", "webhook_key"):
        (folder / name).unlink()
    assert missing(folder) == add_missing(folder) == ["webhook_secret", "webhook_key"]
    after = {file.name: file.read_text() for file in folder.iterdir()}
    assert {name for name in before if before[name] != after[name]} == {"webhook_secret", "webhook_key"}
    assert len(base64.urlsafe_b64decode(after["webhook_key"])) == 32


def test_batch_processes_of_a_stack_trust_each_other_and_nobody_else(tmp_path: Path) -> None:
    for name in ("ours", "theirs"):
        write_secrets(tmp_path / name, Credentials())
    ours, theirs = (str(tmp_path / name / "batch_tls") for name in ("ours", "theirs"))
    assert _shake_hands(ours, ours) == "TLSv1.3"
    for server, client in ((ours, theirs), (theirs, ours), (ours, None)):
        with pytest.raises(ssl.SSLError):
            _shake_hands(server, client)


def test_the_shared_credentials_file_opens_the_bundled_store(tmp_path: Path) -> None:
    write_secrets(tmp_path / "secrets", Credentials())
    assert _credentials(tmp_path) == (
        (tmp_path / "secrets/store_root_user").read_text(),
        (tmp_path / "secrets/store_root_password").read_text(),
    )


def test_the_shared_credentials_file_holds_the_keys_of_an_endpoint_that_exists_elsewhere(tmp_path: Path) -> None:
    write_secrets(tmp_path / "secrets", Credentials("AKIA%1", "a/b+c=%d"))
    assert _credentials(tmp_path) == ("AKIA%1", "a/b+c=%d")


def test_credentials_do_not_show_when_printed() -> None:
    assert "hush" not in repr(Credentials("hush", "hush", "hush"))


def _shake_hands(server_file: str, client_file: str | None) -> str | None:
    """Do a TLS handshake in memory, as Dask does it: both sides show a certificate, names are not compared."""
    server_side = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=server_file)
    server_side.verify_mode = ssl.CERT_REQUIRED
    server_side.load_cert_chain(server_file, server_file)
    client_side = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=client_file or server_file)
    client_side.check_hostname = False
    if client_file:
        client_side.load_cert_chain(client_file, client_file)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = server_side.wrap_bio(to_server, to_client, server_side=True)
    client = client_side.wrap_bio(to_client, to_server)
    for _ in range(6):
        for side in (client, server):
            with contextlib.suppress(ssl.SSLWantReadError):
                side.do_handshake()
    return server.version()


def _credentials(folder: Path) -> tuple[str, str]:
    parser = configparser.RawConfigParser()
    parser.read(folder / "secrets/s3_credentials")
    return parser["default"]["aws_access_key_id"], parser["default"]["aws_secret_access_key"]
