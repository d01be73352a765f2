"""Whether what a database refers to is there: model versions complete to their digest, objects of active runs.

MLflow keeps no list of a run's files. What it does record is where each model version and logged model lies, and
stackctl tags both with the digest of what was logged.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import sqlite3
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from stackctl.models.digest import NOT_LOGGED, digest_of_files
from stackctl.models.tags import DIGEST
from stackctl.store.urls import ObjectStore

READY = "READY"
LOGGED_READY = 2
"""MLflow's number for a logged model that is complete."""
_IDENTITY = re.compile(r"(m-)?[0-9a-f]{32}")


@dataclass(frozen=True)
class Closure:
    """What was found.

    Attributes:
        checked: how many model versions and logged models were looked at.
        incomplete: one sentence for each that is not complete.
        vanished: keys of objects that were in the snapshot before and are gone, though their run is active.
        notes: what could not be checked, and why.
    """

    checked: int = 0
    incomplete: tuple[str, ...] = ()
    vanished: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def holds(self) -> bool:
        """Whether every model version and logged model is complete."""
        return not self.incomplete

    @classmethod
    def parse(cls, document: Mapping[str, Any]) -> Closure:
        """Return what a document of ``to_dict`` describes."""
        return cls(
            int(document["checked"]),
            tuple(document["incomplete"]),
            tuple(document["vanished"]),
            tuple(document["notes"]),
        )

    def to_dict(self) -> dict[str, Any]:
        """Return it as a JSON document."""
        return {
            "holds": self.holds,
            "checked": self.checked,
            "incomplete": list(self.incomplete),
            "vanished": list(self.vanished),
            "notes": list(self.notes),
        }


class LiveObjects(Mapping[str, str]):
    """The objects of a bucket: key to SHA-256 in hex, which is read from the store when it is asked for."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._keys = {info.key for info in store.list()}

    def __getitem__(self, key: str) -> str:
        if key not in self._keys:
            raise KeyError(key)
        digest = hashlib.sha256()
        for block in self._store.blocks(key):
            digest.update(block)
        return digest.hexdigest()

    def __iter__(self) -> Iterator[str]:
        return iter(self._keys)

    def __len__(self) -> int:
        return len(self._keys)


@dataclass(frozen=True)
class _Model:
    """A model version or logged model: what a person calls it, where it lies, its tagged digest."""

    title: str
    location: str
    digest: str | None


def closure(
    database: Path, objects: Mapping[str, str], *, bucket: str = "mlflow", before: Iterable[str] = ()
) -> Closure:
    """Check a copy of MLflow's database against the objects of its artifact bucket.

    Args:
        database: the copy; it is only read.
        objects: key in the bucket to SHA-256 in hex.
        bucket: the bucket's name, as locations in the database may name it.
        before: keys that the snapshot before had.
    """
    keys = sorted(objects)
    incomplete: list[str] = []
    notes: list[str] = []
    connection = sqlite3.connect(f"file:{quote(str(database))}?mode=ro&immutable=1", uri=True)
    with contextlib.closing(connection):
        models = [*_versions(connection), *_logged_models(connection)]
        for model in models:
            prefix = _key(model.location, bucket)
            if prefix is None:
                notes.append(f"{model.title} lies outside this stack, at {model.location}: it is not in the snapshot.")
            elif problem := _problem(model, prefix, keys, objects):
                incomplete.append(f"{model.title} {problem}")
        active = _active(connection)
    vanished = sorted(key for key in set(before).difference(objects) if active.intersection(_identities(key)))
    return Closure(len(models), tuple(incomplete), tuple(vanished), tuple(notes))


def _problem(model: _Model, prefix: str, keys: list[str], objects: Mapping[str, str]) -> str | None:
    """Return what is wrong with a model, as the end of a sentence, or None."""
    start = f"{prefix}/"
    first = bisect_left(keys, start)
    found = []
    for key in keys[first:]:
        if not key.startswith(start):
            break
        found.append(key.removeprefix(start))
    if not found:
        return f"has no files below {prefix}."
    if "MLmodel" not in found:
        return f"has no MLmodel file below {prefix}."
    if model.digest is None:
        return None
    digest = digest_of_files({name: objects[start + name] for name in found if name not in NOT_LOGGED})
    return None if digest == model.digest else f"is not what was logged: its {len(found)} files have another digest."


def _versions(connection: sqlite3.Connection) -> Iterator[_Model]:
    if not _has(connection, "model_versions"):
        return
    rows = connection.execute(
        "SELECT v.name, v.version, coalesce(v.storage_location, v.source), t.value FROM model_versions v "
        "LEFT JOIN model_version_tags t ON t.name = v.name AND t.version = v.version AND t.key = ? "
        "WHERE v.status = ? AND v.current_stage <> 'Deleted_Internal' ORDER BY v.name, v.version",
        (DIGEST, READY),
    )
    for name, version, location, digest in rows.fetchall():
        yield _Model(f"Version {version} of {name}", _resolved(connection, location or ""), digest)


def _logged_models(connection: sqlite3.Connection) -> Iterator[_Model]:
    if not _has(connection, "logged_models"):
        return
    rows = connection.execute(
        "SELECT m.model_id, m.name, m.artifact_location, t.tag_value FROM logged_models m "
        "LEFT JOIN logged_model_tags t ON t.model_id = m.model_id AND t.tag_key = ? "
        "WHERE m.status = ? AND m.lifecycle_stage = 'active' ORDER BY m.model_id",
        (DIGEST, LOGGED_READY),
    )
    for identity, name, location, digest in rows.fetchall():
        yield _Model(f"The logged model {name} ({identity})", location, digest)


def _resolved(connection: sqlite3.Connection, location: str) -> str:
    """Return where ``models:/ID`` and ``runs:/ID/PATH`` lead; any other location as it is."""
    parts = urlsplit(location)
    identity, _, path = parts.path.strip("/").partition("/")
    query = {
        "models": "SELECT artifact_location FROM logged_models WHERE model_id = ?",
        "runs": "SELECT artifact_uri FROM runs WHERE run_uuid = ?",
    }.get(parts.scheme)
    row = connection.execute(query, (identity,)).fetchone() if query else None
    return "/".join(part for part in (row[0], path) if part) if row else location


def _key(location: str, bucket: str) -> str | None:
    """Return the key in the artifact bucket of what lies at a location; None where that is elsewhere."""
    parts = urlsplit(location)
    if parts.scheme == "mlflow-artifacts" or (parts.scheme == "s3" and parts.netloc == bucket):
        return parts.path.strip("/")
    return None


def _active(connection: sqlite3.Connection) -> set[str]:
    """Return the ids of active runs and logged models."""
    found: set[str] = set()
    for table, column in (("runs", "run_uuid"), ("logged_models", "model_id")):
        if _has(connection, table):
            rows = connection.execute(f"SELECT {column} FROM {table} WHERE lifecycle_stage = 'active'")  # noqa: S608
            found.update(row[0] for row in rows)
    return found


def _identities(key: str) -> set[str]:
    """Return the ids of runs and logged models that a key names."""
    return {part for part in key.split("/")[:-1] if _IDENTITY.fullmatch(part)}


def _has(connection: sqlite3.Connection, table: str) -> bool:
    return bool(connection.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (table,)).fetchone())
