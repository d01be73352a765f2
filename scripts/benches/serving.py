"""The model server under load while Production changes, and what it costs beside the bare engine and MLflow's server.

It makes a stack of the local engine of its own. The real weights are used where ``STACKCTL_TEST_SHARED`` (default:
``../shared``) has them and torch is there to convert them; else the starter network.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import os
import resource
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil

from benches.peer import Peer, peer
from benches.report import Row, at_least, at_most
from benches.stack import free_ports
from stackctl import process
from stackctl.errors import StackctlError

MODEL = "super-resolution"
WEIGHTS = "weights/realesr-animevideov3.fp16.pth"
CLIENTS = 8
SWAPS = 10
READY_SECONDS = 120.0
SIDE = 256


@dataclass(frozen=True)
class Running:
    """A running stack."""

    folder: Path
    scratch: Path

    def stackctl(self, *words: str | Path, check: bool = True) -> process.Completed:
        """Run one command on it."""
        return process.run([sys.executable, "-m", "stackctl", "-q", "-C", self.folder, *words], check=check)

    def url(self, service: str) -> str:
        """Return a service's address."""
        services = json.loads(self.stackctl("status", "--json", check=False).stdout)["services"]
        return next(str(each["url"]) for each in services if each["name"] == service)

    def promote(self, version: str) -> tuple[dict[str, Any], float]:
        """Promote a version; return the command's document and the seconds of CPU that it took."""
        before = _cpu_of_children()
        done = json.loads(self.stackctl("promote", MODEL, version, "--json").stdout)
        return done, _cpu_of_children() - before


def measure(*, quick: bool = False) -> Iterator[Row]:
    """Yield swaps under load, promotions without load, and latency beside the rivals; ``quick`` takes fewer rounds."""
    with tempfile.TemporaryDirectory(prefix="bench-serving-") as name, _stack(Path(name)) as running:
        yield from _swaps(running, SWAPS)
        yield from _promotions(running, 3 if quick else 5)
        rounds = 10 if quick else 40
        rows = list(_latency(running, _starter(2) / "network.onnx", "starter", rounds))
        try:
            network, which = _real_network(running)
        except StackctlError as error:
            yield from rows
            yield Row("the same with the real network", None, "", reason=error.message)
        else:
            yield from (replace(row, bar=None, reason=row.bar and "its bar is for the real network") for row in rows)
            yield from _latency(running, network, which, rounds)


@contextlib.contextmanager
def _stack(scratch: Path) -> Iterator[Running]:
    running = Running(scratch / "stack", scratch)
    ports = [word for name, port in free_ports().items() for word in ("--data", f"port_{name}={port}")]
    init = ["init", running.folder, "--defaults", "--data", "engine=local", "--data", "store=folder"]
    process.run([sys.executable, "-m", "stackctl", "-q", *init, *ports])
    try:
        running.stackctl("up")
        running.stackctl("models", "import", "starter")
        running.stackctl("promote", MODEL, "1")
        yield running
    finally:
        running.stackctl("destroy", "--yes", check=False)


# ---------------------------------------------------------------- swaps under load


def _swaps(running: Running, count: int) -> Iterator[Row]:
    url = running.url("serving")
    image = _starter_input()
    with peer(sys.executable, "clients") as clients:
        expected = {}
        for version in ("2", "1"):
            running.promote(version)
            expected[version] = clients.call("once", url=url, image=image)[0]
        yield _equal_to_engine(running, expected, image)
        clients.call("begin", url=url, image=image, clients=CLIENTS)
        done = [running.promote("2" if number % 2 == 0 else "1") for number in range(count)]
        found = clients.call("end")
    answers: dict[str, int] = found["answers"]
    failed = {what: times for what, times in answers.items() if what.startswith("failed")}
    mixed = {what: times for what, times in answers.items() if what not in expected.values() and what not in failed}
    for what, times in (failed | mixed).items():
        print(f"{times} × {what}", file=sys.stderr)
    label = f"{count} swaps under {CLIENTS} clients"
    yield Row(f"{label}: requests answered", len(found["seconds"]), "")
    yield at_most(f"{label}: requests failed (429 counts)", sum(failed.values()), "", 0)
    yield at_most(f"{label}: answers that are not their version's bytes", sum(mixed.values()), "", 0)
    both = min(sum(times for what, times in answers.items() if what == each) for each in expected.values())
    yield at_least(f"{label}: answers of the version that answered less", both, "", 1)
    slowest = sorted(found["seconds"])[int(len(found["seconds"]) * 0.99)]
    yield Row(f"{label}: latency p50", statistics.median(found["seconds"]), "s")
    yield Row(f"{label}: latency p99", slowest, "s")
    live = [each["live_seconds"] for each, _ in done]
    yield Row(f"{label}: slowest promotion, commit to live", max(live), "s", reason="on two cores that are all taken")
    yield Row(f"{label}: slowest promotion, whole command", max(each["seconds"] for each, _ in done), "s")


