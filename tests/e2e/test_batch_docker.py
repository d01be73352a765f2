"""Batches under Docker: buckets, workers in containers, and whatever dies meanwhile; one stack for all of it."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.cli import Cli
from support.pictures import encode, noise
from support.stacks import Stacks
from support.waiting import eventually

from stackctl.engines.docker import DockerEngine
from stackctl.process import run
from stackctl.stack import Stack
from stackctl.store.urls import open_store

pytestmark = [pytest.mark.docker, pytest.mark.slow, pytest.mark.timeout(600)]
NAME = "batched"
SEED = 20261121
IMAGES = 24


@pytest.fixture(scope="module")
def cli(docker: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cli]:
    """Return a running stack with a version in Production and images in ``data/inbound``."""
    maker = Stacks(tmp_path_factory.mktemp("batched"))
    try:
        made = maker.make(NAME, "docker", "bucket_quarantine=given-up")
        made.run("up")
        made.run("models", "import", "starter")
        made.run("promote", "super-resolution", "1")
        inbound = home(made) / "data" / "inbound"
        (inbound / "sub").mkdir()
        for number in range(IMAGES):
            name = f"sub/{number}.png" if number % 3 else f"{number}.png"
            (inbound / name).write_bytes(encode(noise(200, 200 + number, seed=number)))
        (inbound / "broken.jpg").write_bytes(b"no image")
        yield made
    finally:
        maker.destroy()


@pytest.fixture(scope="module")
def calm(cli: Cli) -> dict[str, str]:
    """Return the digests of a run that nobody disturbed."""
    cli.run("scale", "worker=2")
    report = cli.json("batch", "run")
    assert (report["done"], report["quarantined"]) == (IMAGES, 1), report
    return digests(cli, "outbound")


def home(cli: Cli) -> Path:
    assert cli.folder is not None
    return cli.folder


def digests(cli: Cli, bucket: str, prefix: str = "") -> dict[str, str]:
    """Return the SHA-256 of every object below a prefix."""
    store = open_store(Stack.from_folder(home(cli)), f"s3://{bucket}")
    keys = [found.key for found in store.list(prefix)]
    return {key.removeprefix(prefix).lstrip("/"): hashlib.sha256(store.get(key)).hexdigest() for key in keys}


def containers(service: str, *, launched: bool = False) -> list[str]:
    """Return the running containers of a service, without or with those that lead runs alone."""
    label = f"label=com.docker.compose.oneoff={launched}"
    words = ["docker", "ps", "--quiet", f"--filter=label=com.docker.compose.project={NAME}", f"--filter={label}"]
    return run([*words, f"--filter=label=com.docker.compose.service={service}"]).stdout.split()


def crash(container: str) -> None:
    """Kill every process in a container, as a machine that runs out of memory does."""
    run(["docker", "exec", container, "sh", "-c", "kill -9 -1"], check=False)


def test_inbound_goes_through_the_buckets_and_results_and_reasons_come_back(cli: Cli, calm: dict[str, str]) -> None:
    assert len(calm) == IMAGES
    for name, digest in calm.items():
        assert hashlib.sha256((home(cli) / "data" / "outbound" / name).read_bytes()).hexdigest() == digest
    (reason,) = (home(cli) / "data" / "quarantine").rglob("*.json")
    assert json.loads(reason.read_text())["code"] == "unsupported_format"
    assert {Path(key).name.partition(".")[0] for key in digests(cli, "given-up")} == {"broken"}


def test_any_folder_passes_through_the_store_and_leaves_nothing_there(
    cli: Cli, calm: dict[str, str], tmp_path: Path
) -> None:
    photos, large = tmp_path / "photos", tmp_path / "large"
    photos.mkdir()
    for number in range(3):
        (photos / f"{number}.png").write_bytes(encode(noise(20, 20, seed=number)))
    command = ("batch", "run", "-i", photos, "-o", large)
    assert cli.json(*command, "--dry-run")["pending"] == 3
    report = cli.json(*command)
    assert (report["done"], report["input"], report["output"]) == (3, str(photos), str(large))
    assert len(list(large.iterdir())) == 3
    assert not digests(cli, "inbound", ".host")
    assert not digests(cli, "outbound", ".host")
    (large / "1_out.png").unlink()
    report = cli.json(*command)
    assert (report["done"], report["skipped"]) == (1, 2)
    assert len(list(large.iterdir())) == 3
    assert not digests(cli, "inbound", ".host")


def test_a_worker_the_scheduler_and_the_coordinator_die_and_the_results_are_those_of_a_calm_run(
    cli: Cli, calm: dict[str, str]
) -> None:
    chance = random.Random(SEED)
    command = ("batch", "run", "--output", "s3://outbound/rough")
    name = cli.run(*command, "--detach").stdout.strip()
    events = home(cli) / "var" / "batch" / "runs" / name / "events.jsonl"

    def done(wanted: int) -> Callable[[], bool]:
        return lambda: events.is_file() and events.read_text().count('"status": "done"') >= wanted

    points = sorted(chance.sample(range(2, IMAGES // 2), 3))
    eventually(done(points[0]), "the first results")
    crash(chance.choice(containers("worker")))
    eventually(done(points[1]), "results without a worker")
    (scheduler,) = containers("scheduler")
    crash(scheduler)
    eventually(done(points[2]), "results after the scheduler came back")
    (coordinator,) = containers("worker", launched=True)
    run(["docker", "kill", coordinator])

    report = cli.json(*command)
    assert report["skipped"] > 0
    assert digests(cli, "outbound", "rough") == calm
    assert cli.json("status")["state"] == "healthy"


def test_the_scheduler_takes_no_plain_connection_and_no_foreign_key(
    cli: Cli, calm: dict[str, str], tmp_path: Path
) -> None:
    from stackctl.scaffold.secret_files import batch_tls

    (tmp_path / "foreign.pem").write_text(batch_tls())
    code = (
        "import sys; from distributed import Client, Security\n"
        "def tried(url, **security):\n"
        "    try: Client(url, timeout=3, security=Security(**security)); return 'let in'\n"
        "    except OSError: return 'refused'\n"
        "def keys(file): return dict(tls_ca_file='/run/secrets/batch_tls', tls_client_cert=file, tls_client_key=file)\n"
        "print(tried('tcp://scheduler:8786', require_encryption=False))\n"
        "print(tried('tls://scheduler:8786', **keys(sys.argv[1])))\n"
        "print(tried('tls://scheduler:8786', **keys('/run/secrets/batch_tls')))"
    )
    engine = DockerEngine(Stack.from_folder(home(cli)))
    done = engine.run_once("worker", ["python", "-c", code, "{mount:/keys}/foreign.pem"], mounts={tmp_path: "/keys"})
    assert [line for line in done.stdout.splitlines() if line in {"refused", "let in"}] == [
        "refused",
        "refused",
        "let in",
    ]


def test_workers_are_as_many_as_scale_says_and_their_absence_is_no_trouble(cli: Cli, calm: dict[str, str]) -> None:
    def workers() -> list[str]:
        services = cli.json("status")["services"]
        return [service["detail"] for service in services if service["name"] == "worker"]

    cli.run("scale", "worker=3")
    assert workers() == ["3 of 3 run"]
    report = cli.json("batch", "run")
    assert (report["done"], report["skipped"]) == (0, IMAGES)
    assert len(containers("worker")) == 3
    assert "worker" in cli.run("logs", "worker", "--tail", "1").stdout
    cli.run("scale", "worker=0")
    assert workers() == []
    assert cli.json("status")["state"] == "healthy"


def test_down_ends_what_runs_in_the_background_too(cli: Cli) -> None:
    cli.run("batch", "run", "--watch", "--detach")
    eventually(lambda: bool(containers("worker", launched=True)), "a coordinator")
    cli.run("down")
    assert not run(["docker", "ps", "--all", "--quiet", f"--filter=label=com.docker.compose.project={NAME}"]).stdout
