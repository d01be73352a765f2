"""The image engine beside upstream's RealESRGANer: the same weights, the same photos, PNG in, PNG out, in turns.

It needs torch (``scripts/train-env``; BENCH_TRAIN_PYTHON names another interpreter that has torch and realesrgan). The
real weights are taken where ``STACKCTL_TEST_SHARED`` (default: ``../shared``) has them.
"""

from __future__ import annotations

import math
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

from benches.peer import Peer, peer
from benches.report import Row, at_least, at_most

WEIGHTS = "weights/realesr-animevideov3.fp16.pth"
FLOP_PER_PIXEL = 2 * 9 * (3 * 64 + 16 * 64 * 64 + 64 * 48)
"""Of the network, per input pixel: its 3×3 convolutions."""
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
BASE_MIB = 300.0


@dataclass
class Bench:
    """What every part of the benchmark uses."""

    folder: Path
    train: Path
    torch: Peer
    quick: bool
    which: str = ""
    photos: list[str] = field(default_factory=list)

    @property
    def weights(self) -> str:
        """The file of the fp32 weights."""
        return str(self.folder / "weights.pth")

    @property
    def network(self) -> str:
        """The ONNX file."""
        return str(self.folder / "network.onnx")

    @property
    def cache(self) -> str:
        """The folder of compiled networks."""
        return str(self.folder / "openvino")

    def result(self, name: str) -> str:
        """Return the path of a result."""
        return str(self.folder / name)

    def pixels(self, photo: str) -> int:
        """Return the size of a PNG in pixels."""
        header = Path(photo).read_bytes()[16:24]
        return int.from_bytes(header[:4]) * int.from_bytes(header[4:])


def measure(*, quick: bool = False) -> Iterator[Row]:
    """Yield every figure of the image engine; ``quick`` takes small crops and leaves 12 megapixels out."""
    train = train_python()
    with tempfile.TemporaryDirectory(prefix="bench-imaging-") as name, peer(train, "realesrganer") as torch:
        bench = Bench(Path(name), train, torch, quick)
        bench.which = torch.call("write_weights", source=real_weights(), target=bench.weights)
        torch.call("write_onnx", weights=bench.weights, target=bench.network)
        torch.call("load", weights=bench.weights)
        bench.photos = torch.call("write_photos", folder=name, side=192 if quick else 0)
        yield Row(f"weights: {bench.which}; photos", len(bench.photos), "")
        yield from _speed(bench)
        yield from _all_but_inference(bench)
        yield from _tiling(bench)
        yield from _memory(bench)
        yield from _cold_start(bench)


def train_python() -> Path:
    """Return the interpreter that has torch and realesrgan."""
    given = os.environ.get("BENCH_TRAIN_PYTHON")
    if given:
        return Path(given)
    from stackctl.engines.environments import train_environment

    return train_environment(lambda what, state: print(f"{what}: {state}", file=sys.stderr))


def real_weights() -> str | None:
    """Return the file of the real weights, where it is."""
    shared = os.environ.get("STACKCTL_TEST_SHARED") or Path(__file__).parents[3] / "shared"
    file = Path(shared) / WEIGHTS
    return str(file) if file.is_file() else None


@dataclass
class Turns:
    """Seconds over all photos, one entry per round."""

    rival: list[float] = field(default_factory=list)
    ours: list[float] = field(default_factory=list)
    inference: list[float] = field(default_factory=list)
    bare: list[float] = field(default_factory=list)
    peak: list[float] = field(default_factory=list)

    def ratio(self, above: list[float], below: list[float]) -> float:
        """Return the median over rounds of one sum over the other."""
        return statistics.median(first / second for first, second in zip(above, below, strict=True))


