"""torch as a backend: on a GPU where there is one, and on the CPU as the reference of the arithmetic.

It runs the same network file as OpenVINO, operation by operation, so that a version needs one file only. torch itself
is imported when a backend is made.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from .backends import LUMA, BackendPrecision, Levels
from .errors import BackendError

_DRIVER = Path("/dev/nvidiactl")
_SHAPES_KEPT = 8


def gpu_is_there() -> bool:
    """Return whether torch can use a GPU; torch is imported only where a driver and torch are installed."""
    import importlib.util

    if not _DRIVER.exists() or importlib.util.find_spec("torch") is None:
        return False
    import torch

    return bool(torch.cuda.is_available())


class TorchBackend:
    """An `openvino.Model` on torch."""

    name = "torch"

    def __init__(self, model: Any, precision: BackendPrecision, *, threads: int, device: str | None = None) -> None:
        """Keep the model; `device` is cuda where there is one, else cpu.

        Raises:
            BackendError: torch is not installed here.
        """
        try:
            import torch
        except ImportError as error:
            raise BackendError("The torch backend needs torch, which is not installed here.") from error
        self._torch = torch
        self._model = model
        self._precision: BackendPrecision = precision
        self._device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        if self._device == "cpu":
            torch.set_num_threads(threads)
        self._programs: dict[tuple[int, int], _Program] = {}
        self._lock = threading.Lock()

    @property
    def precision(self) -> BackendPrecision:
        """Return the arithmetic of the convolutions."""
        return self._precision

    def infer(self, tile: Levels) -> Levels:
        """Return the upscaled tile; see `Backend.infer`."""
        torch = self._torch
        peak = float(np.iinfo(tile.dtype).max)
        try:
            with torch.inference_mode(), self._arithmetic():
                unit = torch.from_numpy(tile.astype(np.float32)).to(self._device) / peak
                planes = unit.permute(2, 0, 1)[None].expand(1, 3, -1, -1).contiguous(memory_format=torch.channels_last)
                answer = self._program(tile.shape[0], tile.shape[1])(planes)[0].float().clamp(0, 1).permute(1, 2, 0)
                if tile.shape[2] == 1:
                    answer = (answer * torch.tensor(LUMA, device=answer.device)).sum(2, keepdim=True)
                levels: Levels = (answer * peak).round().cpu().numpy().astype(tile.dtype)
        except RuntimeError as error:  # a full memory, too
            raise BackendError(f"torch could not run the network on a tile of {tile.shape}: {error}") from error
        return levels

    def _arithmetic(self) -> Any:
        if self._precision == "bf16":
            return self._torch.autocast(self._device, dtype=self._torch.bfloat16)
        return self._torch.backends.cudnn.flags(allow_tf32=False, deterministic=True)

    def _program(self, height: int, width: int) -> _Program:
        with self._lock:
            if (height, width) not in self._programs:
                while len(self._programs) >= _SHAPES_KEPT:
                    self._programs.pop(next(iter(self._programs)))
                self._programs[height, width] = _Program(self._model, height, width, self._torch, self._device)
            return self._programs[height, width]


class _Program:
    """A network for one size of tiles: what depends on sizes alone is computed once."""

    def __init__(self, model: Any, height: int, width: int, torch: Any, device: str) -> None:
        from openvino.passes import ConstantFolding, Manager

        fixed = model.clone()
        fixed.reshape([1, 3, height, width])
        folding = Manager()
        folding.register_pass(ConstantFolding())
        folding.run_passes(fixed)
        self._torch = torch
        self._steps = list(fixed.get_ordered_ops())
        self._constants = {
            node.get_friendly_name(): _tensor(node.get_data(), torch, device)
            for node in self._steps
            if node.get_type_name() == "Constant"
        }

    def __call__(self, image: Any) -> Any:
        """Return the network's answer to 1×3×H×W."""
        values = dict(self._constants)
        left = _readers(self._steps)
        for node in self._steps:
            kind, name = node.get_type_name(), node.get_friendly_name()
            if kind == "Constant":
                continue
            if kind == "Parameter":
                values[name] = image
                continue
            sources = [value.get_node().get_friendly_name() for value in node.input_values()]
            if kind == "Result":
                return values[sources[0]]
            run = _OPERATIONS.get(kind)
            if run is None:
                raise BackendError(f"The torch backend does not know the operation {kind}.")
            values[name] = run(self._torch, node, *(values[source] for source in sources))
            for source in sources:
                left[source] -= 1
                if not left[source] and source not in self._constants:
                    del values[source]
        raise BackendError("The network has no result.")


