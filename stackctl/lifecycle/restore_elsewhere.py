"""``stackctl restore --into``: a snapshot as plain files, in another stack, or in a new one, on either engine."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from stackctl.backup.manifest import sha256_of
from stackctl.backup.repository import Snapshot
from stackctl.backup.restore_files import FolderPlace
from stackctl.backup.restore_places import snapshot_in
from stackctl.backup.secrets import FILE as SEALED
from stackctl.engines import Engine, Progress, engine_of
from stackctl.errors import StackctlError, Unhealthy, UsageError
from stackctl.lifecycle import restore_secrets
from stackctl.lifecycle.restore import Restored, meant, restore
from stackctl.stack import Stack
from stackctl.stack.stack import SETTINGS_FILE

OPEN = ".stackctl-restoring"
"""File in a folder that says that a restore into it has not ended."""
CARRIED = ("model", "serving", "deploy", "batch")
"""Settings that a new stack takes over from the snapshot's; ports, paths and targets are its own."""
NOT_CARRIED = ("target", "copies", "ping_url", "drill_ping_url", "drill_schedule")
"""What it does not take over of ``backup``: two stacks would take each other's snapshots for theirs."""
_PARTS: dict[str | None, tuple[str, ...]] = {
    None: ("",),
    "db": ("db/",),
    "objects": ("objects/",),
    "outbound": ("data/outbound/", "objects/outbound/"),
}


def into_folder(
    engine: Engine,
    snapshot: str | None,
    folder: Path,
    progress: Progress,
    *,
    only: str | None = None,
    identity: str | None = None,
) -> dict[str, Any]:
    """Write a snapshot's files into a folder, each compared with the manifest; called again it goes on.

    With an ``identity`` its secrets come along, opened, into ``secrets`` in that folder.

    Raises:
        UsageError: the folder has something else in it, or the identity opens no secrets.
        StackctlError: a file of the snapshot is damaged.
    """
    marker = folder / OPEN
    if os.path.lexists(folder) and not (folder.is_dir() and (marker.is_file() or not any(folder.iterdir()))):
        raise UsageError(f"{folder} is neither a stack nor empty; nothing was written.", "Name a new folder.")
    with on_this_machine(engine, snapshot, progress) as found:
        values = restore_secrets.opened_in(found.folder, identity) if identity is not None else {}
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            marker.write_text(f"{found.id}\n")
            written = _write_files(found, folder, only, progress)
            if values:
                restore_secrets.write_private(folder / "secrets", values)
            marker.unlink()
        except OSError as error:
            message = f"{folder} cannot be written: {error.strerror}."
            raise StackctlError(message, "Mend that, or name another folder; the same command goes on.") from error
        return {
            "snapshot": found.id,
            "folder": str(folder),
            "files": written,
            "only": only,
            "secrets": sorted(values),
            "sealed": (folder / SEALED).is_file(),
        }


def _write_files(found: Snapshot, folder: Path, only: str | None, progress: Progress) -> int:
    """Write the files of a part of a snapshot, and all links with everything; return how many files there are."""
    place = FolderPlace(folder)
    place.sweep()
    prefixes = _parts(found, only)
    wanted = {path: each for path, each in found.manifest.files.items() if path.startswith(prefixes)}
    for number, (path, entry) in enumerate(wanted.items(), 1):
        if not (folder / path).is_file() or sha256_of(folder / path) != entry.sha256:
            place.put_file(path, found.folder / path)
            if sha256_of(folder / path) != entry.sha256:
                raise StackctlError(f"{path} in the snapshot {found.id} is damaged.", "Restore another snapshot.")
        if number % 50 == 0 or number == len(wanted):
            progress("files", f"{number} of {len(wanted)}")
    for path, target in found.manifest.links.items() if only is None else ():
        if not (folder / path).is_symlink():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).symlink_to(target)
    return len(wanted)


def into_stack(
    engine: Engine,
    snapshot: str | None,
    folder: Path,
    progress: Progress,
    *,
    only: str | None = None,
    identity: str | None = None,
) -> Restored:
    """Restore a snapshot of one stack into another one; see ``restore``."""
    target = Stack.from_folder(folder)
    other = engine_of(target)
    with on_this_machine(engine, snapshot, progress) as found:
        other.prepare(progress)
        way_back = f"`stackctl -C {folder} restore --undo` goes back; the same command goes on."
        with _hinting(way_back):
            return restore(target, other, other.snapshot_in(found.folder), progress, only=only, identity=identity)


