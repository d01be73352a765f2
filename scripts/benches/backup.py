"""Backups beside ``rclone copy``: the mirror step, the first snapshot, the second one; and what writers to MLflow feel.

It makes a stack of the local engine of its own, with a real MinIO. rclone is Debian's package.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import sqlite3
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from benches.report import Row, at_least, at_most
from benches.stack import free_ports
from stackctl import process
from stackctl.backup.events import Progress, quiet
from stackctl.backup.mirror import Index, Mirror
from stackctl.backup.repository import Repository, Snapshot
from stackctl.backup.snapshot import take
from stackctl.backup.sources import Sources
from stackctl.errors import MissingPrerequisite
from stackctl.models.rest import Rest
from stackctl.stack import Stack
from stackctl.stack.environment import local_environment
from stackctl.store.urls import open_store

OBJECTS = 10_000
TOTAL = 2**30
ROUNDS = 2
STALL_PER_100_MB = 0.5
DATABASE = 200 * 10**6
BUCKET = "mlflow"
WHOLE = "its bar is for the whole fixture"


def measure(*, quick: bool = False) -> Iterator[Row]:
    """Yield the mirror beside rclone, both snapshots, and the stall of writers; ``quick`` takes a tenth of the data."""
    if shutil.which("rclone") is None:
        raise MissingPrerequisite("There is no rclone on this machine.", "sudo apt-get install rclone")
    with tempfile.TemporaryDirectory(prefix="bench-backup-") as name:
        scratch = Path(name)
        with _stack(scratch) as stack:
            objects, total = (OBJECTS // 10, TOTAL // 10) if quick else (OBJECTS, TOTAL)
            _fill(stack, objects, total)
            rows = _beside_rclone(stack, scratch, total, 1 if quick else ROUNDS)
            yield from (replace(row, bar=None, reason=WHOLE) if quick and row.bar else row for row in rows)
            yield from _stall(stack, scratch, DATABASE // 2 if quick else DATABASE)


@contextlib.contextmanager
def _stack(scratch: Path) -> Iterator[Stack]:
    folder = scratch / "stack"
    ports = [word for name, port in free_ports().items() for word in ("--data", f"port_{name}={port}")]
    stackctl = [sys.executable, "-m", "stackctl", "-q"]
    process.run([*stackctl, "init", folder, "--defaults", "--data", "engine=local", "--data", "store=minio", *ports])
    settings = folder / "stack.yaml"
    settings.write_text(settings.read_text().replace('schedule: "0 5 * * 6"', "schedule: null"))
    try:
        process.run([*stackctl, "-C", folder, "up"], check=False, timeout=300)
        yield Stack.from_folder(folder)
    finally:
        process.run([*stackctl, "-C", folder, "destroy", "--yes"], check=False)


def _fill(stack: Stack, objects: int, total: int) -> None:
    """Put objects of many sizes (a tenth to twice the mean) into the artifact bucket, as runs' artifacts lie there."""
    store, chance = open_store(stack, f"s3://{BUCKET}"), random.Random(7)  # noqa: S311
    noise = os.urandom(4 * total // objects)
    sizes = [chance.uniform(0.1, 1.9) for _ in range(objects)]
    scale = total / sum(sizes)

    def put(number: int) -> None:
        size, offset = int(sizes[number] * scale), chance.randrange(len(noise) // 2)
        store.put(f"1/{number // 20:032x}/artifacts/{number:05}.bin", noise[offset : offset + size])

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(put, range(objects)))


# ---------------------------------------------------------------- beside rclone


def _beside_rclone(stack: Stack, scratch: Path, total: int, rounds: int) -> Iterator[Row]:
    """Take turns, so that what the machine does besides falls on both."""
    copied, mirrored = [], []
    for number in range(rounds):
        copied.append(_rclone(stack, scratch / "rclone"))
        mirrored.append(_mirror(stack, scratch / f"mirror-{number}"))
    ratio = statistics.median(theirs / ours for theirs, ours in zip(copied, mirrored, strict=True))
    theirs, ours = statistics.median(copied), statistics.median(mirrored)
    mebibytes = total / 2**20
    yield Row("rclone copy", theirs, "s")
    yield Row("the mirror step", ours, "s", rival=theirs)
    yield Row("the mirror step: rate", mebibytes / ours, "MiB/s", rival=mebibytes / theirs)
    yield at_least("the mirror step: its rate by that of rclone copy, in turns", ratio, "", 0.8, rival=1.0)
    repository = Repository(scratch / "backups")
    first, seconds = _snapshot(stack, repository)
    yield at_most("the first snapshot by rclone copy", seconds / theirs, "", 3.0, rival=1.0)
    yield Row("the first snapshot", seconds, "s")
    second, again = _snapshot(stack, repository)
    yield at_most("the second snapshot of an unchanged stack by the first: time", again / seconds, "", 0.2)
    yield Row("the second snapshot", again, "s")
    share = second.manifest.counts["new"]["bytes"] / first.manifest.counts["total"]["bytes"]
    yield at_most("the second snapshot: new bytes by all", share, "", 0.03)
    used = _disk(repository.root)
    yield at_most("both snapshots and the mirror on disk by the objects", used / total, "", 1.1)
    shutil.rmtree(repository.root)


def _rclone(stack: Stack, target: Path) -> float:
    key, secret = stack.secret("store_root_user"), stack.secret("store_root_password")
    environment = {
        "RCLONE_CONFIG": os.devnull,
        "RCLONE_CONFIG_STORE_TYPE": "s3",
        "RCLONE_CONFIG_STORE_PROVIDER": "Minio",
        "RCLONE_CONFIG_STORE_ACCESS_KEY_ID": key,
        "RCLONE_CONFIG_STORE_SECRET_ACCESS_KEY": secret,
        "RCLONE_CONFIG_STORE_ENDPOINT": str(stack.endpoints.store),
    }
    began = time.monotonic()
    # Debian's rclone ends where a CA bundle is set for AWS's libraries
    command = ["env", "-u", "AWS_CA_BUNDLE", "rclone", "copy", f"store:{BUCKET}", target]
    process.run(command, env=environment)
    seconds = time.monotonic() - began
    shutil.rmtree(target)
    return seconds


def _mirror(stack: Stack, folder: Path) -> float:
    store = open_store(stack, f"s3://{BUCKET}")
    (folder / "state").mkdir(parents=True)
    began = time.monotonic()
    with contextlib.closing(Index(folder / "state" / "mirror.sqlite")) as index:
        mirror = Mirror(BUCKET, store, folder / "state" / "mirror" / BUCKET, index)
        mirror.follow(mirror.plan(), Progress(quiet, "objects"))
    seconds = time.monotonic() - began
    shutil.rmtree(folder)
    return seconds


def _snapshot(stack: Stack, repository: Repository) -> tuple[Snapshot, float]:
    sources = Sources.from_env({**os.environ, **local_environment(stack)})
    began = time.monotonic()
    snapshot = take(sources, repository)
    return snapshot, time.monotonic() - began


def _disk(folder: Path) -> int:
    """Return what a folder takes on the disk, hard links counted once."""
    sizes = {}
    for file in folder.rglob("*"):
        state = file.lstat()
        sizes[state.st_ino] = state.st_blocks * 512
    return sum(sizes.values())


# ---------------------------------------------------------------- writers to MLflow


def _stall(stack: Stack, scratch: Path, size: int) -> Iterator[Row]:
    """Let a client log metrics without a pause while the database is copied, and look at the slowest call."""
    database = stack.var / "mlflow" / "mlflow.db"
    run = _grow(stack, database, size)
    measured = database.stat().st_size
    sources = Sources.from_env({**os.environ, **local_environment(stack)})
    alone = Sources(stack.name, databases=sources.databases)
    quietly = _slowest(stack, run, lambda: time.sleep(3))
    slowest = []
    for number in range(3):
        repository = Repository(scratch / f"stall-{number}")
        slowest.append(_slowest(stack, run, lambda repository=repository: take(alone, repository)))  # type: ignore[misc]
        shutil.rmtree(repository.root)
    bar = STALL_PER_100_MB * measured / 10**8
    yield Row("MLflow's database", measured / 10**6, "MB")
    yield Row("slowest write to MLflow without a backup", quietly, "s")
    yield at_most("slowest write to MLflow while its database is copied", max(slowest), "s", bar, rival=quietly)


def _grow(stack: Stack, database: Path, size: int) -> str:
    """Write metrics into the database until it is that large (MLflow waits meanwhile); return a run to log to."""
    rest = Rest(stack.endpoints.mlflow, timeout=60)
    run = str(rest.call("POST", "runs/create", body={"experiment_id": "0", "start_time": 1})["run"]["info"]["run_id"])
    rest.close()
    with contextlib.closing(sqlite3.connect(database, timeout=60)) as connection:
        columns = "key, value, timestamp, step, is_nan, run_uuid"
        step = 0
        while database.stat().st_size < size:
            rows = [("loss", 0.5, number, number, 0, run) for number in range(step, step + 50_000)]
            step += len(rows)
            with connection:
                connection.executemany(f"INSERT INTO metrics ({columns}) VALUES (?, ?, ?, ?, ?, ?)", rows)  # noqa: S608
    return run


def _slowest(stack: Stack, run: str, work: Any) -> float:
    """Return the longest time that a write took while ``work`` was done."""
    stop, seconds = threading.Event(), [0.0]

    def write() -> None:
        rest = Rest(stack.endpoints.mlflow, timeout=60)
        while not stop.is_set():
            body = {"run_id": run, "key": "written", "value": 1.0, "timestamp": time.time_ns() // 10**6}
            began = time.monotonic()
            rest.call("POST", "runs/log-metric", body=body)
            seconds.append(time.monotonic() - began)
        rest.close()

    writer = threading.Thread(target=write)
    writer.start()
    try:
        time.sleep(0.5)
        work()
        time.sleep(0.5)
    finally:
        stop.set()
        writer.join()
    return max(seconds)
