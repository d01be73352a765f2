"""``python -m stackctl.backup.restore_run``: the part of a restore that happens where the data is.

Its steps, each a call of its own (the services are stopped and started in between by whoever restores): ``find``
names the snapshot that a person means, ``plan`` says what would be restored, ``apply`` puts objects and then databases
into place and keeps what they replace, ``check`` compares what is live with the snapshot, ``finish`` lets go of what
was kept, ``undo`` brings it back. Each of them can be interrupted and called again. Standard output is one JSON event
per line; the last one is ``end``.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from stackctl.backup import restore_databases as databases
from stackctl.backup import restore_folders as folders
from stackctl.backup import restore_objects as objects
from stackctl.backup import untold
from stackctl.backup.closure import LiveObjects, closure
from stackctl.backup.documents import write_document
from stackctl.backup.events import Events, bar
from stackctl.backup.events import to_stdout as tell
from stackctl.backup.manifest import sha256_of
from stackctl.backup.repository import Busy, Snapshot
from stackctl.backup.restore_places import Live, Only, data_of, find, folders_of, objects_of
from stackctl.errors import StackctlError
from stackctl.store.urls import ObjectInfo, open_store

SURPLUS = "surplus.json"
PATIENCE = 120.0
PAUSE = 0.5
STEPS = ("find", "plan", "apply", "check", "finish", "undo")


def main(arguments: Sequence[str] | None = None) -> int:
    """Do one step for the stack that the environment describes; returns the exit status."""
    parser = argparse.ArgumentParser(prog="stackctl.backup.restore_run")
    parser.add_argument("step", choices=STEPS)
    parser.add_argument("snapshot", nargs="?")
    parser.add_argument("--only", choices=("db", "objects", "outbound"))
    given = parser.parse_args(arguments)
    try:
        live = Live.from_env()
        if given.step == "find":
            tell("end", status="ok", id=find(live.repository, given.snapshot).id)
            return 0
        if given.step == "undo":
            tell("end", status="ok", **undo(live, tell))
            return 0
        snapshot = find(live.repository, given.snapshot)
        steps: dict[str, Callable[[Live, Snapshot, Only | None, Events], dict[str, Any]]] = {
            "plan": plan,
            "apply": apply,
            "check": check,
            "finish": _finish_and_tell,
        }
        found = steps[given.step](live, snapshot, given.only, tell)
        tell("end", status="ok", id=snapshot.id, **found)
    except StackctlError as error:
        tell("end", status="failed", exit=error.code, message=error.message, hint=error.hint)
        return error.code
    except BrokenPipeError:  # nobody listens any more
        return StackctlError.code
    except (OSError, sqlite3.Error) as error:
        message = f"The restore stopped in its step {given.step}: {error}."
        hint = "Mend that; then `stackctl restore` goes on, or `stackctl restore --undo` goes back."
        tell("end", status="failed", exit=StackctlError.code, message=message, hint=hint)
        return StackctlError.code
    return 0


def plan(live: Live, snapshot: Snapshot, only: Only | None, tell: Events) -> dict[str, Any]:
    """Say what would be restored, after every file of it was compared with the snapshot's manifest.

    Raises:
        StackctlError: a file is missing or damaged, or the disk lacks room.
    """
    wanted = objects_of(snapshot, only, live.settings)
    saved = databases.databases_in(snapshot.folder) if only in (None, "db") else []
    plain = {"data": data_of(snapshot, only), **folders_of(snapshot, only)}
    files = [each for group in (*wanted.values(), *plain.values()) for each in group]
    for number, each in enumerate(files, 1):
        if not each.file.is_file() or sha256_of(each.file) != each.sha256:
            raise _damaged(snapshot, each.file)
        if number % 100 == 0 or number == len(files):
            tell("step", name="verify", done=number, total=len(files))
    for database in saved:
        recorded = snapshot.manifest.files.get(f"db/{database.name}")
        if recorded is None or sha256_of(database) != recorded[0]:
            raise _damaged(snapshot, database)
    _room(live.databases, sum(file.stat().st_size for file in saved))
    mlflow = snapshot.folder / "db" / "mlflow.db"
    return {
        "at": snapshot.at.isoformat(),
        "objects": {bucket: len(found) for bucket, found in wanted.items()},
        "data": len(plain["data"]),
        "databases": [file.name for file in saved],
        "bytes": sum(each.size for each in files) + sum(file.stat().st_size for file in saved),
        "revision": databases.revision_of(mlflow) if mlflow in saved else None,
        "secrets": dict(snapshot.manifest.parts.get("secrets", {})),
    }


def apply(live: Live, snapshot: Snapshot, only: Only | None, tell: Events) -> dict[str, Any]:
    """Put objects, data folders and then the databases into place; what they replace is kept. Nothing may write."""
    with _locked(live, tell):
        counts: dict[str, dict[str, int]] = {}
        for bucket, wanted in objects_of(snapshot, only, live.settings).items():
            kept = live.kept / "objects" / bucket
            put = objects.put_back(live.bucket(bucket), wanted, kept, progress=bar(tell, bucket, len(wanted)))
            counts[bucket] = asdict(put)
        of_folders, left = folders.put_folders(live.folder, live.kept, snapshot, only, tell)
        if only is None:
            _note_surplus(live, snapshot)
        if only in (None, "db"):
            _place_databases(live, snapshot, tell)
    return {"put": {**counts, **of_folders}, "left": left}


def check(live: Live, snapshot: Snapshot, only: Only | None, tell: Events) -> dict[str, Any]:
    """Compare what is live with the snapshot, before anything writes: objects, the database's soundness, closure."""
    problems: list[str] = []
    for bucket, wanted in objects_of(snapshot, only, live.settings).items():
        tell("step", name=f"check {bucket}", done=0, total=len(wanted))
        wrong = objects.differing(live.bucket(bucket), wanted)
        problems += [f"s3://{bucket}/{key} is missing or differs from the snapshot" for key in wrong]
        tell("step", name=f"check {bucket}", done=len(wanted), total=len(wanted))
    mlflow = live.databases / "mlflow.db"
    if not mlflow.is_file():
        return {"problems": problems, "closure": None}
    with contextlib.closing(sqlite3.connect(mlflow)) as connection:
        said = [str(row[0]) for row in connection.execute("PRAGMA integrity_check")]
        said += [f"a row of {row[0]} refers to nothing" for row in connection.execute("PRAGMA foreign_key_check")]
    problems += [f"mlflow.db: {line}" for line in said if line != "ok"]
    artifacts = live.settings.buckets.mlflow
    closed = closure(mlflow, LiveObjects(open_store(live.stack, f"s3://{artifacts}")), bucket=artifacts)
    known = set(snapshot.manifest.closure.incomplete)  # what was broken when the snapshot was taken is no news
    problems += [sentence for sentence in closed.incomplete if only is not None or sentence not in known]
    return {"problems": problems, "closure": closed.to_dict()}