def _readers(steps: list[Any]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for node in steps:
        for value in node.input_values():
            source = value.get_node().get_friendly_name()
            counts[source] = counts.get(source, 0) + 1
    return counts


def _tensor(values: Any, torch: Any, device: str) -> Any:
    tensor = torch.from_numpy(np.array(values))
    return tensor.to(device, dtype=torch.float32 if tensor.is_floating_point() else torch.int64)


def _convolution(torch: Any, node: Any, image: Any, weights: Any) -> Any:
    attributes = node.get_attributes()
    begin, end = ([int(pad) for pad in attributes[key]] for key in ("pads_begin", "pads_end"))
    if begin != end:
        image = torch.nn.functional.pad(image, (begin[1], end[1], begin[0], end[0]))
        begin = [0, 0]
    strides, dilations = ([int(step) for step in attributes[key]] for key in ("strides", "dilations"))
    if node.get_type_name() == "GroupConvolution":
        groups = weights.shape[0]
        return torch.nn.functional.conv2d(image, weights.flatten(0, 1), None, strides, begin, dilations, groups)
    return torch.nn.functional.conv2d(image, weights, None, strides, begin, dilations)


def _prelu(torch: Any, node: Any, image: Any, slope: Any) -> Any:  # noqa: ARG001
    slope = slope.flatten()
    return torch.where(image >= 0, image, image * slope.reshape(1, -1, 1, 1))


def _interpolation(torch: Any, node: Any, image: Any, *_: Any) -> Any:
    attributes = node.get_attributes()
    size = [dimension.get_length() for dimension in list(node.get_output_partial_shape(0))[2:]]
    mode, how = str(attributes["mode"]), str(attributes["coordinate_transformation_mode"])
    if mode == "nearest":  # enlargements by a whole factor, where every convention gives the same
        return torch.nn.functional.interpolate(image, size=size, mode="nearest")
    names = {"linear_onnx": "bilinear", "linear": "bilinear", "cubic": "bicubic"}
    if mode not in names or how not in {"half_pixel", "pytorch_half_pixel", "align_corners"}:
        raise BackendError(f"The torch backend does not know interpolation {mode} with {how}.")
    return torch.nn.functional.interpolate(image, size=size, mode=names[mode], align_corners=how == "align_corners")


def _depth_to_space(torch: Any, node: Any, image: Any) -> Any:
    attributes = node.get_attributes()
    block = int(attributes["block_size"])
    if "depth" in str(attributes["mode"]):
        return torch.nn.functional.pixel_shuffle(image, block)
    batch, channels, height, width = image.shape
    blocks = image.reshape(batch, block, block, channels // block**2, height, width).permute(0, 3, 4, 1, 5, 2)
    return blocks.reshape(batch, channels // block**2, height * block, width * block)


def _space_to_depth(torch: Any, node: Any, image: Any) -> Any:
    attributes = node.get_attributes()
    block = int(attributes["block_size"])
    if "depth" in str(attributes["mode"]):
        return torch.nn.functional.pixel_unshuffle(image, block)
    batch, channels, height, width = image.shape
    blocks = image.reshape(batch, channels, height // block, block, width // block, block).permute(0, 3, 5, 1, 2, 4)
    return blocks.reshape(batch, channels * block**2, height // block, width // block)


def _clamp(torch: Any, node: Any, image: Any) -> Any:
    attributes = node.get_attributes()
    return torch.clamp(image, float(attributes["min"]), float(attributes["max"]))


_OPERATIONS: dict[str, Callable[..., Any]] = {
    "Convolution": _convolution,
    "GroupConvolution": _convolution,
    "PRelu": _prelu,
    "Interpolate": _interpolation,
    "DepthToSpace": _depth_to_space,
    "SpaceToDepth": _space_to_depth,
    "Clamp": _clamp,
    "Add": lambda _torch, _node, left, right: left + right,
    "Subtract": lambda _torch, _node, left, right: left - right,
    "Multiply": lambda _torch, _node, left, right: left * right,
    "Divide": lambda _torch, _node, left, right: left / right,
    "Maximum": lambda torch, _node, left, right: torch.maximum(left, right),
    "Minimum": lambda torch, _node, left, right: torch.minimum(left, right),
    "Relu": lambda torch, _node, image: torch.relu(image),
    "Sigmoid": lambda torch, _node, image: torch.sigmoid(image),
    "Tanh": lambda torch, _node, image: torch.tanh(image),
    "Convert": lambda _torch, _node, image: image,
    "Concat": lambda torch, node, *parts: torch.cat(parts, dim=int(node.get_attributes()["axis"])),
    "Reshape": lambda _torch, node, image, _shape: image.reshape(list(node.get_output_shape(0))),
    "Transpose": lambda _torch, _node, image, order: image.permute(*order.tolist()),
}
