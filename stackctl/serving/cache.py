"""The model server's folder on disk: versions, compiled networks, and what was served last."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from stackctl.serving.probation import Ban
from stackctl.serving.registry_view import Version
from stackctl.serving.spec import IMAGE

RECORD = "last-known-good.json"
BAN = "taken-back.json"
OPENVINO = "openvino"
SCHEMA_VERSION = 1
KEPT_VERSIONS = 5
ABANDONED_SECONDS = 3600


class VersionCache:
    """Folders ``NAME/VERSION-KEY`` under ``root``; the key changes when a version of that number is another one."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.openvino = root / OPENVINO
        self.openvino.mkdir(parents=True, exist_ok=True)
        for left in (path for mark in ("partial", "removed") for path in root.glob(f"*/.{mark}-*")):
            if time.time() - left.stat().st_mtime > ABANDONED_SECONDS:
                shutil.rmtree(left, ignore_errors=True)

    def folder_of(self, version: Version) -> Path:
        """Return where the files of a version lie or shall lie."""
        identity = f"{version.name}\0{version.version}\0{version.run_id}"
        key = hashlib.sha256(identity.encode()).hexdigest()[:12]
        return self._folder(version.name) / f"{version.version}-{key}"

    def remember(self, version: Version, digest: str | None, contract: str | None = None) -> None:
        """Record the version that serves, so that a later start needs no registry; expire the oldest other versions."""
        folder = self.folder_of(version)
        record = {
            "schema_version": SCHEMA_VERSION,
            "version": {**asdict(version), "metrics": dict(version.metrics), "params": dict(version.params)},
            "digest": digest,
            "contract": contract,
        }
        self._write(self._folder(version.name) / RECORD, record)
        if folder.is_dir():
            os.utime(folder)
        self._expire(version.name)

    def last_known_good(self, name: str) -> tuple[Version, str | None] | None:
        """Return the version that served last and the digest of its files, if they still lie here."""
        record, version = self._record(name)
        return (version, record.get("digest")) if version else None

    def image_champion(self, name: str) -> str | None:
        """Return the number of the version that served last if it is an image model whose files still lie here."""
        record, version = self._record(name)
        return version.version if version and record.get("contract") == IMAGE else None

    def ban(self, name: str) -> Ban | None:
        """Return the version that was taken back because it failed, or None."""
        try:
            return Ban(**json.loads((self._folder(name) / BAN).read_text())["ban"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def write_ban(self, name: str, ban: Ban | None) -> None:
        """Record that a version was taken back, or that none is any more."""
        file = self._folder(name) / BAN
        if ban is None:
            file.unlink(missing_ok=True)
        else:
            self._write(file, {"schema_version": SCHEMA_VERSION, "ban": asdict(ban)})

    def _record(self, name: str) -> tuple[dict[str, Any], Version | None]:
        try:
            record = json.loads((self._folder(name) / RECORD).read_text())
            version = Version(**record["version"])
        except (OSError, ValueError, KeyError, TypeError):
            return {}, None
        return record, version if self.folder_of(version).is_dir() else None

    @staticmethod
    def _write(file: Path, record: dict[str, Any]) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        temporary = file.with_name(f".{file.name}.{os.getpid()}")
        with temporary.open("w") as handle:
            json.dump(record, handle, indent=2)
            handle.flush()
            os.fsync(handle.fileno())
        temporary.replace(file)

    def _folder(self, name: str) -> Path:
        return self.root / re.sub(r"[^A-Za-z0-9_.-]", "_", name)

    def _expire(self, name: str) -> None:
        folders = [path for path in self._folder(name).iterdir() if path.is_dir() and not path.name.startswith(".")]
        for old in sorted(folders, key=lambda path: path.stat().st_mtime, reverse=True)[KEPT_VERSIONS:]:
            shutil.rmtree(old, ignore_errors=True)
