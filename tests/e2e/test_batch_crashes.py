"""Runs on this machine whose workers, coordinator, disk and store fail; MLflow is gone in all of them.

Whatever fails, the results are those of a calm run, to the byte.
"""

from __future__ import annotations

import hashlib
import os
import random
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from support.batch_runs import BatchRuns, digests
from support.deadly_images import DEADLY, ENDLESS, ENVIRONMENT
from support.pictures import encode, noise
from support.ports import free_port
from support.waiting import PATIENCE

from stackctl.batch.order import OrderedModel, OrderedSecurity
from stackctl.checkpoints.networks import prepare
from stackctl.process import run, start, stop
from stackctl.scaffold.secret_files import batch_tls
from stackctl.stack import Stack
from stackctl.store.minio import build_minio, find_minio
from stackctl.store.urls import open_store

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
IMAGES = 24


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of images of mixed sizes, a colliding pair and one that is none."""
    folder = tmp_path_factory.mktemp("photos")
    draw = random.Random(7)
    (folder / "sub").mkdir()
    for number in range(IMAGES):
        height, width = draw.randint(30, 300), draw.randint(30, 300)
        name = f"sub/{number:02}.png" if number % 3 == 0 else f"{number:02}.png"
        (folder / name).write_bytes(encode(noise(height, width, seed=number)))
    (folder / "01.jpg").write_bytes(encode(noise(50, 40, seed=99), "JPEG"))
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    return folder


@pytest.fixture(scope="module")
def model() -> OrderedModel:
    found = prepare("starter", run=lambda *_: pytest.fail("a starter needs no torch"), progress=lambda *_: None)
    return OrderedModel(
        "super-resolution", "1", "sha256:starter", network=str(found.path), golden=str(found.golden), bf16_allowed=True
    )


@pytest.fixture
def batch(tmp_path: Path, model: OrderedModel) -> Iterator[BatchRuns]:
    runs = BatchRuns(tmp_path / "batch", model)
    yield runs
    runs.stop()


@pytest.fixture(scope="module")
def calm(photos: Path, model: OrderedModel, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The digests of a calm run's results."""
    folder = tmp_path_factory.mktemp("calm")
    done = BatchRuns(folder / "batch", model).start(photos, folder / "out", folder / "bad")
    done.finishes()
    found = digests(folder / "out")
    assert len(found) == IMAGES + 1
    assert {"01_jpg_out.jpg", "01_png_out.png", "sub/00_out.png"} <= set(found)
    assert set(digests(folder / "bad")) == {"broken.png", "broken.png.json"}
    return found


def told(kind: str, count: int, **facts: str) -> Callable[[list[dict[str, Any]]], bool]:
    """Return a condition: so many events of this kind, with these facts."""

    def enough(events: list[dict[str, Any]]) -> bool:
        return len([event for event in events if event["event"] == kind and facts.items() <= event.items()]) >= count

    return enough


@pytest.mark.parametrize("seed", [1])
def test_killed_workers_lose_nothing(
    batch: BatchRuns, photos: Path, calm: dict[str, str], tmp_path: Path, seed: int
) -> None:
    draw = random.Random(seed)
    going = batch.start(photos, tmp_path / "out", tmp_path / "bad")
    going.until(lambda _: bool(going.workers()), "a worker process")
    going.workers()[0].kill()  # while it starts
    for count in sorted(draw.sample(range(2, 18), 2)):
        going.until(told("image", count), f"image {count}")
        going.until(lambda _: bool(going.workers()), "a worker process")
        draw.choice(going.workers()).kill()
    going.finishes()
    assert digests(tmp_path / "out") == calm
    assert told("worker", 1, state="died")(going.events)
    done = going.names("done")
    assert len(done) == len(set(done)) == IMAGES + 1