def new_stack_from(
    engine: Engine,
    snapshot: str | None,
    folder: Path,
    progress: Progress,
    *,
    engine_name: str | None,
    identity: str | None = None,
) -> Restored:
    """Make a stack with the answers and settings of a snapshot, free ports, and its data.

    Raises:
        UsageError: the folder is taken, the snapshot has no answers, or the identity opens no secrets.
    """
    with on_this_machine(engine, snapshot, progress) as found:
        if identity is not None:
            restore_secrets.opened_in(found.folder, identity)  # before anything is made
        if (folder / SETTINGS_FILE).is_file() and (folder / OPEN).is_file():
            made = Stack.from_folder(folder)  # an attempt before was interrupted
        else:
            made = make_stack(found, folder, engine_name, progress)
            (folder / OPEN).write_text(f"{found.id}\n")
        other = engine_of(made)
        other.prepare(progress)
        with _hinting(f"The same command goes on; the new stack's ports are in {folder / SETTINGS_FILE}."):
            done = restore(made, other, other.snapshot_in(found.folder), progress, identity=identity)
        (folder / OPEN).unlink()
        return done


def make_stack(
    snapshot: Snapshot,
    folder: Path,
    engine_name: str | None,
    progress: Progress,
    *,
    changed: Mapping[str, Any] | None = None,
) -> Stack:
    """Make a stack folder as the snapshot's was.

    Args:
        snapshot: whose answers and settings.
        folder: the new stack's.
        engine_name: ``local`` or ``docker``; None: that of the snapshot.
        progress: called with (subject, what happens).
        changed: settings in place of the snapshot's, by section.
    """
    from ruamel.yaml import YAML

    from stackctl.scaffold import init

    kept = snapshot.folder / "stack"
    yaml = YAML()
    try:
        answers = YAML(typ="safe").load(kept / ".copier-answers.yml")
        saved = yaml.load(kept / SETTINGS_FILE)
    except OSError as error:
        raise UsageError(
            f"The snapshot {snapshot.id} has no settings of a stack.", "Make one with `stackctl init`."
        ) from error
    data = {
        name: value
        for name, value in answers.items()
        if not name.startswith(("_", "port_", "store_")) and name not in {"name", "base_image", "image_registry"}
    }
    data["engine"] = engine_name or saved["engine"]
    if data["engine"] == "docker" or saved["store"]["kind"] == "s3":
        data["store"] = "minio"  # never the buckets that the other stack works with
    progress("stack", f"making {folder}")
    init(folder, data=data, defaults=True)
    file = folder / SETTINGS_FILE
    settings = yaml.load(file)
    for section in CARRIED:
        if section in saved:
            settings[section] = saved[section]
    backup = saved.get("backup") or {}
    settings["backup"].update({name: value for name, value in backup.items() if name not in NOT_CARRIED})
    for section, values in (changed or {}).items():
        settings[section].update(values)
    yaml.width = 200
    yaml.dump(settings, file)
    return Stack.from_folder(folder)


@contextlib.contextmanager
def on_this_machine(engine: Engine, snapshot: str | None, progress: Progress) -> Iterator[Snapshot]:
    """Yield a snapshot of a stack whose files this machine sees; a copy that had to be made is removed afterwards.

    Raises:
        UsageError: there is no such snapshot.
    """
    if snapshot is not None and "/" in snapshot:
        yield snapshot_in(Path(snapshot))
        return
    identity = meant(engine, snapshot, progress)
    with tempfile.TemporaryDirectory(prefix="stackctl-snapshot-") as scratch:
        progress("snapshot", identity)
        folder = engine.snapshot_out(identity, Path(scratch))
        try:
            yield Snapshot.load(folder)
        finally:
            if folder.is_relative_to(scratch):
                shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _hinting(hint: str) -> Iterator[None]:
    """Say what to type next about the other stack: a restore itself speaks of the one that it was asked for in."""
    try:
        yield
    except Unhealthy as error:
        raise Unhealthy(error.message, hint) from error


def _parts(snapshot: Snapshot, only: str | None) -> tuple[str, ...]:
    buckets: dict[str, str] = snapshot.manifest.parts.get("objects", {}).get("buckets", {})
    if only == "outbound" and "outbound" in buckets:
        return ("data/outbound/", f"objects/{buckets['outbound']}/")
    return _PARTS[only]
