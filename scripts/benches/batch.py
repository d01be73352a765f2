"""The batch worker beside the bare engine, upstream's own loop, and a bare loop over files; its overhead and memory.

It needs torch (``scripts/train-env``; BENCH_TRAIN_PYTHON names another interpreter that has torch and realesrgan). The
real weights are taken where ``STACKCTL_TEST_SHARED`` (default: ``../shared``) has them.
"""

from __future__ import annotations

import os
import shutil
import statistics
import struct
import sys
import tempfile
import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from benches.batch_runs import Batches, Ran, obliging_mlflow
from benches.imaging import real_weights, train_python
from benches.peer import Peer, peer
from benches.report import Row, at_least, at_most

PHOTOS = 200
TINY = 10_000
MANY = 1_000_000
WORKERS = 2


@dataclass
class Bench:
    """What every part of the benchmark uses."""

    folder: Path
    torch: Peer
    batches: Batches
    quick: bool

    @property
    def network(self) -> str:
        """The ONNX file."""
        return str(self.folder / "network.onnx")

    @property
    def weights(self) -> str:
        """The file of the fp32 weights."""
        return str(self.folder / "weights.pth")


def measure(*, quick: bool = False) -> Iterator[Row]:
    """Yield every figure of the batch worker; ``quick`` takes fewer and smaller images."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-batch-")))
        mlflow = stack.enter_context(obliging_mlflow())
        yield from _overhead(folder, mlflow, quick=quick)
        yield from _planning(quick=quick)
        torch = stack.enter_context(peer(train_python(), "realesrganer"))
        bench = Bench(folder, torch, Batches(folder / "photos", mlflow, str(folder / "network.onnx")), quick)
        which = torch.call("write_weights", source=real_weights(), target=bench.weights)
        torch.call("write_onnx", weights=bench.weights, target=bench.network)
        torch.call("load", weights=bench.weights)
        photos = _write_photos(bench, 24 if quick else PHOTOS)
        yield Row(f"weights: {which}; photos of mixed sizes", len(photos), "")
        yield from _throughput(bench, photos)
        yield from _memory(bench)


def _overhead(folder: Path, mlflow: str, *, quick: bool) -> Iterator[Row]:
    """CPU per image of runs that upscale nothing: the slope between a small run and a large one, without start-up."""
    few, many = (200, 2200) if quick else (1000, 1000 + TINY)
    cpu, wall = {}, {}
    batches = Batches(folder / "tiny", mlflow)
    for count in (few, many):
        inputs, outputs = _tiny(folder / f"in-{count}", count), folder / f"out-{count}"
        ran = batches.run(inputs, outputs, workers=WORKERS)
        _all_there(outputs, count)
        cpu[count], wall[count] = ran.cpu, ran.seconds
    images = many - few
    bare = _bare_files(folder / f"in-{many}", folder / "bare") / many * 1000
    per_image = (cpu[many] - cpu[few]) / images * 1000
    yield at_most("1×1 through a no-op model: CPU per image, all processes", per_image, "ms", 3.0, rival=bare)
    yield Row("the same: wall per image", (wall[many] - wall[few]) / images * 1000, "ms")
    ran = batches.run(folder / f"in-{many}", folder / f"out-{many}", workers=WORKERS)
    skipped = ran.of("begin")[0]["skipped"]
    row = at_least("a rerun where all is done, its start-up included: inputs/s", skipped / ran.seconds, "1/s", 2000)
    yield replace(row, bar=None, reason=f"its bar is for {TINY:,} inputs") if quick else row
    for count in (few, many):
        shutil.rmtree(folder / f"in-{count}")
        shutil.rmtree(folder / f"out-{count}")


def _bare_files(inputs: Path, outputs: Path) -> float:
    """Return the CPU seconds of read, write, fsync, rename, fsync of the folder, over all files."""
    outputs.mkdir()
    handle = os.open(outputs, os.O_RDONLY)
    began = time.process_time()
    for file in inputs.iterdir():
        partial = outputs / f".{file.name}"
        with partial.open("wb") as target:
            target.write(file.read_bytes())
            target.flush()
            os.fsync(target.fileno())
        partial.rename(outputs / file.name)
        os.fsync(handle)
    spent = time.process_time() - began
    os.close(handle)
    shutil.rmtree(outputs)
    return spent


def _planning(*, quick: bool) -> Iterator[Row]:
    many = MANY // 10 if quick else MANY
    found = {}
    for count in (10_000, many):
        with peer(sys.executable, "planner") as planner:
            found[count] = planner.call("batch", count=count)
    small, large = found[10_000], found[many]
    ratio = large["peak_mib"] / small["peak_mib"]
    name = f"plan and manifest: peak memory at {many:,} inputs beside 10,000"
    yield replace(at_most(name, ratio, "×", 1.2), rival=1.0)
    yield Row(f"plan and manifest: peak at {many:,}", large["peak_mib"], "MiB", rival=small["peak_mib"])
    yield at_least(f"plan of {many:,} inputs that are all done: inputs/s", large["rerun_per_s"], "1/s", 2000)


def _throughput(bench: Bench, photos: list[str]) -> Iterator[Row]:
    with peer(sys.executable, "engine") as engine:
        has_bf16 = engine.call("has_bf16")
    yield from _precision(bench, photos, "fp32", 1.4)
    if has_bf16:
        yield from _precision(bench, photos, "bf16", 4.0)
    else:
        reason = "not measured here: this CPU has no bf16 arithmetic (AMX or AVX512-BF16)"
        yield Row("bf16: images/s beside upstream's loop", None, "×", reason=reason)


def _precision(bench: Bench, photos: list[str], precision: str, faster: float) -> Iterator[Row]:
    """Take turns over the same photos: bare engine, two workers, one worker, upstream; the median of ratios counts."""
    turns: dict[str, list[float]] = {name: [] for name in ("bare", "working", "whole", "one", "upstream")}
    first = []
    with ExitStack() as stack:
        team = [stack.enter_context(peer(sys.executable, "engine")) for _ in range(WORKERS)]
        cores = max(1, len(os.sched_getaffinity(0)) // WORKERS)
        cache = str(bench.folder / "openvino")
        for each in team:
            each.call("load", network=bench.network, cache=cache, precision=precision, threads=cores)
        for _ in range(1 if bench.quick else 2):
            turns["bare"].append(_bare_engine(bench, team, photos))
            two = _fresh_run(bench, WORKERS, precision)
            turns["working"].append(two.working)
            turns["whole"].append(two.seconds)
            turns["one"].append(_fresh_run(bench, 1, precision).working)
            turns["upstream"].append(_upstream(bench, photos))
            first.append(two.moment("image") - two.moment("worker", state="joined"))

    def ratio(above: str, below: str) -> float:
        return statistics.median(a / b for a, b in zip(turns[above], turns[below], strict=True))

    rate = {name: len(photos) / statistics.median(seconds) for name, seconds in turns.items()}
    yield Row(f"{precision}: {WORKERS} workers", rate["working"], "images/s", rival=rate["bare"])
    yield at_least(f"{precision}: beside the bare engine in as many processes", ratio("bare", "working"), "×", 0.9)
    yield Row(f"{precision}: the same from process start to exit", ratio("bare", "whole"), "×")
    yield at_least(f"{precision}: images/s beside upstream's loop", ratio("upstream", "working"), "×", faster)
    yield Row(f"{precision}: the same from process start to exit", ratio("upstream", "whole"), "×")
    yield Row(f"{precision}: 2 workers beside 1", ratio("one", "working"), "×")
    yield at_most(f"{precision}: first image after a worker registered", min(first), "s", 2.5)


def _bare_engine(bench: Bench, team: list[Peer], photos: list[str]) -> float:
    """Return seconds in which the engine's processes upscale all photos from one queue, the largest first."""
    queue = sorted(photos, key=lambda photo: Path(photo).stat().st_size)
    lock = threading.Lock()
    failed: list[BaseException] = []

    def work(engine: Peer) -> None:
        try:
            while True:
                with lock:
                    if not queue:
                        return
                    source = queue.pop()
                engine.call("upscale", source=source, target=str(bench.folder / f"bare-{Path(source).name}"))
        except BaseException as error:  # noqa: BLE001 - raised by the one who waits
            failed.append(error)

    began = time.perf_counter()
    threads = [threading.Thread(target=work, args=(engine,)) for engine in team]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]
    return time.perf_counter() - began


