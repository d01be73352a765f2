"""Upstream's own `RealESRGANer` as a backend: the oracle and the rival of tests and benchmarks, never what serves.

It takes a checkpoint, not an ONNX file, and exists only where the package `realesrgan` is installed.
Source: https://github.com/xinntao/Real-ESRGAN, realesrgan/utils.py.
"""

from __future__ import annotations

import math
import threading
from pathlib import Path
from typing import Any

import numpy as np

from .backends import BackendPrecision, Levels
from .errors import BackendError
from .graph import GraphFacts


class RealEsrganBackend:
    """`RealESRGANer` in fp32 on the CPU, untiled, as upstream's script runs it without options."""

    name = "realesrgan"

    def __init__(self, checkpoint: Path, *, threads: int, tile: int = 0, tile_pad: int = 10) -> None:
        """Build upstream's network from the checkpoint's own shapes and load it.

        Raises:
            BackendError: the package is not installed here, or the checkpoint is of neither architecture.
        """
        try:
            import torch
            from realesrgan import RealESRGANer
        except ImportError as error:
            raise BackendError(f"The realesrgan backend needs Real-ESRGAN's own package: {error}") from error
        torch.set_num_threads(threads)
        network, self.facts = _network(checkpoint)
        self._upsampler = RealESRGANer(
            scale=self.facts.scale,
            model_path=str(checkpoint),
            model=network,
            tile=tile,
            tile_pad=tile_pad,
            pre_pad=0,
            half=False,
            device=torch.device("cpu"),
        )
        self._lock = threading.Lock()

    @property
    def precision(self) -> BackendPrecision:
        """Return the arithmetic of the convolutions."""
        return "fp32"

    def infer(self, tile: Levels) -> Levels:
        """Return upstream's answer; see `Backend.infer`. Upstream takes 16 bits for 8 where no level exceeds 256."""
        given = tile[:, :, 0] if tile.shape[2] == 1 else np.ascontiguousarray(tile[:, :, ::-1])
        try:
            with self._lock:  # RealESRGANer keeps the image and its tiles on itself
                answer, _ = self._upsampler.enhance(given)
        except RuntimeError as error:
            raise BackendError(f"RealESRGANer failed: {error}") from error
        levels: Levels = answer[:, :, None] if answer.ndim == 2 else np.ascontiguousarray(answer[:, :, ::-1])
        return levels


def _network(checkpoint: Path) -> tuple[Any, GraphFacts]:
    """Return upstream's untrained network for a checkpoint, and its facts."""
    import torch

    stored = torch.load(checkpoint, map_location="cpu", weights_only=True)
    weights = stored.get("params_ema", stored.get("params", {}))
    shapes = {name: tuple(value.shape) for name, value in weights.items()}
    if "body.0.weight" in shapes:
        from realesrgan.archs.srvgg_arch import SRVGGNetCompact

        convolutions = [name for name, shape in shapes.items() if len(shape) == 4]
        features, scale = shapes["body.0.weight"][0], math.isqrt(shapes[convolutions[-1]][0] // 3)
        depth = len(convolutions) - 2
        return SRVGGNetCompact(num_feat=features, num_conv=depth, upscale=scale), GraphFacts(scale, depth + 2)
    if "conv_first.weight" in shapes:
        from basicsr.archs.rrdbnet_arch import RRDBNet

        features, folded = shapes["conv_first.weight"][:2]
        blocks = 1 + max(int(name.split(".")[1]) for name in shapes if name.startswith("body."))
        growth, scale = shapes["body.0.rdb1.conv1.weight"][0], {3: 4, 12: 2, 48: 1}[folded]
        network = RRDBNet(3, 3, scale=scale, num_feat=features, num_block=blocks, num_grow_ch=growth)
        return network, GraphFacts(scale, None)
    raise BackendError(f"{checkpoint.name} is no checkpoint of RealESRGANer's two architectures.")
