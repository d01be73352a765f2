"""A trained network as files: ONNX with dynamic height and width, and golden pairs answered by torch in fp32."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Pixels = NDArray[np.uint8]

OPSET = 17
TOLERANCE = {"fp32_max_levels": 1, "bf16_min_psnr_db": 50.0}
_LUMA = (0.299, 0.587, 0.114)


def write_onnx(network: Any, path: Path) -> None:
    """Write the network as ONNX: `image` 1×3×H×W in [0, 1] → `upscaled`, H and W free."""
    example = torch.zeros(1, 3, 24, 20)
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", DeprecationWarning
        )  # the exporter without onnxscript; its graph is the plain one
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


def answer(network: Any, image: Pixels) -> Pixels:
    """Return what the network makes of H×W×3 (sRGB) or H×W (grey) uint8 levels.

    levels / 255 → network in fp32 → clamp to [0, 1] → · 255, rounded half to even. Grey enters as three equal channels
    and leaves as the BT.601 luma of the three.
    """
    planes = np.repeat(image[None], 3, axis=0) if image.ndim == 2 else image.transpose(2, 0, 1)
    with torch.inference_mode():
        upscaled = network(torch.from_numpy(planes[None].astype(np.float32) / np.float32(255)))[0].clamp(0, 1)
        if image.ndim == 2:
            upscaled = (upscaled * torch.tensor(_LUMA)[:, None, None]).sum(0)
        else:
            upscaled = upscaled.permute(1, 2, 0)
        return np.ascontiguousarray((upscaled * 255).round().numpy().astype(np.uint8))


def write_golden(network: Any, inputs: Mapping[str, Pixels], folder: Path) -> None:
    """Write one pair of PNG files per input (by name, in order) and the manifest that names them."""
    from PIL import Image

    folder.mkdir(parents=True)
    pairs = []
    for number, image in enumerate(inputs.values()):
        names = {"input": f"{number:02}_input.png", "output": f"{number:02}_output.png"}
        for kind, pixels in (("input", image), ("output", answer(network, image))):
            Image.fromarray(pixels).save(folder / names[kind], optimize=True)
        sums = {f"sha256_{kind}": sha256(folder / name) for kind, name in names.items()}
        pairs.append({**names, **sums})
    manifest = {"schema_version": 1, "tolerance": TOLERANCE, "pairs": pairs}
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n")


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
