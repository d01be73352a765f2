"""How a tile is run through a network: one Protocol, and OpenVINO on the CPU; torch and upstream's own lie beside it.

The arithmetic around the network belongs to the backend, so that it runs in the same graph: integer levels → [0, 1] →
network → clamp to [0, 1] → integer levels, rounded half to even. Grey enters as three equal channels and leaves as the
BT.601 luma of the three.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from .errors import BackendError

Levels = NDArray[np.unsignedinteger[Any]]
BackendPrecision = Literal["fp32", "bf16"]
BackendName = Literal["openvino", "torch", "realesrgan"]

LUMA = (0.299, 0.587, 0.114)
"""Shares of red, green and blue in the grey that a network's answer to a grey picture becomes (BT.601)."""


class Backend(Protocol):
    """Runs a network on one tile. Safe to call from several threads: nothing is kept between calls."""

    @property
    def name(self) -> str:
        """Return what reports call it."""

    @property
    def precision(self) -> BackendPrecision:
        """Return the arithmetic of the convolutions."""

    def infer(self, tile: Levels) -> Levels:
        """Return the upscaled tile.

        Args:
            tile: H×W×C, uint8 or uint16, sRGB (C = 3) or grey (C = 1).

        Returns:
            (scale·H)×(scale·W)×C of the same dtype.

        Raises:
            BackendError: the network did not answer.
        """


def bf16_is_native() -> bool:
    """Return whether this CPU multiplies bfloat16 in hardware (AMX or AVX512-BF16), as OpenVINO sees it."""
    import openvino

    return "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


class OpenVinoBackend:
    """OpenVINO's CPU plugin on an ONNX model with dynamic height and width."""

    name = "openvino"

    def __init__(self, model: Any, precision: BackendPrecision, *, threads: int, cache_dir: Path | None = None) -> None:
        """Keep the `openvino.Model`; it is compiled at first use, once per kind of pixel."""
        self._model = model
        self._precision: BackendPrecision = precision
        self._properties = _properties(precision, threads, cache_dir)
        self._compiled: dict[tuple[int, bool], Any] = {}
        self._lock = threading.Lock()

    @property
    def precision(self) -> BackendPrecision:
        """Return the arithmetic of the convolutions."""
        return self._precision

    def infer(self, tile: Levels) -> Levels:
        """Return the upscaled tile; see `Backend.infer`."""
        deep = tile.dtype == np.uint16
        compiled = self._compile(tile.shape[2], deep=deep)
        feed = np.ascontiguousarray(tile[None], dtype=np.float32 if deep else np.uint8)
        try:
            # A request per call: the output belongs to this caller alone.
            out = compiled.create_infer_request().infer([feed], share_inputs=True, share_outputs=True)[0][0]
        except RuntimeError as error:
            raise BackendError(f"OpenVINO could not run the network on a tile of {tile.shape}: {error}") from error
        levels: Levels = out.astype(np.uint16) if deep else out
        return levels

    def _compile(self, channels: int, *, deep: bool) -> Any:
        key = (channels, deep)
        with self._lock:
            if key not in self._compiled:
                try:
                    self._compiled[key] = _compiled(
                        _levels_to_levels(self._model, channels, deep=deep), self._properties
                    )
                except RuntimeError as error:
                    raise BackendError(f"OpenVINO could not compile the network: {error}") from error
            return self._compiled[key]


def _compiled(model: Any, properties: Mapping[str, Any]) -> Any:
    """Return the model compiled, without the cache where that cannot be used: it may be full, or another user's."""
    import openvino

    try:
        return openvino.Core().compile_model(model, "CPU", dict(properties))
    except RuntimeError:
        if "CACHE_DIR" not in properties:
            raise
    return openvino.Core().compile_model(model, "CPU", {**properties, "CACHE_DIR": ""})


def _properties(precision: BackendPrecision, threads: int, cache_dir: Path | None) -> Mapping[str, Any]:
    properties: dict[str, Any] = {
        "INFERENCE_PRECISION_HINT": {"fp32": "f32", "bf16": "bf16"}[precision],
        "ENABLE_CPU_PINNING": False,  # every process would pin its first thread to the same core
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
    }
    if cache_dir is not None:
        properties["CACHE_DIR"] = str(cache_dir)
    return properties


def _levels_to_levels(model: Any, channels: int, *, deep: bool) -> Any:
    """Return a model 1×H×W×C levels → 1×(scale·H)×(scale·W)×C levels around a copy of the network."""
    import openvino
    from openvino import opset13 as ops

    peak = np.float32(65535 if deep else 255)
    core = _with_flat_slopes(model.clone())
    entry, exit_ = core.get_parameters()[0], core.get_results()[0]
    levels = ops.parameter([1, -1, -1, channels], np.float32 if deep else np.uint8, name="levels")
    unit = ops.divide(ops.convert(levels, "f32"), peak)
    if channels == 1:
        unit = ops.concat([unit, unit, unit], 3)
    planes = ops.transpose(unit, [0, 3, 1, 2])
    for reader in entry.output(0).get_target_inputs():
        reader.replace_source_output(planes.output(0))
    answer = ops.transpose(ops.clamp(exit_.input_value(0), 0.0, 1.0), [0, 2, 3, 1])
    if channels == 1:
        answer = ops.reduce_sum(ops.multiply(answer, np.array(LUMA, dtype=np.float32)), [3], keep_dims=True)
    answer = ops.round(ops.multiply(answer, peak), "half_to_even")
    if not deep:
        answer = ops.convert(answer, "u8")
    whole = openvino.Model([answer], [levels], "levels_to_levels")
    whole.outputs[0].get_tensor().set_names({"upscaled_levels"})
    for number, node in enumerate(whole.get_ordered_ops()):
        node.set_friendly_name(f"node_{number}")  # generated names differ each time and are part of the cache's key
    return whole


def _with_flat_slopes(model: Any) -> Any:
    """Return the model with its PReLU slopes as C instead of C×1×1, changed in place.

    The CPU plugin joins a PReLU to its convolution only so; apart, each one costs two changes of memory layout, a third
    of the whole time on a CPU with AVX2.
    """
    from openvino import opset13 as ops

    for node in model.get_ordered_ops():
        if node.get_type_name() != "PRelu":
            continue
        slope = node.input_value(1).get_node()
        if slope.get_type_name() == "Constant" and slope.get_output_size() == 1:
            values = slope.get_data()
            if values.ndim > 1 and values.shape.count(1) >= values.ndim - 1:
                node.input(1).replace_source_output(ops.constant(values.reshape(-1)).output(0))
    return model