def _fresh_run(bench: Bench, workers: int, precision: str) -> Ran:
    outputs = bench.folder / "results"
    shutil.rmtree(outputs, ignore_errors=True)
    bench.batches.forget()
    return bench.batches.run(bench.folder / "inbound", outputs, workers=workers, precision=precision)


def _upstream(bench: Bench, photos: list[str]) -> float:
    target = str(bench.folder / "upstream.png")
    return sum(bench.torch.call("enhance", source=photo, target=target) for photo in photos)


def _memory(bench: Bench) -> Iterator[Row]:
    """Peak of a worker on one large photo, beside what sizing gives it."""
    width, height = (1200, 1000) if bench.quick else (4000, 3000)
    inbound = bench.folder / "large"
    inbound.mkdir()
    photos = [str(photo) for photo in sorted((bench.folder / "inbound").iterdir())[-2:]]
    bench.torch.call("write_mosaic", photos=photos, target=str(inbound / "large.png"), width=width, height=height)
    bench.batches.forget()
    ran = bench.batches.run(inbound, bench.folder / "large-out", workers=1, precision="fp32")
    from stackctl.batch.sizing import LEAST_MEMORY

    row = at_most(
        f"peak of a worker on {width * height / 1e6:.1f} megapixels", ran.worker_mib, "MiB", LEAST_MEMORY / 2**20
    )
    yield replace(row, bar=None, reason="its bar is for 12 megapixels") if bench.quick else row
    yield Row("peak of the coordinator beside it", ran.coordinator_mib, "MiB")


def _write_photos(bench: Bench, count: int) -> list[str]:
    """Write photos of mixed sizes: crops of those that come with packages, 32 to 512 pixels a side."""
    inbound = bench.folder / "inbound"
    inbound.mkdir()
    whole = bench.torch.call("write_photos", folder=str(bench.folder), side=0)
    bench.torch.call("write_crops", photos=whole, folder=str(inbound), count=count, most=224 if bench.quick else 512)
    return [str(photo) for photo in sorted(inbound.iterdir())]


def _tiny(folder: Path, count: int) -> Path:
    """Write PNG images of one pixel."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0abc")) + chunk(b"IEND", b"")
    folder.mkdir()
    for number in range(count):
        (folder / f"{number:05d}.png").write_bytes(png)
    return folder


def _all_there(outputs: Path, count: int) -> None:
    found = sum(1 for _ in outputs.glob("*.png"))
    if found != count:
        message = f"{found} results of {count}"
        raise AssertionError(message)