@pytest.mark.parametrize("seed", [3])
def test_a_killed_coordinator_and_a_killed_machine_are_resumed(
    batch: BatchRuns, photos: Path, calm: dict[str, str], tmp_path: Path, seed: int
) -> None:
    draw = random.Random(seed)
    kept: set[str] = set()
    for kill_all in (False, True):
        going = batch.start(photos, tmp_path / "out", tmp_path / "bad")
        going.until(told("image", draw.randint(2, 7), status="done"), "some images")
        if kill_all:
            going.kill_everything()
        else:
            workers = going.workers()
            going.process.kill()
            going.process.wait()
            psutil.wait_procs(workers, timeout=PATIENCE)
            assert not any(worker.is_running() for worker in workers), "workers outlive their coordinator"
        assert not kept & set(going.names("done")), "what was done is done again"
        kept |= set(going.names("done"))
        found = {name: digest for name, digest in digests(tmp_path / "out").items() if "partial" not in name}
        assert found.items() <= calm.items()
    last = batch.start(photos, tmp_path / "out", tmp_path / "bad")
    last.finishes()
    assert not kept & set(last.names("done"))
    assert digests(tmp_path / "out") == calm


def test_images_that_kill_or_hang_their_worker_are_given_up_at_the_third_death(
    batch: BatchRuns, photos: Path, calm: dict[str, str], tmp_path: Path
) -> None:
    source = tmp_path / "in"
    run(["cp", "-r", photos, source])
    (source / "deadly.png").write_bytes(encode(noise(200, 200)) + DEADLY)
    (source / "endless.png").write_bytes(encode(noise(210, 200)) + ENDLESS)
    batch.env = ENVIRONMENT
    going = batch.start(source, tmp_path / "out", tmp_path / "bad", image_timeout=4.0)
    going.finishes()
    assert digests(tmp_path / "out") == calm
    given_up = {event["name"]: event["code"] for event in going.events if event.get("status") == "quarantined"}
    assert given_up == {"broken.png": "corrupt_image", "deadly.png": "kills_worker", "endless.png": "timeout"}
    tries = [event["name"] for event in going.events if event["event"] == "started"]
    assert (tries.count("deadly.png"), tries.count("endless.png")) == (3, 3)
    assert {"deadly.png", "deadly.png.json", "endless.png", "endless.png.json"} <= set(digests(tmp_path / "bad"))


@contextmanager
def tiny_disk(folder: Path, size: int) -> Iterator[Path]:
    """A disk of so many bytes."""
    folder.mkdir()
    if os.getuid() != 0 or run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], check=False).returncode:
        pytest.skip("no file system can be mounted here")
    try:
        yield folder
    finally:
        run(["umount", "-l", folder])


def test_a_full_disk_is_waited_for(batch: BatchRuns, photos: Path, calm: dict[str, str], tmp_path: Path) -> None:
    with tiny_disk(tmp_path / "disk", 256 * 2**20) as disk:
        ballast = disk / "ballast"
        with ballast.open("wb") as file:  # everything lies on this disk: results, manifest, events
            file.write(b"x" * (252 * 2**20))
        batch.folder = disk / "batch"
        going = batch.start(photos, disk / "out", disk / "bad")
        going.until(told("waiting", 1), "waiting")
        before = len(going.names("done"))
        assert before < IMAGES
        ballast.unlink()
        going.finishes()
        assert digests(disk / "out") == calm
        assert told("resumed", 1)(going.events)


@pytest.fixture
def minio(tmp_path: Path) -> Iterator[tuple[psutil.Process, dict[str, str]]]:
    """An object store of its own, and the environment in which a service finds it."""
    if find_minio() is None:
        build_minio(lambda _subject, _what: None)
    port = free_port()
    credentials = tmp_path / "s3_credentials"
    credentials.write_text("[default]\naws_access_key_id = tested-user\naws_secret_access_key = tested-password\n")
    root = {"MINIO_ROOT_USER": "tested-user", "MINIO_ROOT_PASSWORD": "tested-password"}
    server = start(
        [str(find_minio()), "server", tmp_path / "objects", "--address", f"127.0.0.1:{port}"],
        env=root,
        log=tmp_path / "minio.log",
    )
    env = {
        "STACKCTL_STORE_ENDPOINT": f"http://127.0.0.1:{port}",
        "AWS_SHARED_CREDENTIALS_FILE": str(credentials),
        "STACKCTL_SECRETS": str(tmp_path),
    }
    try:
        buckets = {"STACKCTL_BUCKETS": "inbound,outbound,quarantine,mlflow", "STACKCTL_BUCKET_MLFLOW": "mlflow"}
        run([sys.executable, "-m", "stackctl.store.init"], env={**env, **buckets})
        yield psutil.Process(server.pid), env
    finally:
        stop(server)


