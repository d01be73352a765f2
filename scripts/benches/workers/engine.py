"""The image engine, told what to do: whole files in and out, its inference alone, all but its inference."""

from __future__ import annotations

import os
import time
import zlib
from pathlib import Path
from typing import Any

from calls import answer_calls, peak_mib

_loaded: dict[str, Any] = {}


def pin(cores: int) -> None:
    """Keep this process on so many cores; call it first."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])
    import cv2

    cv2.setNumThreads(cores)


def load(network: str, cache: str, precision: str = "fp32", threads: int | None = None) -> None:
    """Load a network."""
    from stackctl.imaging import Network

    _loaded["network"] = Network.load(network, precision=precision, threads=threads, cache_dir=cache, bf16_allowed=True)


def has_bf16() -> bool:
    """Return whether this CPU multiplies bf16."""
    from stackctl.imaging.backends import bf16_is_native

    return bf16_is_native()


def upscale(source: str, target: str, **options: Any) -> tuple[float, dict[str, Any]]:
    """Upscale one file into another; return seconds and the report."""
    from stackctl.imaging import Options, upscale

    began = time.perf_counter()
    data, report = upscale(Path(source).read_bytes(), _loaded["network"], Options(**options))
    Path(target).write_bytes(data)
    return time.perf_counter() - began, report.to_dict()


def cpu_of_upscale(source: str, target: str, **options: Any) -> float:
    """Upscale one file into another; return the CPU seconds of all threads, which other processes do not lengthen."""
    began = time.process_time()
    upscale(source, target, **options)
    return time.process_time() - began


def first_answer(network: str, cache: str, source: str, target: str) -> float:
    """Load and upscale; return the moment of the answer (seconds of the epoch)."""
    load(network, cache)
    upscale(source, target)
    return time.time()


def bare_inference(network: str, source: str, precision: str) -> float:
    """Return seconds of the network alone: OpenVINO compiled for this very shape, planes in, planes out."""
    import cv2
    import numpy as np
    import openvino

    key = (network, source, precision)
    if key not in _loaded:
        image = cv2.imread(source)[:, :, ::-1].transpose(2, 0, 1)[None]
        core = openvino.Core()
        model = core.read_model(network)
        model.reshape(list(image.shape))
        kind = {"fp32": "f32", "bf16": "bf16"}[precision]
        compiled = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": kind, "NUM_STREAMS": 1})
        request = compiled.create_infer_request()
        _loaded[key] = (request, np.ascontiguousarray(image, dtype=np.float32) / 255)
        request.infer([_loaded[key][1]], share_inputs=True)
    request, planes = _loaded[key]
    began = time.perf_counter()
    request.infer([planes], share_inputs=True)
    return time.perf_counter() - began


def forget_bare() -> None:
    """Drop what ``bare_inference`` keeps."""
    for key in [key for key in _loaded if isinstance(key, tuple)]:
        del _loaded[key]


class Replay:
    """A backend that gives a tile's answer from memory once it has been given: what remains is everything else."""

    def __init__(self, real: Any) -> None:
        self._real = real
        self._answers: dict[tuple[Any, ...], Any] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def infer(self, tile: Any, *rest: Any, **words: Any) -> Any:
        """Return the recorded answer."""
        key = (tile.shape, str(tile.dtype), zlib.crc32(tile.tobytes()))
        if key not in self._answers:
            self._answers[key] = self._real.infer(tile, *rest, **words).copy()
        return self._answers[key]


def replay() -> None:
    """Let the loaded network answer from memory what it has answered before."""
    network = _loaded["network"]
    real = network.backend_for("auto")
    network._backends[network.precision] = Replay(real)  # noqa: SLF001 - the one place where it can be put in


if __name__ == "__main__":
    answer_calls(
        {
            function.__name__: function
            for function in (
                pin,
                load,
                has_bf16,
                upscale,
                cpu_of_upscale,
                first_answer,
                bare_inference,
                forget_bare,
                replay,
                peak_mib,
            )
        }
    )