def _speed(bench: Bench) -> Iterator[Row]:
    with peer(sys.executable, "engine") as engine:
        yield from _precision(bench, engine, "fp32", faster=1.4, overhead=0.8)
        if engine.call("has_bf16"):
            yield from _precision(bench, engine, "bf16", faster=4.0, overhead=0.45)
        else:
            reason = "not measured here: this CPU has no bf16 arithmetic (AMX or AVX512-BF16)"
            for what in ("images/s beside RealESRGANer", "inference beside matmul peak", "end to end beside inference"):
                yield Row(f"bf16: {what}", None, "×", reason=reason)


def _precision(bench: Bench, engine: Peer, precision: str, *, faster: float, overhead: float) -> Iterator[Row]:
    engine.call("load", network=bench.network, cache=bench.cache, precision=precision)
    turns = _take_turns(bench, engine, precision)
    pixels = sum(bench.pixels(photo) for photo in bench.photos)
    megapixels = pixels * 16 / 1e6
    seconds, rival = (statistics.median(each) for each in (turns.ours, turns.rival))
    yield Row(f"{precision}: end to end, per output megapixel", seconds / megapixels, "s", rival=rival / megapixels)
    ratio = turns.ratio(turns.rival, turns.ours)
    yield at_least(f"{precision}: images/s beside RealESRGANer (fp32)", ratio, "×", faster)
    yield from _same_answer(bench, precision)
    rates = [pixels * FLOP_PER_PIXEL / each for each in turns.inference]
    ratio = turns.ratio(rates, turns.peak)
    yield at_least(f"{precision}: inference beside matmul peak", ratio, "×", 0.8, rival=max(turns.peak) / 1e12)
    ratio = turns.ratio([min(pair) for pair in zip(turns.bare, turns.inference, strict=True)], turns.ours)
    yield at_least(f"{precision}: end to end beside bare inference", ratio, "×", overhead)
    if precision == "fp32":
        yield _png_size(bench)


def _take_turns(bench: Bench, engine: Peer, precision: str) -> Turns:
    turns = Turns()
    for round_number in range(3):  # the first one warms up: upstream by one photo, which is enough for it
        rival = ours = inference = bare = 0.0
        for number, photo in enumerate(bench.photos):
            if round_number or not number:
                rival += bench.torch.call("enhance", source=photo, target=bench.result(f"{number}-rival.png"))
            spent, report = engine.call("upscale", source=photo, target=bench.result(f"{number}-{precision}.png"))
            ours += spent
            inference += report["seconds"]["infer"]
            bare += engine.call("bare_inference", network=bench.network, source=photo, precision=precision)
        if round_number:
            turns.rival.append(rival)
            turns.ours.append(ours)
            turns.inference.append(inference)
            turns.bare.append(bare)
            turns.peak.append(bench.torch.call("matmul_flops", precision=precision))
    engine.call("forget_bare")
    return turns


def _same_answer(bench: Bench, precision: str) -> Iterator[Row]:
    import cv2
    import numpy as np

    worst, quality = 0, math.inf
    for number in range(len(bench.photos)):
        ours, theirs = (
            cv2.imread(bench.result(f"{number}-{name}.png"), cv2.IMREAD_UNCHANGED).astype(np.int16)
            for name in (precision, "rival")
        )
        worst = max(worst, int(np.abs(ours - theirs).max()))
        error = float(np.mean((ours - theirs).astype(np.float64) ** 2))
        quality = min(quality, 10 * math.log10(255**2 / error) if error else math.inf)
    if precision == "fp32":
        yield Row("fp32: largest difference from RealESRGANer", worst, "levels", bar="≤ 1", holds=worst <= 1)
    else:
        yield at_least(f"{precision}: PSNR against RealESRGANer (fp32)", quality, "dB", 50.0)


def _png_size(bench: Bench) -> Row:
    import cv2

    ours = theirs = 0
    for number in range(len(bench.photos)):
        file = Path(bench.result(f"{number}-fp32.png"))
        ours += file.stat().st_size
        theirs += len(cv2.imencode(".png", cv2.imread(str(file), cv2.IMREAD_UNCHANGED))[1])
    return at_most("PNG bytes beside OpenCV's default encoder", ours / theirs, "×", 1.1)