def _equal_to_engine(running: Running, expected: dict[str, str], image: str) -> Row:
    """Say whether the server's answers are those of the bare engine with each version's network."""
    import hashlib

    equal = 0
    for version, answer in expected.items():
        target = running.scratch / f"bare-{version}.png"
        with peer(sys.executable, "engine") as engine:
            engine.call(
                "load", network=str(_starter(int(version)) / "network.onnx"), cache=str(running.scratch / "cache")
            )
            engine.call("upscale", source=image, target=str(target), format="png")
        equal += answer == f"{version} {hashlib.sha256(target.read_bytes()).hexdigest()}"
    return at_least("versions whose served bytes are the bare engine's", equal, "", len(expected))


# ---------------------------------------------------------------- promotions without load


def _promotions(running: Running, count: int) -> Iterator[Row]:
    live, whole, cpu, seen = [], [], [], []
    url = running.url("serving")
    for number in range(count):
        version = "2" if number % 2 == 0 else "1"
        with _first_seen(url, version) as moment:
            began = time.time()
            done, spent = running.promote(version)
            returned = time.time()
        live.append(done["live_seconds"])
        whole.append(returned - began)
        seen.append(moment[0] - began)
        cpu.append(spent)
    yield at_most("promotion of the small model: commit to live", max(live), "s", 1.0)
    yield at_most("promotion of the small model: command to live, as a client sees it", max(seen), "s", 12.0)
    yield Row("promotion of the small model: the whole command, median", statistics.median(whole), "s")
    yield at_most("stackctl promote: CPU of the command", max(cpu), "s", 1.0)


@contextlib.contextmanager
def _first_seen(url: str, version: str) -> Iterator[list[float]]:
    """Watch ``/model`` until it names ``version``; the list then holds that moment."""
    moment: list[float] = []

    def watch() -> None:
        end = time.time() + READY_SECONDS
        while not moment and time.time() < end:
            if json.loads(_get(url, "/model"))["version"] == version:
                moment.append(time.time())
            time.sleep(0.02)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    yield moment
    watcher.join(READY_SECONDS)


def _cpu_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


# ---------------------------------------------------------------- latency


def _latency(running: Running, network: Path, which: str, rounds: int) -> Iterator[Row]:
    version = _newest(running)
    running.promote(version)
    url, image, result = running.url("serving"), running.scratch / "photo.png", running.scratch / "bare.png"
    _write_photo(image)
    with (
        peer(sys.executable, "engine") as engine,
        peer(sys.executable, "clients") as clients,
        _mlflow_serve(running, version) as rival,
    ):
        engine.call("load", network=str(network), cache=str(running.scratch / "cache"))
        taken = _rounds(engine, clients, url, rival, image, result, rounds)
        usage = [_usage(each, once) for each, once in ((url, taken.ask_ours), (rival, taken.ask_rival))]
    what = f"{which}, {SIDE}×{SIDE}"
    for name, share, bar in (("p50", 0.5, 1.10), ("p90", 0.9, 1.25)):
        ours, bare = (_quantile(each, share) for each in (taken.ours, taken.bare))
        yield at_most(f"/v1/image beside bare upscale at {name} ({what})", ours / bare, "×", bar, rival=bare)
    ratio = statistics.median(ours / theirs for ours, theirs in zip(taken.ours, taken.rival, strict=True))
    rival_p50 = statistics.median(taken.rival)
    yield at_most(f"/v1/image beside mlflow models serve ({what})", ratio, "×", 0.8, rival=rival_p50)
    for kind, unit, ours, theirs in zip(("CPU per request", "memory"), ("s", "MiB"), *usage, strict=True):
        yield Row(f"  {kind} beside mlflow models serve's", ours, unit, rival=theirs)


@dataclass
class Taken:
    """Seconds per request of each side, and how to ask either server once more."""

    bare: list[float]
    ours: list[float]
    rival: list[float]
    ask_ours: Any
    ask_rival: Any


def _rounds(engine: Peer, clients: Peer, url: str, rival: str, image: Path, result: Path, rounds: int) -> Taken:
    body = json.dumps(
        {
            "dataframe_split": {"columns": ["image"], "data": [[base64.b64encode(image.read_bytes()).decode()]]},
            "params": {"precision": "fp32"},
        }
    ).encode()
    taken = Taken([], [], [], lambda: clients.call("once", url=url, image=str(image)), lambda: _invoke(rival, body))
    for number in range(rounds + 3):
        bare, _ = engine.call("upscale", source=str(image), target=str(result), format="png", precision="fp32")
        what, ours = taken.ask_ours()
        if what.startswith("failed"):
            raise StackctlError(what)
        theirs = _invoke(rival, body)
        if number >= 3:
            taken.bare.append(bare)
            taken.ours.append(ours)
            taken.rival.append(theirs)
    return taken


