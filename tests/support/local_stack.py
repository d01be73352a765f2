"""A stack folder for the local engine, written by hand: settings, secrets and supervisord's configuration."""

from __future__ import annotations

import secrets
import socket
from pathlib import Path
from typing import Any

from stackctl.distribution import carried
from stackctl.stack import Stack

SERVICES = ("mlflow", "store", "store_console", "serving", "serving_staging", "demo", "deployer", "backup")


def free_ports(count: int) -> list[int]:
    """Return ports that are free now, chosen by the operating system."""
    sockets = [socket.socket() for _ in range(count)]
    for held in sockets:
        held.bind(("127.0.0.1", 0))
    ports = [held.getsockname()[1] for held in sockets]
    for held in sockets:
        held.close()
    return ports


def write_settings(folder: Path, **settings: Any) -> None:
    """Write ``stack.yaml``."""
    from ruamel.yaml import YAML

    with (folder / "stack.yaml").open("w") as handle:
        YAML(typ="safe").dump(settings, handle)


def make_local_stack(folder: Path, *, store: str = "folder", **settings: Any) -> Stack:
    """Make a stack of the local engine in ``folder`` with free ports and fresh secrets."""
    folder.mkdir(parents=True, exist_ok=True)
    ports = dict(zip(SERVICES, free_ports(len(SERVICES)), strict=True))
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
