"""A stack folder for the local engine, written by hand: settings, secrets and supervisord's configuration."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Any

from support.ports import stack_ports

from stackctl.distribution import carried
from stackctl.stack import Stack


def write_settings(folder: Path, **settings: Any) -> None:
    """Write ``stack.yaml``."""
    from ruamel.yaml import YAML

    with (folder / "stack.yaml").open("w") as handle:
        YAML(typ="safe").dump(settings, handle)


def make_local_stack(folder: Path, *, store: str = "folder", **settings: Any) -> Stack:
    """Make a stack of the local engine in ``folder`` with free ports and fresh secrets."""
    folder.mkdir(parents=True, exist_ok=True)
    ports = stack_ports()
    write_settings(
        folder,
        **{"name": "tested", "engine": "local", "store": {"kind": store}, "ports": ports, "backup": {}, **settings},
    )
    user, password = secrets.token_hex(8), secrets.token_hex(16)
    values = {
        "store_root_user": user,
        "store_root_password": password,
        "s3_credentials": f"[default]\naws_access_key_id = {user}\naws_secret_access_key = {password}\n",
        "demo_secret_key": secrets.token_hex(32),
    }
    (folder / "secrets").mkdir(mode=0o700, exist_ok=True)
    for name, value in values.items():
        (folder / "secrets" / name).write_text(value)
    (folder / "supervisord.conf").write_text((carried("template") / "supervisord.conf").read_text())
    return Stack.from_folder(folder)
