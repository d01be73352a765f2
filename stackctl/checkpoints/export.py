"""A torch network as files: ONNX with free height and width, golden pairs, and how well bf16 keeps to them."""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from stackctl.checkpoints.golden_pairs import write_pairs

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Pixels = NDArray[np.uint8]

OPSET = 17
_LUMA = (0.299, 0.587, 0.114)


def write_onnx(network: Any, path: Path) -> None:
    """Write the network as ONNX: `image` 1×3×H×W in [0, 1] → `upscaled`, H and W free."""
    example = torch.zeros(1, 3, 24, 20)
    with warnings.catch_warnings():
        # the exporter without onnxscript; its graph is the plain one
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", torch.jit.TracerWarning)
        torch.onnx.export(
            network,
            (example,),
            str(path),
            input_names=["image"],
            output_names=["upscaled"],
            dynamic_axes={"image": {2: "height", 3: "width"}, "upscaled": {2: "out_height", 3: "out_width"}},
            opset_version=OPSET,
            dynamo=False,
        )


def answer(network: Any, image: Pixels, dtype: torch.dtype = torch.float32) -> Pixels:
    """Return what the network makes of H×W×3 (sRGB) or H×W (grey) uint8 levels.

    levels / 255 → network, whose parameters are of `dtype` → clamp to [0, 1] → · 255, rounded half to even. Grey enters
    as three equal channels and leaves as the BT.601 luma of the three.
    """
    planes = np.repeat(image[None], 3, axis=0) if image.ndim == 2 else image.transpose(2, 0, 1)
    with torch.inference_mode():
        batch = torch.from_numpy(planes[None].astype(np.float32) / np.float32(255))
        upscaled = network(batch.to(dtype))[0].float().clamp(0, 1)
        if image.ndim == 2:
            upscaled = (upscaled * torch.tensor(_LUMA)[:, None, None]).sum(0)
        else:
            upscaled = upscaled.permute(1, 2, 0)
        return np.ascontiguousarray((upscaled * 255).round().numpy().astype(np.uint8))


def write_golden(network: Any, inputs: Mapping[str, Pixels], folder: Path) -> None:
    """Write one pair of PNG files per input (by name, in order) and the manifest that names them.

    The manifest also tells how near torch in bf16 comes to these answers (`fidelity`): whether a version may be served
    in bf16 depends on it.
    """
    answers = [answer(network, image) for image in inputs.values()]
    write_pairs(
        list(zip(inputs.values(), answers, strict=True)),
        folder,
        reference="torch fp32",
        fidelity={"bf16": {"psnr_db": bf16_psnr(network, inputs, answers), "measured_by": "torch"}},
    )


def bf16_psnr(network: Any, inputs: Mapping[str, Pixels], answers: list[Pixels]) -> float:
    """Return the PSNR in dB (peak 255, the worst input's) of the network in torch's bfloat16 beside its fp32 answers.

    Weights, activations and the sum at the end are all bfloat16, as a processor with such arithmetic keeps them.
    """
    halved = copy.deepcopy(network).to(torch.bfloat16)
    found = []
    for image, expected in zip(inputs.values(), answers, strict=True):
        error = answer(halved, image, torch.bfloat16).astype(np.float64) - expected
        found.append(10 * math.log10(255.0**2 / max(float(np.mean(error**2)), 1e-5)))
    return round(min(found), 2)
