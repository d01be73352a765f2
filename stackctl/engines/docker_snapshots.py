"""Snapshots of the docker engine: they lie in a volume, so they are copied out of it and into it.

The copies go through a container that is made for them and never started: nothing runs.
"""

from __future__ import annotations

import contextlib
import os
import tarfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from stackctl import process
from stackctl.engines.docker_compose import DockerCompose
from stackctl.engines.docker_project import api_client
from stackctl.images.client import docker

if TYPE_CHECKING:
    from docker.models.containers import Container

MOUNT = "/var/lib/stackctl/backups"
USER = 1000
HEADER = "snapshot.json"
_BLOCK = 1 << 20


class DockerSnapshots(DockerCompose):
    """Hands out snapshots and takes in those of others; see ``Engine``."""

    def snapshot_out(self, identity: str, scratch: Path, parts: Sequence[str] = ()) -> Path:
        """Copy a snapshot, or parts of it, out of the volume into a folder of this machine, and return that."""
        with self._holder() as container:
            for path in [f"{identity}/{part}" for part in parts] or [identity]:
                target = (scratch / path).parent
                target.mkdir(parents=True, exist_ok=True)
                docker(["cp", f"{container.id}:{MOUNT}/snapshots/{path}", str(target)])
        return scratch / identity

    def snapshot_in(self, folder: Path) -> str:
        """Copy the snapshot in a folder of this machine into the volume, and return its id."""
        read, write = os.pipe()
        packer = threading.Thread(target=_pack, args=(folder, write), daemon=True)
        packer.start()
        with self._holder() as container, os.fdopen(read, "rb") as stream:
            container.put_archive(MOUNT, iter(lambda: stream.read(_BLOCK), b""))
        packer.join()
        return folder.name

    @contextlib.contextmanager
    def _holder(self) -> Iterator[Container]:
        """Make a container that holds the volume; Compose has made the volume before, with its labels and owner."""
        command, variables = self._service_command("restore", ["--rm"], {})
        process.run([*command, "true"], cwd=self.stack.home, env=variables)
        environment = self._environment(["backup"])
        place = environment["STACKCTL_BACKUP_VOLUME"]
        name = place if place.startswith("/") else f"{self.stack.project}_{place}"
        container = api_client().containers.create(
            environment["STACKCTL_IMAGE_BACKUP"], ["true"], volumes={name: {"bind": MOUNT, "mode": "rw"}}
        )
        try:
            yield container
        finally:
            container.remove(force=True)


def _pack(folder: Path, write: int) -> None:
    """Write a snapshot as a tar stream, its header last: without it a folder is no snapshot yet."""
    with (
        contextlib.suppress(BrokenPipeError),
        os.fdopen(write, "wb") as stream,
        tarfile.open(fileobj=stream, mode="w|", dereference=False) as archive,
    ):
        for file in [folder, *sorted(folder.rglob("*"), key=lambda each: (each == folder / HEADER, each))]:
            inside = Path("snapshots") / folder.name / file.relative_to(folder)
            archive.add(file, str(inside), recursive=False, filter=_owned)


def _owned(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = USER
    entry.uname = entry.gname = ""
    return entry