def _invoke(url: str, body: bytes) -> float:
    began = time.perf_counter()
    line = http.client.HTTPConnection(urlsplit(url).netloc, timeout=READY_SECONDS)
    line.request("POST", "/invocations", body, {"Content-Type": "application/json"})
    answer = line.getresponse()
    document = json.loads(answer.read())
    if answer.status != http.client.OK:
        raise StackctlError(f"mlflow models serve answered {answer.status}: {document}")
    base64.b64decode(document["predictions"][0]["image"])
    line.close()
    return time.perf_counter() - began


@contextlib.contextmanager
def _mlflow_serve(running: Running, version: str) -> Iterator[str]:
    port, log = free_ports()["serving"], running.scratch / "mlflow-serve.log"
    command = ["models", "serve", "--model-uri", f"models:/{MODEL}/{version}", "--env-manager", "local"]
    server = process.start(
        [sys.executable, "-m", "mlflow", *command, "--host", "127.0.0.1", "--port", str(port)],
        cwd=running.scratch,
        env={
            "MLFLOW_TRACKING_URI": running.url("mlflow"),
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        },
        log=log,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        end = time.monotonic() + READY_SECONDS
        while True:
            with contextlib.suppress(OSError, http.client.HTTPException):
                _get(url, "/ping")
                break
            if time.monotonic() > end or server.poll() is not None:
                raise StackctlError(f"mlflow models serve did not start:\n{log.read_text()[-2000:]}")
            time.sleep(0.2)
        yield url
    finally:
        process.stop(server)


def _usage(url: str, once: Any, requests: int = 5) -> tuple[float, float]:
    """Return a server's seconds of CPU per request and its resident MiB, all its processes together."""
    processes = _processes_behind(url)
    before = _cpu_seconds(processes)
    for _ in range(requests):
        once()
    used = _cpu_seconds(processes) - before
    return used / requests, sum(each.memory_full_info().uss for each in processes) / 2**20


def _processes_behind(url: str) -> list[psutil.Process]:
    port = urlsplit(url).port
    found = [
        one.pid
        for one in psutil.net_connections("tcp")
        if one.pid and one.status == psutil.CONN_LISTEN and one.laddr and one.laddr.port == port
    ]
    first = psutil.Process(min(found))
    return [first, *first.children(recursive=True)]


def _cpu_seconds(processes: list[psutil.Process]) -> float:
    return sum(sum(each.cpu_times()[:2]) for each in processes)


# ---------------------------------------------------------------- pieces


def _real_network(running: Running) -> tuple[Path, str]:
    """Register the real network as a further version; return its ONNX file and its name.

    Raises:
        StackctlError: it is not at hand, or torch is not there to convert it.
    """
    from stackctl.lifecycle.upscale_locally import find_network

    shared = os.environ.get("STACKCTL_TEST_SHARED") or Path(__file__).parents[3] / "shared"
    weights = Path(shared) / WEIGHTS
    if not weights.is_file():
        raise StackctlError("not measured here: its weights are not at hand (STACKCTL_TEST_SHARED)")
    running.stackctl("models", "import", weights, "--name", MODEL)

    def progress(_subject: str, _what: str) -> None:
        return

    def no_stack() -> Any:
        raise StackctlError("No stack is needed for a file.")

    return find_network(str(weights), no_stack, progress).path, weights.name.split(".")[0]


def _starter(version: int) -> Path:
    """Return the folder of a starter version."""
    from stackctl import checkpoints

    return Path(checkpoints.__file__).parent / "starter" / f"v{version}"


def _newest(running: Running) -> str:
    shown = json.loads(running.stackctl("models", "show", MODEL, "--json").stdout)
    return str(max(int(each["version"]) for each in shown["versions"]))


def _starter_input() -> str:
    return str(_starter(1) / "golden" / "00_input.png")


def _write_photo(target: Path) -> None:
    """Write a photo of the demo, cut to 256×256."""
    import cv2

    samples = Path(__file__).parents[2] / "flask_demo" / "static" / "samples"
    cv2.imwrite(str(target), cv2.imread(str(samples / "coffee.png"))[:SIDE, :SIDE])


def _quantile(values: list[float], share: float) -> float:
    return statistics.quantiles(values, n=100, method="inclusive")[round(share * 100) - 1]


def _get(url: str, path: str) -> bytes:
    line = http.client.HTTPConnection(urlsplit(url).netloc, timeout=10)
    try:
        line.request("GET", path)
        answer = line.getresponse()
        data = answer.read()
        if answer.status != http.client.OK:
            raise http.client.HTTPException(f"{path} answered {answer.status}")
        return data
    finally:
        line.close()
