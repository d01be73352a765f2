"""Where a restore takes from and where it puts: a snapshot's files by part, and what is live in this stack."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from stackctl.backup.manifest import HEADER
from stackctl.backup.repository import Repository, Snapshot
from stackctl.backup.restore_files import FolderPlace, Place
from stackctl.backup.restore_objects import Wanted
from stackctl.errors import StackctlError, UsageError
from stackctl.stack import Settings, Stack
from stackctl.stack.stack import SETTINGS_FILE
from stackctl.store.urls import bucket_folder, open_store

Only = Literal["db", "objects", "outbound"]


@dataclass(frozen=True)
class Live:
    """What is live in this stack, as this process sees it.

    Attributes:
        stack: opens buckets.
        settings: the settings in ``stack.yaml`` (a service's own are not complete).
        databases: the folder of MLflow's databases.
        folder: the stack's folder.
        repository: the snapshots.
        secrets: the folder of secrets.
    """

    stack: Stack
    settings: Settings
    databases: Path
    folder: Path
    repository: Repository
    secrets: Path

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> Live:
        """Read it from the environment of the backup's processes (see ``stackctl.stack.environment``)."""
        environ = os.environ if environ is None else environ
        try:
            folder = Path(environ["STACKCTL_BACKUP_STACK"])
            return cls(
                Stack.from_env(environ),
                Settings.load(folder / SETTINGS_FILE),
                Path(environ["STACKCTL_BACKUP_DATABASES"]),
                folder,
                Repository(Path(environ["STACKCTL_BACKUP_REPOSITORY"])),
                Path(environ["STACKCTL_SECRETS"]),
            )
        except KeyError as error:
            raise StackctlError(f"The environment variable {error.args[0]} is not set.") from error

    def bucket(self, name: str) -> Place:
        """Return one of the stack's buckets."""
        if self.stack.endpoints.store:
            return open_store(self.stack, f"s3://{name}")
        return FolderPlace(bucket_folder(self.stack, name))

    @property
    def kept(self) -> Path:
        """The folder for objects and files that a restore replaces, until it has succeeded."""
        return self.repository.state / "replaced"

    @property
    def webhook_key(self) -> str | None:
        """The key under which this stack's MLflow keeps the secrets of webhooks."""
        file = self.secrets / "webhook_key"
        return file.read_text().strip() if file.is_file() else None


def find(live: Repository, word: str | None) -> Snapshot:
    """Return the snapshot that a person means: as ``Repository.find``, or by the path of a snapshot's folder.

    None means the newest verified one; where none is, the newest that is not known to be damaged.

    Raises:
        UsageError: there is none, or it could be several.
    """
    if word is None:
        verified, damaged = live.marks.verified(), live.marks.damaged()
        right = [each for each in live.snapshots() if each.id not in damaged]
        proven = [each for each in right if each.id in verified]
        return [live.find(), *right, *proven][-1]
    return snapshot_in(Path(word)) if "/" in word else live.find(word)


def snapshot_in(folder: Path) -> Snapshot:
    """Return the snapshot whose folder this is.

    Raises:
        UsageError: it is none.
    """
    if not (folder / HEADER).is_file():
        raise UsageError(f"{folder} is no folder of a snapshot: it has no {HEADER}.", "Name REPOSITORY/snapshots/ID.")
    return Snapshot.load(folder)


def buckets_of(snapshot: Snapshot, live: Settings) -> dict[str, str]:
    """Return which bucket of this stack gets which of the snapshot's: name there to name here, by what they are for."""
    here = {role: str(name) for role, name in live.buckets}
    there: dict[str, str] = snapshot.manifest.parts.get("objects", {}).get("buckets", {})
    return {name: here[role] for role, name in there.items() if role in here}


def objects_of(snapshot: Snapshot, only: Only | None, live: Settings) -> dict[str, list[Wanted]]:
    """Return the objects to restore, by the bucket of this stack that they belong into.

    What a folder store kept as ``data/inbound`` and the like goes into the buckets of a store that has any.
    """
    if only == "db":
        return {}
    wanted: dict[str, list[Wanted]] = {}
    for name, target in buckets_of(snapshot, live).items():
        below = snapshot.manifest.below(f"objects/{name}")
        folder = snapshot.folder / "objects" / name
        wanted[target] = [Wanted(key, folder / key, sha256) for key, sha256 in below.items()]
    if live.store.kind != "folder":
        for role, target in live.buckets:
            below = snapshot.manifest.below(f"data/{role}")
            folder = snapshot.folder / "data" / role
            if below and target not in wanted:
                wanted[target] = [Wanted(key, folder / key, sha256) for key, sha256 in below.items()]
    return {name: found for name, found in wanted.items() if only != "outbound" or name == live.buckets.outbound}


def data_of(snapshot: Snapshot, only: Only | None) -> list[Wanted]:
    """Return the files of data folders to restore; their keys are paths below the stack's ``data``."""
    if only in {"db", "objects"}:
        return []
    below = snapshot.manifest.below("data" if only is None else "data/outbound")
    prefix = "" if only is None else "outbound/"
    return [Wanted(prefix + key, snapshot.folder / "data" / (prefix + key), sha256) for key, sha256 in below.items()]


def folders_of(snapshot: Snapshot, only: Only | None) -> dict[str, list[Wanted]]:
    """Return the files of the stack's other folders to restore (the pipeline, ``datasets``…), by folder.

    Settings are not among them: ports, paths and targets are the stack's own.
    """
    found: dict[str, list[Wanted]] = {}
    for path, sha256 in snapshot.manifest.below("stack").items() if only is None else ():
        name, _, key = path.partition("/")
        if key:
            found.setdefault(name, []).append(Wanted(key, snapshot.folder / "stack" / path, sha256))
    return found


def links_of(snapshot: Snapshot, only: Only | None) -> dict[str, str]:
    """Return the symbolic links of folders to restore: path below the stack's folder to where they lead."""
    prefixes = {None: ("data/", "stack/"), "outbound": ("data/outbound/",)}.get(only, ())
    links = snapshot.manifest.links.items()
    return {path.removeprefix("stack/"): target for path, target in links if path.startswith(prefixes)}