def test_a_store_that_stands_still_is_waited_for(
    batch: BatchRuns,
    photos: Path,
    calm: dict[str, str],
    minio: tuple[psutil.Process, dict[str, str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server, batch.env = minio
    names = {"STACKCTL_NAME": "tested", "STACKCTL_MODEL": "super-resolution", "MLFLOW_TRACKING_URI": "http://none"}
    for name, value in {**names, **batch.env}.items():
        monkeypatch.setenv(name, value)
    stack = Stack.from_env()
    inbound, outbound = open_store(stack, "s3://inbound"), open_store(stack, "s3://outbound")
    for file in photos.rglob("*.*"):
        inbound.put(file.relative_to(photos).as_posix(), file.read_bytes())
    going = batch.start("s3://inbound", "s3://outbound", "s3://quarantine")
    going.until(told("image", 4), "four images")
    server.send_signal(signal.SIGSTOP)
    time.sleep(30)
    server.send_signal(signal.SIGCONT)
    going.finishes()
    found = {each.key: hashlib.sha256(outbound.get(each.key)).hexdigest() for each in outbound.list()}
    assert found == calm
    assert {each.key for each in open_store(stack, "s3://quarantine").list()} == {"broken.png", "broken.png.json"}


class OwnScheduler:
    """A Dask scheduler and two workers that are there before a run; it tries again what a worker died on."""

    def __init__(self, folder: Path) -> None:
        self.key = folder / "batch_tls"
        self.key.write_text(batch_tls())
        self.address = f"tls://127.0.0.1:{free_port()}"
        tls = "DASK_DISTRIBUTED__COMM__TLS__"
        sides = {f"{tls}{side}__{part}": str(self.key) for side in ("SCHEDULER", "WORKER") for part in ("CERT", "KEY")}
        self.env = {f"{tls}CA_FILE": str(self.key), "DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION": "true", **sides}
        self.log = folder / "dask.log"
        self.cache = {"STACKCTL_WORKER_CACHE": str(folder / "workers"), "STACKCTL_BATCH_THREADS": "1"}
        self.processes: list[Any] = []
        self.scheduler = self.begin("scheduler", "--host", self.address, "--no-dashboard")
        self.workers = [self.worker() for _ in range(2)]

    def worker(self, **env: str) -> Any:
        options = ("--nworkers", "1", "--nthreads", "1", "--no-dashboard", "--memory-limit", "4GiB")
        return self.begin("worker", self.address, *options, **env)

    def begin(self, *words: str, **env: str) -> Any:
        found = start([sys.executable, "-m", "dask", *words], env={**self.env, **self.cache, **env}, log=self.log)
        self.processes.append(found)
        return found

    def close(self) -> None:
        for each in self.processes:
            stop(each, grace=0.5)


@pytest.fixture
def dask(tmp_path: Path) -> Iterator[OwnScheduler]:
    found = OwnScheduler(tmp_path)
    yield found
    found.close()


def test_a_scheduler_that_is_there_already_may_be_killed_with_a_worker_of_its(
    batch: BatchRuns, photos: Path, calm: dict[str, str], tmp_path: Path, dask: OwnScheduler
) -> None:
    keys = OrderedSecurity(*[str(dask.key)] * 3)
    going = batch.start(photos, tmp_path / "out", tmp_path / "bad", scheduler=dask.address, security=keys)
    going.until(told("image", 3), "three images")
    psutil.Process(dask.workers[0].pid).children()[0].kill()  # its nanny starts another one
    going.until(told("image", 8), "eight images")
    dask.scheduler.kill()
    going.until(told("waiting", 1), "waiting")
    dask.scheduler = dask.begin("scheduler", "--host", dask.address, "--no-dashboard")
    dask.worker()
    going.finishes()
    assert digests(tmp_path / "out") == calm


def test_workers_with_other_packages_are_refused(
    batch: BatchRuns, photos: Path, tmp_path: Path, dask: OwnScheduler
) -> None:
    other = {"DASK_DISTRIBUTED__WORKER__PRELOAD": '["support.other_packages"]', "PYTHONPATH": ENVIRONMENT["PYTHONPATH"]}
    dask.worker(**other)
    keys = OrderedSecurity(*[str(dask.key)] * 3)
    end = batch.start(photos, tmp_path / "out", tmp_path / "bad", scheduler=dask.address, security=keys).ended()
    assert (end["exit"], "another environment" in end["message"]) == (4, True)
