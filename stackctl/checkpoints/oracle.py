"""Upstream's own ``RealESRGANer``, where it is installed: it judges a conversion, and is never needed for one."""

from __future__ import annotations

import re
import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Pixels = NDArray[np.uint8]


class Oracle:
    """``RealESRGANer`` in fp32 on the CPU, untiled and without padding, with given tensors."""

    def __init__(self, upsampler: Any) -> None:
        """Keep upstream's object."""
        self._upsampler = upsampler

    @classmethod
    def of(cls, tensors: Mapping[str, torch.Tensor], architecture: str, scale: int) -> Oracle | None:
        """Return the oracle for these tensors; None where upstream is not installed, or does not know them."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                from basicsr.archs.rrdbnet_arch import RRDBNet
                from realesrgan import RealESRGANer
                from realesrgan.archs.srvgg_arch import SRVGGNetCompact
            except ImportError:
                return None
        with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            file = Path(folder) / "network.pth"  # RealESRGANer takes a file only
            torch.save({"params": dict(tensors)}, file)
            try:
                model = _model(tensors, architecture, scale, SRVGGNetCompact, RRDBNet)
                return cls(RealESRGANer(scale, str(file), model=model, tile=0, pre_pad=0, half=False, device="cpu"))
            except (KeyError, RuntimeError):
                return None

    def answer(self, image: Pixels) -> Pixels:
        """Return what upstream makes of H×W×3 sRGB levels."""
        import numpy as np

        made, _ = self._upsampler.enhance(np.ascontiguousarray(image[:, :, ::-1]))
        return np.ascontiguousarray(made[:, :, ::-1])


def _model(tensors: Mapping[str, torch.Tensor], architecture: str, scale: int, compact: Any, rrdb: Any) -> Any:
    if architecture == "SRVGGNetCompact":
        layers = 1 + max(int(name.split(".")[1]) for name in tensors)
        features = tensors["body.0.weight"].shape[0]
        return compact(num_feat=features, num_conv=(layers - 3) // 2, upscale=scale, act_type="prelu")
    blocks = {int(found[1]) for name in tensors if (found := re.match(r"body\.(\d+)\.rdb1\.conv1\.weight", name))}
    first = tensors["conv_first.weight"]
    growth = tensors["body.0.rdb1.conv1.weight"].shape[0]
    return rrdb(3, 3, scale=scale, num_feat=first.shape[0], num_block=len(blocks), num_grow_ch=growth)
