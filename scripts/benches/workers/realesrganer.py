"""Upstream's RealESRGANer as its script runs it; and what only torch can do for a benchmark. Runs where torch is."""

from __future__ import annotations

import math
import time
import warnings
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from calls import answer_calls, peak_mib
from realesrgan import RealESRGANer
from realesrgan.archs.srvgg_arch import SRVGGNetCompact

MATMUL_SIDE = 2048
_loaded: dict[str, Any] = {}


def network() -> SRVGGNetCompact:
    """Return the architecture of realesr-animevideov3 without its weights."""
    return SRVGGNetCompact(num_in_ch=3, num_out_ch=3, num_feat=64, num_conv=16, upscale=4, act_type="prelu")


def write_weights(source: str | None, target: str) -> str:
    """Write fp32 weights for RealESRGANer: those of ``source``, or random ones; return which."""
    if source:
        state = {name: value.float() for name, value in torch.load(source, weights_only=True)["params"].items()}
        torch.save({"params": state}, target)
        return "realesr-animevideov3"
    torch.manual_seed(0)
    torch.save({"params": network().state_dict()}, target)
    return "random weights of realesr-animevideov3's architecture"


def write_onnx(weights: str, target: str) -> None:
    """Write the network as ONNX with free height and width."""
    made = network()
    made.load_state_dict(torch.load(weights, weights_only=True)["params"])
    axes = {"image": {2: "height", 3: "width"}, "upscaled": {2: "out_height", 3: "out_width"}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            made.eval(),
            (torch.zeros(1, 3, 24, 20),),
            target,
            input_names=["image"],
            output_names=["upscaled"],
            dynamic_axes=axes,
            opset_version=17,
            dynamo=False,
        )


def write_photos(folder: str, side: int = 0) -> list[str]:
    """Write the photos that come with scikit-image and scikit-learn as PNG, cropped to ``side`` where it is given."""
    from skimage import data
    from sklearn.datasets import load_sample_image

    photos = {name: getattr(data, name)() for name in ("astronaut", "chelsea", "coffee", "rocket")}
    photos |= {name: load_sample_image(f"{name}.jpg") for name in ("china", "flower")}
    written = []
    for name, photo in photos.items():
        top, left = ((length - side) // 2 if side else 0 for length in photo.shape[:2])
        part = photo[top : top + side, left : left + side] if side else photo
        written.append(str(Path(folder) / f"{name}{side or ''}.png"))
        cv2.imwrite(written[-1], part[:, :, ::-1])
    return written


def write_crops(photos: list[str], folder: str, count: int, most: int) -> None:
    """Write ``count`` crops of photos as PNG, of sides between 32 and ``most`` pixels, the same ones every time."""
    draw = np.random.default_rng(7)
    whole = [cv2.imread(photo) for photo in photos]
    for number in range(count):
        photo = whole[number % len(whole)]
        height, width = (int(draw.integers(32, min(most, side) + 1)) for side in photo.shape[:2])
        top, left = (
            int(draw.integers(0, side - part + 1)) for side, part in zip(photo.shape[:2], (height, width), strict=True)
        )
        cv2.imwrite(str(Path(folder) / f"{number:03d}.png"), photo[top : top + height, left : left + width])


def write_mosaic(photos: list[str], target: str, width: int, height: int) -> None:
    """Write a PNG of width×height pixels made of photos side by side."""
    parts = [cv2.imread(photo) for photo in photos]
    low = min(part.shape[0] for part in parts)
    row = np.concatenate([part[:low] for part in parts], axis=1)
    row = np.tile(row, (1, math.ceil(width / row.shape[1]), 1))[:, :width]
    cv2.imwrite(target, np.tile(row, (math.ceil(height / low), 1, 1))[:height])


def load(weights: str) -> None:
    """Make the upsampler with the script's defaults, in fp32 on the CPU."""
    _loaded["upsampler"] = RealESRGANer(
        scale=4, model_path=weights, model=network(), tile=0, tile_pad=10, pre_pad=0, half=False, device="cpu"
    )


def enhance(source: str, target: str) -> float:
    """Do what the script does with one file; return seconds."""
    began = time.perf_counter()
    image = cv2.imread(source, cv2.IMREAD_UNCHANGED)
    output, _ = _loaded["upsampler"].enhance(image, outscale=4)
    cv2.imwrite(target, output)
    return time.perf_counter() - began


def matmul_flops(precision: str, runs: int = 5) -> float:
    """Return the best rate of a 2048² matrix product in FLOP/s."""
    kind = {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]
    left, right = (torch.randn(MATMUL_SIDE, MATMUL_SIDE).to(kind) for _ in range(2))
    best = math.inf
    for _ in range(runs):
        began = time.perf_counter()
        torch.matmul(left, right)
        best = min(best, time.perf_counter() - began)
    return 2 * MATMUL_SIDE**3 / best


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    answer_calls(
        {
            function.__name__: function
            for function in (
                write_weights,
                write_onnx,
                write_photos,
                write_crops,
                write_mosaic,
                load,
                enhance,
                matmul_flops,
                peak_mib,
            )
        }
    )