def finish(live: Live, snapshot: Snapshot, only: Only | None, tell: Events) -> dict[str, Any]:
    """Remove artifacts that the restored database does not know, and let go of what was kept."""
    with _locked(live, tell):
        noted = live.kept / SURPLUS
        removed = 0
        if only is None and noted.is_file():
            store = live.bucket(live.settings.buckets.mlflow)
            now = {info.key: _state(info) for info in store.list()}
            # what was written since the services run again is somebody's work
            unchanged = [key for key, state in json.loads(noted.read_text()).items() if now.get(key) == state]
            removed = objects.remove(store, unchanged)
            tell("step", name="surplus artifacts", done=removed, total=removed)
        databases.forget_kept(live.databases)
        shutil.rmtree(live.kept, ignore_errors=True)
    return {"removed": removed, "snapshot": snapshot.id}


def _finish_and_tell(live: Live, snapshot: Snapshot, only: Only | None, tell: Events) -> dict[str, Any]:
    """Finish, and tell the restored MLflow of the snapshots that are younger than its database."""
    found = finish(live, snapshot, only, tell)
    if problem := untold.remind(live.repository, live.stack):
        tell("note", text=problem)
    return found


def _place_databases(live: Live, snapshot: Snapshot, tell: Events) -> None:
    without_secret: list[str] = []

    def prepare(database: Path) -> None:
        without_secret.extend(databases.drop_foreign_webhooks(database, live.webhook_key))

    for copy in databases.databases_in(snapshot.folder):
        databases.place(copy, live.databases, prepare=prepare)
        tell("step", name=copy.name, done=1, total=1)
    for name in without_secret:
        tell("note", text=f"The webhook {name} is switched off: its secret was kept under another key. Set it anew.")


def _note_surplus(live: Live, snapshot: Snapshot) -> None:
    """Note the artifacts that the snapshot does not have, while nobody writes any: ``finish`` deletes them."""
    if live.settings.mlflow.kind != "bundled":
        return
    artifacts = live.settings.buckets.mlflow
    known = {each.key for each in objects_of(snapshot, None, live.settings).get(artifacts, [])}
    surplus = {info.key: _state(info) for info in live.bucket(artifacts).list() if info.key not in known}
    live.kept.mkdir(parents=True, exist_ok=True)
    write_document(live.kept / SURPLUS, surplus)


def _state(info: ObjectInfo) -> list[str]:
    """Return what changes when an object is written again."""
    return [str(info.size), info.modified.isoformat(), info.etag or ""]


def undo(live: Live, tell: Events) -> dict[str, Any]:
    """Bring back what a restore replaced: databases first (their objects are all still there), then objects."""
    with _locked(live, tell):
        names = databases.bring_back(live.databases)
        count = 0
        for folder in sorted((live.kept / "objects").glob("*")):
            tell("step", name=folder.name, done=0, total=0)
            count += objects.bring_back(live.bucket(folder.name), folder)
        count += folders.bring_back(live.folder, live.kept)
        shutil.rmtree(live.kept, ignore_errors=True)
    return {"databases": names, "objects": count}


@contextlib.contextmanager
def _locked(live: Live, tell: Events) -> Iterator[None]:
    """Hold the repository; what is at work in it, as the rest of a restore that was killed, is waited for."""
    live.repository.prepare()
    deadline = time.monotonic() + PATIENCE
    with contextlib.ExitStack() as held:
        while True:
            try:
                held.enter_context(live.repository.lock("restore"))
                break
            except Busy as error:
                if time.monotonic() > deadline:
                    raise
                tell("step", name="lock", done=0, total=0, text=error.message)
                time.sleep(PAUSE)
        yield


def _room(folder: Path, size: int) -> None:
    nearest = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(nearest).free
    if free < size:
        raise StackctlError(
            f"The databases need {size / 2**20:.0f} MiB in {folder}, and {free / 2**20:.0f} MiB are free.",
            "Free some space; nothing was changed.",
        )


def _damaged(snapshot: Snapshot, file: Path) -> StackctlError:
    return StackctlError(
        f"The snapshot {snapshot.id} is damaged: {file.relative_to(snapshot.folder)} is not what was taken.",
        "Nothing was changed. Restore another snapshot (`stackctl backup list`).",
    )


if __name__ == "__main__":
    sys.exit(main())
