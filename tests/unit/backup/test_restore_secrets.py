"""How the secrets of a snapshot come back: into a folder, or into a stack that had to make new ones."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pyrage  # type: ignore[import-untyped]
import pytest
from support.small_snapshot import Scene, scene, write

from stackctl.backup.manifest import FILE, Entry, sha256_of
from stackctl.backup.repository import Snapshot
from stackctl.backup.secrets import encrypt
from stackctl.engines import Engine
from stackctl.errors import StackctlError, UsageError
from stackctl.lifecycle import restore_secrets
from stackctl.lifecycle.restore_elsewhere import into_folder

OLD = {"webhook_key": "old key", "store_root_password": "old password", "backup_ssh_key": "a person's"}
NEW = {"webhook_key": "new key", "store_root_password": "new password", "demo_secret_key": "new"}


class Files:
    """An engine whose snapshots are folders of this machine."""

    def snapshot_out(self, identity: str, scratch: Path, parts: Sequence[str] = ()) -> Path:
        return Path(identity)


AT = datetime(2026, 11, 14, 5, tzinfo=UTC).isoformat()
ENGINE = cast("Engine", Files())


@pytest.fixture
def identity() -> Any:
    return pyrage.x25519.Identity.generate()


@pytest.fixture
def sealed(tmp_path: Path, identity: Any) -> Scene:
    """Return a stack with new secrets, and a snapshot with the old ones, encrypted."""
    found = scene(tmp_path / "one")
    write(tmp_path / "old", OLD)
    write(found.live.folder / "secrets", NEW)
    folder = found.snapshot.folder
    encrypt(tmp_path / "old", [str(identity.to_public())], folder / "secrets.age")
    manifest = found.snapshot.manifest
    entry = Entry(sha256_of(folder / "secrets.age"), (folder / "secrets.age").stat().st_size)
    manifest = replace(manifest, files={**manifest.files, "secrets.age": entry})
    (folder / FILE).write_text(json.dumps(manifest.to_dict()))
    return replace(found, snapshot=Snapshot.load(folder))


def secrets_of(folder: Path) -> dict[str, str]:
    return {file.name: file.read_text() for file in folder.iterdir() if file.is_file()}


def silent(_subject: str, _what: str) -> None:
    """Draw nothing."""


def test_a_folder_gets_them_for_its_owner_alone(sealed: Scene, identity: Any, tmp_path: Path) -> None:
    done = into_folder(
        ENGINE, str(sealed.snapshot.folder), tmp_path / "plain", silent, identity=f"# mine\n{identity}\n"
    )
    assert done["secrets"] == sorted(OLD)
    folder = tmp_path / "plain" / "secrets"
    assert secrets_of(folder) == OLD
    assert [oct(path.stat().st_mode)[-3:] for path in (folder, *sorted(folder.iterdir()))] == ["700", *["600"] * 3]


def test_without_an_identity_they_stay_closed_and_with_a_wrong_one_nothing_is_written(
    sealed: Scene, tmp_path: Path
) -> None:
    place = str(sealed.snapshot.folder)
    for wrong in (str(pyrage.x25519.Identity.generate()), "# only a comment\n", "no identity"):
        with pytest.raises(UsageError, match="identity"):
            into_folder(ENGINE, place, tmp_path / "plain", silent, identity=wrong)
        assert not (tmp_path / "plain").exists()
    done = into_folder(ENGINE, place, tmp_path / "plain", silent)
    assert (done["secrets"], done["sealed"]) == ([], True)
    assert not (tmp_path / "plain" / "secrets").exists()


def test_a_snapshot_that_holds_none_says_so(tmp_path: Path, identity: Any) -> None:
    without = scene(tmp_path / "one")
    with pytest.raises(UsageError, match="holds no secrets") as raised:
        restore_secrets.opened(ENGINE, str(without.snapshot.folder), {"included": False}, str(identity))
    assert "backup.encrypt_to" in str(raised.value.hint)


def test_a_stack_gets_them_except_for_its_own_stores_and_gives_them_back(sealed: Scene, identity: Any) -> None:
    stack, folder = sealed.live.stack, sealed.live.folder / "secrets"
    os.utime(folder / "webhook_key", (7, 7))
    values = restore_secrets.opened(ENGINE, str(sealed.snapshot.folder), {"included": True}, str(identity))
    for _ in range(2):  # interrupted, and called again
        assert restore_secrets.put(stack, values, AT) == ["backup_ssh_key", "webhook_key"]
    assert secrets_of(folder) == {**NEW, "webhook_key": "old key", "backup_ssh_key": "a person's"}
    assert (folder / "webhook_key").stat().st_mode & 0o777 == 0o444
    restore_secrets.bring_back(stack)
    assert secrets_of(folder).items() >= NEW.items()
    assert (folder / "webhook_key").stat().st_mtime == 7, "its age tells whether a snapshot has it"
    assert not (folder / ".replaced").exists()


def test_secrets_that_were_put_in_part_are_taken_back_where_nobody_opens_the_others(sealed: Scene) -> None:
    stack, folder = sealed.live.stack, sealed.live.folder / "secrets"
    (folder / "webhook_secret").mkdir()  # in the way of the last one
    with pytest.raises(StackctlError, match="webhook_secret"):
        restore_secrets.put(stack, {"webhook_key": b"old key", "webhook_secret": b"old"}, AT)
    assert secrets_of(folder)["webhook_key"] == "old key"
    assert restore_secrets.put(stack, {}, AT) == []
    assert secrets_of(folder) == NEW
    restore_secrets.put(stack, {"webhook_key": b"old key"}, AT)
    restore_secrets.put(stack, {}, AT)
    assert secrets_of(folder)["webhook_key"] == "old key", "all of them were put"


def test_new_secrets_are_told_with_what_they_mean_and_what_brings_the_old_ones_back(sealed: Scene) -> None:
    stack = sealed.live.stack
    (said,) = restore_secrets.warnings(stack, "ID", AT, {"included": True})
    assert "webhooks that people made" in said
    assert f"`stackctl -C {stack.home} restore ID --identity FILE`" in said
    (said,) = restore_secrets.warnings(stack, "ID", AT, {"included": False})
    assert "does not hold the old ones" in said
    later = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    assert restore_secrets.warnings(stack, "ID", later, {"included": True}) == [], "they may be the same"


def test_of_secrets_that_came_from_the_snapshot_nobody_is_warned(sealed: Scene, identity: Any) -> None:
    stack = sealed.live.stack
    for name in ("demo_secret_key", "webhook_key"):
        os.utime(stack.home / "secrets" / name, (0, 0))
    values = restore_secrets.opened(ENGINE, str(sealed.snapshot.folder), {"included": True}, str(identity))
    restore_secrets.put(stack, values, AT)
    restore_secrets.forget_kept(stack)
    assert restore_secrets.warnings(stack, "ID", AT, {"included": True}) == []