def _all_but_inference(bench: Bench) -> Iterator[Row]:
    photos = bench.photos[1:4]  # their answers are computed on that one core first
    megapixels = sum(bench.pixels(photo) for photo in photos) * 16 / 1e6
    with peer(sys.executable, "engine", env=ONE_THREAD) as engine:
        engine.call("pin", cores=1)
        engine.call("load", network=bench.network, cache=bench.cache)
        engine.call("replay")
        for name, bar in (("png", 60.0), ("jpeg", 20.0)):
            rounds = []
            for _ in range(4):
                spent = [
                    engine.call("cpu_of_upscale", source=photo, target=bench.result(f"replayed.{name}"), format=name)
                    for photo in photos
                ]
                rounds.append(sum(spent))
            value = min(rounds[1:]) * 1000 / megapixels
            yield at_most(f"{name}: all but inference, CPU per output megapixel, one core", value, "ms", bar)


def _tiling(bench: Bench) -> Iterator[Row]:
    side, source = _square(bench)
    with peer(sys.executable, "engine") as engine:
        engine.call("load", network=bench.network, cache=bench.cache)
        tiled, untiled, tiles = [], [], 0
        for _ in range(4):  # the first one warms up and is never the best
            spent, report = engine.call("upscale", source=source, target=bench.result("tiled.png"))
            tiled.append(spent)
            untiled.append(engine.call("upscale", source=source, target=bench.result("untiled.png"), tile=side)[0])
            tiles = report["tiles"]
    row = at_most(f"tiled ({tiles} tiles) beside untiled, {side}×{side}", min(tiled) / min(untiled), "×", 1.15)
    yield replace(row, bar=None, reason="its bar is for 1024×1024") if bench.quick else row


def _memory(bench: Bench) -> Iterator[Row]:
    side, source = _square(bench)
    with peer(bench.train, "realesrganer") as torch:
        torch.call("load", weights=bench.weights)
        torch.call("enhance", source=source, target=bench.result("memory.png"))
        rival = torch.call("peak_mib")
    with peer(sys.executable, "engine") as engine:
        engine.call("load", network=bench.network, cache=bench.cache)
        engine.call("upscale", source=source, target=bench.result("memory.png"))
        ours = engine.call("peak_mib")
    yield at_most(f"peak memory beside RealESRGANer's, {side}×{side}", ours / rival, "×", 0.5, rival=rival)
    if bench.quick:
        yield Row("peak memory on 12 megapixels", None, "MiB", reason="left out by --quick")
        return
    source, target = bench.result("large.png"), bench.result("large_out.png")
    bench.torch.call("write_mosaic", photos=bench.photos, target=source, width=4000, height=3000)
    with peer(sys.executable, "engine") as engine:
        engine.call("load", network=bench.network, cache=bench.cache)
        engine.call("upscale", source=source, target=target)
        peak = engine.call("peak_mib")
    raw = 4000 * 3000 * 3 * (1 + 16)
    allowed = (raw + Path(source).stat().st_size + Path(target).stat().st_size) / 2**20 + BASE_MIB
    yield at_most("peak memory on 12 megapixels", peak, "MiB", allowed)


def _square(bench: Bench) -> tuple[int, str]:
    """Return side and path of a square picture made of the photos."""
    side, source = 512 if bench.quick else 1024, bench.result("square.png")
    bench.torch.call("write_mosaic", photos=bench.photos, target=source, width=side, height=side)
    return side, source


def _cold_start(bench: Bench) -> Iterator[Row]:
    seconds = []
    with ExitStack() as stack:
        for number in range(6):
            began = time.time()
            engine = stack.enter_context(peer(sys.executable, "engine"))
            answered = engine.call(
                "first_answer",
                network=bench.network,
                cache=bench.cache,
                source=bench.photos[0],
                target=bench.result("cold.png"),
            )
            if number:
                seconds.append(answered - began)
    yield at_most("cold start: process start to first image, cache warm, best of 5", min(seconds), "s", 2.5)
