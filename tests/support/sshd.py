"""A real ssh server for one test: its own port, host key and authorized key; it lets in the user who runs the tests."""

from __future__ import annotations

import getpass
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.ports import free_port
from support.waiting import eventually

from stackctl import process
from stackctl.engines.local_processes import port_is_open


@dataclass(frozen=True)
class SshServer:
    """An ssh server that runs.

    Attributes:
        address: ``USER@HOST:PORT``, what stands before the folder in ``backup.copies.rsync``.
        secrets: a folder with the key and the known hosts that stackctl needs.
        folder: where its files lie.
    """

    address: str
    secrets: Path
    folder: Path


def program(name: str, package: str) -> str:
    """Return the path of a program; installed where this is root on Debian, else the test does not run."""
    found = shutil.which(name) or shutil.which(f"/usr/sbin/{name}")
    if found is None and os.getuid() == 0 and shutil.which("apt-get"):
        process.run(["apt-get", "install", "--yes", "--no-install-recommends", package], check=False, timeout=300)
        found = shutil.which(name) or shutil.which(f"/usr/sbin/{name}")
    if found is None:
        pytest.skip(f"did not run: there is no {name} here, and only root can install {package}")
    return found


def keygen(file: Path) -> None:
    """Make a key pair."""
    process.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", file])


@contextmanager
def ssh_server(folder: Path) -> Iterator[SshServer]:
    """Run a server on a free port of the loopback address until the block ends."""
    sshd = program("sshd", "openssh-server")
    folder.mkdir()
    secrets = folder / "secrets"
    secrets.mkdir()
    for file in (folder / "host_key", secrets / "backup_ssh_key"):
        keygen(file)
    (folder / "authorized_keys").write_text((secrets / "backup_ssh_key.pub").read_text())
    port = free_port()
    kind, key = (folder / "host_key.pub").read_text().split()[:2]
    (secrets / "backup_known_hosts").write_text(f"[127.0.0.1]:{port} {kind} {key}\n")
    (secrets / "backup_ssh_key").chmod(0o444)  # as Compose and the stack's own folder have it
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)
    words = [f"Port={port}", "ListenAddress=127.0.0.1", f"HostKey={folder / 'host_key'}", "UsePAM=no", "PidFile=none"]
    words += [f"AuthorizedKeysFile={folder / 'authorized_keys'}", "StrictModes=no", "PasswordAuthentication=no"]
    words += ["PermitRootLogin=prohibit-password", "KbdInteractiveAuthentication=no"]
    server = process.start(
        [sshd, "-D", "-e", "-f", "/dev/null", *(part for word in words for part in ("-o", word))], log=folder / "log"
    )
    try:
        eventually(lambda: port_is_open(port), "the start of sshd", log=(folder / "log").read_text, running=server)
        yield SshServer(f"{getpass.getuser()}@127.0.0.1:{port}", secrets, folder)
    finally:
        process.stop(server)
