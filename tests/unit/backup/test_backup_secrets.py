"""Secrets are in a snapshot for those who may read them, or not at all."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from support.backups import Backed

from stackctl.backup.secrets import decrypt
from stackctl.backup.snapshot import take
from stackctl.backup.verify import verify
from stackctl.errors import UsageError


@pytest.fixture
def secrets(tmp_path: Path) -> Path:
    """Return a folder of secrets."""
    folder = tmp_path / "secrets"
    folder.mkdir()
    (folder / "webhook_key").write_bytes(b"key of the webhooks")
    (folder / "s3_credentials").write_bytes(b"[default]\n")
    return folder


def test_secrets_are_left_out_without_a_recipient_and_the_manifest_says_so(tmp_path: Path, secrets: Path) -> None:
    backed = Backed(tmp_path / "stack")
    snapshot = take(replace(backed.sources, secrets=secrets), backed.repository)
    assert snapshot.manifest.parts["secrets"]["included"] is False
    assert "backup.encrypt_to" in snapshot.manifest.parts["secrets"]["why"]
    assert all(b"webhooks" not in file.read_bytes() for file in snapshot.folder.rglob("*") if file.is_file())


def test_only_the_recipient_reads_them(tmp_path: Path, secrets: Path) -> None:
    import pyrage  # type: ignore[import-untyped]

    own, other = pyrage.x25519.Identity.generate(), pyrage.x25519.Identity.generate()
    backed = Backed(tmp_path / "stack")
    sources = replace(backed.sources, secrets=secrets, recipients=(str(own.to_public()),))
    snapshot = take(sources, backed.repository)
    assert verify(snapshot).ok
    sealed = snapshot.folder / "secrets.age"
    assert b"webhooks" not in sealed.read_bytes()
    assert decrypt(sealed, f"# a comment\n{own}\n") == {
        "s3_credentials": b"[default]\n",
        "webhook_key": b"key of the webhooks",
    }
    for wrong in (str(other), "no identity"):
        with pytest.raises(UsageError):
            decrypt(sealed, wrong)


def test_a_recipient_that_is_none_stops_the_backup(tmp_path: Path, secrets: Path) -> None:
    backed = Backed(tmp_path / "stack")
    with pytest.raises(UsageError, match=r"backup\.encrypt_to"):
        take(replace(backed.sources, secrets=secrets, recipients=("age1nobody",)), backed.repository)
    assert backed.repository.partial() == []
